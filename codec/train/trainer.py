"""Training of the codec in all stages.

Files of a run folder:

OUT/config.json     the run's configuration      OUT/checkpoints/  to resume from
OUT/metrics.jsonl   one line per log step        OUT/model/        the codec, averaged weights
OUT/tensorboard/    the same and samples         OUT/skipped/      crops of skipped steps
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ...core.data import SegmentBatch
from ...core.distributed import broadcast, same_everywhere
from ...core.files import lock_run_dir
from ...core.loading import no_inner_bars
from ...core.model_card import hub_datasets
from ...core.reading import read_json_object
from ...core.runtime import training_products
from ...core.training.checkpoint import (
    Checkpoint,
    CheckpointError,
    read_newest,
    tensors_of,
)
from ...core.training.loop import StepResult, TrainingLoop, parameter_counts
from ...core.training.run_folder import init_run_dir, replaced_export
from ..initialization import initialize_quantizer
from .batches import training_batches, validation_batches
from .config import CodecTrainConfig
from .initial_model import CARD, initialize, initialize_part
from .monitor import CodecMonitor, Validation, validate
from .state import TrainState, build_state
from .update import StepReport, micro_batch_size, optimizer_step


@dataclass(frozen=True)
class TrainResult:
    """Result of a training run."""

    step: int  # optimiser steps done
    model: Path  # folder for ALMTokenizer.from_pretrained
    finished: bool  # False after Ctrl-C or SIGTERM
    signal: int | None  # number of the signal
    validation: Validation | None  # last validation of this call


def train_codec(config: CodecTrainConfig) -> TrainResult:
    """Train to the last step, from the newest checkpoint of ``config.out`` if there is one.

    Raises:
        ValueError: The run folder belongs to another configuration or is in use, or there is no
            usable data.
        CheckpointError: An explicit source is missing, or a checkpoint cannot be written.
        TrainingStopped: Too many bad steps in a row.
    """
    run = Path(config.out)
    with lock_run_dir(run):
        init_run_dir(run, config)
        state = build_state(config)
        micro_batch_size(config, state.accelerator.num_processes)
        trainer = CodecTrainer(state)
        with training_products(state.device):
            newest = read_newest(run)
            if newest is not None:
                trainer.resume(newest)
            else:
                initialize(state)
            fingerprint = state.model.fingerprint
            trainer.train()
            model = trainer.export(final=True)
            state.accelerator.wait_for_everyone()
    if config.stage == "adapt" and state.model.fingerprint != fingerprint:
        raise AssertionError("adaptation changed the fingerprint of the codec")
    return TrainResult(
        step=state.step,
        model=model,
        finished=trainer.finished,
        signal=trainer.interrupt.signal,
        validation=trainer.validation,
    )


class CodecTrainer(TrainingLoop):
    """Training loop of a codec.

    Args:
        state: Objects of the run.
    """

    config: CodecTrainConfig
    monitor: CodecMonitor

    def __init__(self, state: TrainState) -> None:
        super().__init__(state.config, state.accelerator, state.runtime)
        self.state = state
        self.validation: Validation | None = None  # the last validation
        self._held_out: list[SegmentBatch] = []
        self._report: StepReport | None = None

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return self.state.step

    @property
    def skipped_in_a_row(self) -> int:
        """Steps skipped since the last good one."""
        return self.state.skipped_in_a_row

    def load(self, checkpoint: Checkpoint) -> None:
        """Restore everything that a checkpoint holds."""
        self.state.load(checkpoint)

    def open_monitor(self) -> CodecMonitor:
        """Create the monitor, at the current step."""
        return CodecMonitor(self.state)

    def batches(self) -> Iterator[list[SegmentBatch]]:
        """Yield the micro-batches of each step; held-out crops are loaded first."""
        codec = self.state.model.config
        if self.accelerator.is_main_process:
            self._held_out = validation_batches(self.config, codec.sample_rate, codec.hop_length)
        return training_batches(
            self.config, self.accelerator, codec.sample_rate, codec.hop_length, self.step
        )

    def train_step(self, batches: Sequence[SegmentBatch]) -> StepResult:
        """Run one optimiser step; initialise the codebooks before the first step that quantises."""
        if self._needs_codebooks():
            codec = self.state.model.config
            # About four queries per entry; k-means improves little with more.
            seconds = 4 * codec.codebook_size / codec.query_rate()
            initialize_part(self.state, initialize_quantizer, seconds)
        report = self._report = optimizer_step(self.state, batches, self.requests())
        self.monitor.after_step(report, batches)
        problem = f"{report.problem} (crops: {self.folder / 'skipped'})"
        return StepResult(report.requests, None if report.problem is None else problem)

    def log(self) -> None:
        """Write mean losses, gradient norms and codebook usage since the last call."""
        assert self._report is not None
        self.monitor.log(self._report)

    def validate(self) -> None:
        """Reconstruct held-out crops in the first process."""
        if self._held_out:
            self.validation = validate(self.state, self._held_out)
            self.monitor.validated(self.validation)

    def align_processes(self) -> None:
        """Give all processes the codebooks of the first one, if they have others."""
        codebooks = list(tensors_of(self.state.model.quantizer).values())
        if not same_everywhere(codebooks):
            self.monitor.say(
                f"warning: the processes hold different codebooks at step {self.step}; from here"
                " on those of the first process are used"
            )
            broadcast(codebooks)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Return the tensors of a checkpoint."""
        return self.state.tensors() if self.accelerator.is_main_process else {}

    def counters(self) -> dict[str, Any]:
        """Return the JSON values of a checkpoint."""
        return self.state.counters()

    def export(self, final: bool = False) -> Path:
        """Save the codec in the first process; at the end only if this step is not exported yet."""
        model = self.folder / "model"
        if self.accelerator.is_main_process and not (final and _exported_step(model) == self.step):
            export_model(self.state, model)
        return model

    def count_parameters(self) -> tuple[int, int]:
        """Return the number of trained weights and of all weights of the codec."""
        return parameter_counts(self.state.model)

    def _needs_codebooks(self) -> bool:
        config = self.config
        due = config.stage == "2" and self.step >= config.quantize_start
        return due and not self.state.model.quantizer.initialized


def export_model(state: TrainState, folder: Path) -> None:
    """Save the codec for inference, with averaged weights if there are any; replace an older one.

    Raises:
        CheckpointError: The folder cannot be written.
    """
    card = {"stage": state.config.stage, "step": state.step, "config": state.config.to_dict()}
    try:
        with replaced_export(folder) as temporary:
            with state.averaged() as model, no_inner_bars():
                datasets = hub_datasets(state.config.data)
                model.save_pretrained(temporary, card={"datasets": datasets})
            (temporary / CARD).write_text(json.dumps(card, indent=1), encoding="utf-8")
    except OSError as error:
        raise CheckpointError(
            f"cannot write {folder}: {error}; the checkpoint of step {state.step} is complete"
        ) from error


def _exported_step(model: Path) -> int | None:
    """Step of an exported codec; None if there is none."""
    try:
        return int(read_json_object(model / CARD)["step"])
    except (OSError, ValueError, KeyError):
        return None
