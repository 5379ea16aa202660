"""AudioLMTrainer: optimiser steps of the language model on one or several processes.

`accelerate` finds the device and the processes, DistributedDataParallel or FSDP2 average the
gradients. Weights and optimiser states are float32; matrix products have the precision of the run.
An `AudioLM` can be trained by transformers' `Trainer` too (docs/lm_training.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ...core.runtime import Runtime, choose_runtime
from ...core.training.checkpoint import Checkpoint
from ...core.training.loop import Requests, StepResult, TrainingLoop, parameter_counts
from ...core.training.optimizer import make_adamw, make_muon, set_lr
from ...core.training.seeding import draw_int, lr_scale
from ..model import AudioLM
from ..output import AudioLMOutput
from ..sequences import IGNORED
from . import checkpoint
from .batches import Batch, Batches
from .checkpoint import is_sharded
from .config import LMTrainingConfig
from .distillation import DistillationTeacher, forward_with_teacher
from .monitor import LMMonitor, Meter, MeterReading
from .validation import Validator


def start_processes(config: LMTrainingConfig) -> tuple[Accelerator, Runtime]:
    """Choose device and precision, and join the other processes of a `torchrun`.

    Raises:
        ValueError: The micro-batches of a step cannot be divided evenly among the processes, or
            the device does not exist, or cannot train in this precision.
    """
    runtime = choose_runtime(config.device, config.precision)
    if runtime.precision == "fp16" and runtime.device.type == "cpu":
        raise ValueError("precision fp16 needs a GPU; on a CPU use auto, fp32 or bf16")
    accelerator = Accelerator(cpu=runtime.device.type == "cpu")
    if config.accumulate % accelerator.num_processes:
        raise ValueError(
            f"accumulate {config.accumulate} micro-batches cannot be dealt out evenly to"
            f" {accelerator.num_processes} processes: expected a multiple of"
            f" {accelerator.num_processes}"
        )
    return accelerator, runtime


class AudioLMTrainer(TrainingLoop):
    """Trains `lm` on `batches` until `config.steps`.

    Attributes:
        skipped: Steps skipped because their gradient was not finite.
        reading: Losses and accuracies of the last log line.
    """

    config: LMTrainingConfig
    monitor: LMMonitor

    def __init__(
        self,
        lm: AudioLM,
        config: LMTrainingConfig,
        batches: Batches,
        *,
        processes: tuple[Accelerator, Runtime] | None = None,
        validator: Validator | None = None,
        start: Checkpoint | None = None,
        teacher: DistillationTeacher | None = None,
        codec: Any = None,
        export: Callable[[bool], Path] | None = None,
    ) -> None:
        """Create the optimiser, and resume from a checkpoint if there is one.

        Args:
            lm: Parameters that require a gradient are trained and saved.
            config: Configuration of the run.
            batches: Micro-batches of this process.
            processes: Result of :func:`start_processes`, if it was called before.
            validator: Evaluates held-out rows.
            start: Checkpoint to resume from.
            teacher: Predicts the targets of some tasks.
            codec: Decodes samples for TensorBoard.
            export: Writes the model after each checkpoint (False) and at the end (True).
        """
        super().__init__(config, *(processes or start_processes(config)))
        self.data, self.validator, self.teacher = batches, validator, teacher
        self.skipped = 0
        self.reading: MeterReading | None = None
        self._codec, self._export = codec, export
        self._step = self._skipped_in_a_row = 0
        self._norm = 0.0  # of the last gradient
        if config.checkpointing:
            lm.activation_checkpointing_enable()
        self.model = lm
        self.wrapped: Any = lm  # the model that averages gradients over the processes
        if not is_sharded(lm):
            lm.to(self.accelerator.device)
            if self.accelerator.num_processes > 1:
                cpu = self.accelerator.device.type == "cpu"
                devices = None if cpu else [self.accelerator.local_process_index]
                self.wrapped = DistributedDataParallel(lm, device_ids=devices)
        self.optimizer = make_optimizer(config, lm)
        scaled, device = self.runtime.needs_loss_scale, self.accelerator.device
        self.scaler = torch.amp.GradScaler(device.type) if scaled else None
        self._meter, self._step_meter = (Meter(lm.config, device) for _ in range(2))
        if start is not None:
            self.resume(start)

    @property
    def step(self) -> int:
        """Optimiser steps done."""
        return self._step

    @property
    def skipped_in_a_row(self) -> int:
        """Steps skipped since the last good one."""
        return self._skipped_in_a_row

    # ------------------------------------------------------------------ one step

    def batches(self) -> Iterator[list[Batch]]:
        """Yield this process's micro-batches of each step."""
        share = self.config.accumulate // self.accelerator.num_processes
        batches = iter(self.data)
        while True:
            yield list(islice(batches, share))

    def train_step(self, batches: Sequence[Batch]) -> StepResult:
        """Run one optimiser step; a gradient that is not finite changes no weight and no moment."""
        self.model.train()
        targets = self._count_targets(batches)
        losses = []
        for number, batch in enumerate(batches):
            with self._exchange(last=number == len(batches) - 1):
                losses.append(self._micro_step(batch, number, targets))
        problem = self._update(losses)
        self._step_meter.clear()
        self._step += 1
        return StepResult(self._agree(self.requests()), problem)

    def _count_targets(self, batches: Sequence[Batch]) -> Tensor:
        """Targets of the step, over all processes."""
        count = sum(batch["labels"].ne(IGNORED).sum() for batch in batches)
        assert isinstance(count, Tensor)
        return self.add_up(count.to(self.accelerator.device))

    def _micro_step(self, batch: Batch, number: int, targets: Tensor) -> Tensor:
        """Add a micro-batch's gradients; all that is random is drawn from its number."""
        world, device = self.accelerator.num_processes, self.accelerator.device
        place = number * world + self.accelerator.process_index
        torch.manual_seed(draw_int(self.config.seed, "micro", self.step, place))
        inputs: dict[str, Any] = {name: value.to(device) for name, value in batch.items()}
        if (lengths := batch.get("document_lengths")) is not None:
            inputs["document_lengths"] = lengths.tolist()  # they are read on the CPU
        loss = self._compute_loss(inputs, targets) * world  # gradients are averaged afterwards
        (loss if self.scaler is None else self.scaler.scale(loss)).backward()
        return loss.detach()

    def _compute_loss(self, inputs: dict[str, Any], targets: Tensor) -> Tensor:
        """The micro-batch's share of the mean over all targets of the step."""
        forward: Callable[..., AudioLMOutput] = self.wrapped
        if self.teacher is not None:
            forward = partial(forward_with_teacher, self.wrapped, self.model, self.teacher)
        with self.runtime.autocast():
            outputs = forward(**inputs, num_items_in_batch=targets)
        self._step_meter.add(outputs, inputs["labels"])
        assert outputs.loss is not None
        return outputs.loss

    @contextmanager
    def _exchange(self, last: bool) -> Iterator[None]:
        """Average gradients over the processes after the last micro-batch of a step only."""
        if is_sharded(self.model):
            self.wrapped.set_requires_gradient_sync(last)
        alone = last or not isinstance(self.wrapped, DistributedDataParallel)
        with nullcontext() if alone else self.wrapped.no_sync():
            yield

    def _update(self, losses: Sequence[Tensor]) -> str | None:
        """Clip and apply the gradient; returns why the step was skipped."""
        set_lr(self.optimizer, lr_scale(self.config, self.step))
        if self.scaler is not None:
            self.scaler.unscale_(self.optimizer)
        limit = self.config.clip_norm or float("inf")
        norm: Any = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        self._norm = float(norm)
        finite, problem = bool(torch.isfinite(norm)), None
        overflow = not finite and self.scaler is not None and self.scaler.get_scale() > 1
        if finite:
            self._skipped_in_a_row = 0
            self._meter.merge(self._step_meter)
        elif not overflow:  # otherwise the scaler skips the step and lowers its scale
            self.optimizer.zero_grad()
            self.skipped += 1
            self._skipped_in_a_row += 1
            found = ", ".join(f"{float(loss):.4g}" for loss in losses)
            problem = f"its gradient is {self._norm}; losses of its micro-batches: {found}"
            self.monitor.skipped(self.step, self._norm, problem)
        if self.scaler is not None:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        elif finite:
            self.optimizer.step()
        self.optimizer.zero_grad()
        return problem

    def _agree(self, requests: Requests) -> Requests:
        """The requests of any process."""
        if self.accelerator.num_processes == 1:
            return requests
        flags = torch.tensor([requests.stop, requests.save], dtype=torch.float32)
        stop, save = (self.add_up(flags.to(self.accelerator.device)) > 0).tolist()
        return Requests(stop, save)

    def add_up(self, tensor: Tensor) -> Tensor:
        """Sum over the processes."""
        return self.accelerator.reduce(tensor, reduction="sum")

    # ------------------------------------------------------------------ metrics and checkpoints

    def open_monitor(self) -> LMMonitor:
        """Create the monitor, at the current step."""
        main = self.accelerator.is_main_process
        return LMMonitor(self.config, self.step, codec=self._codec, main=main)

    def log(self) -> None:
        """Write losses and accuracies by stream since the last call."""
        self.reading = self._meter.read(self.add_up)
        self._meter.clear()
        self.monitor.log(
            self.step,
            self.reading,
            lr=self.config.lr * lr_scale(self.config, self.step - 1),
            gradient_norm=self._norm,
            skipped=self.skipped,
        )

    def validate(self) -> None:
        """Evaluate held-out rows by task, and generate a few."""
        if self.validator is None:
            return
        with self.runtime.autocast():
            readings = self.validator.judge(self.model, self.accelerator.device, self.add_up)
        sharded = is_sharded(self.model)
        if sharded:
            self.wrapped.reshard()  # otherwise only a backward pass does it
        if self.accelerator.is_main_process:
            samples = [] if sharded else self.validator.generate(self.model)
            self.monitor.validated(self.step, readings, samples)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Return trained weights and optimiser states; sharded ones in the first process only."""
        main = self.accelerator.is_main_process
        return checkpoint.tensors(self.model, self.optimizer, keep=main)

    def counters(self) -> dict[str, Any]:
        """Return the JSON part of a checkpoint."""
        places = checkpoint.gather(self.data.state_dict(), self.accelerator.num_processes)
        return {
            "config": self.config.to_dict(),
            "data": places,
            "skipped": self.skipped,
            "skipped_in_a_row": self.skipped_in_a_row,
            "precision": self.runtime.precision,
            "loss_scale": None if self.scaler is None else self.scaler.state_dict(),
        }

    def load(self, start: Checkpoint) -> None:
        """Restore weights, optimiser states, counters and the position in the data."""
        checkpoint.restore(self.model, self.optimizer, start)
        self._step, self.skipped = start.step, start.state["skipped"]
        self._skipped_in_a_row = start.state["skipped_in_a_row"]
        if self.scaler is not None and start.state.get("loss_scale") is not None:
            self.scaler.load_state_dict(start.state["loss_scale"])
        index, world = self.accelerator.process_index, self.accelerator.num_processes
        self.data.load_state_dict(checkpoint.own_place(start.state["data"], index, world))

    def export(self, final: bool = False) -> Path:
        """Write the model or the adapter."""
        return self.folder if self._export is None else self._export(final)

    def count_parameters(self) -> tuple[int, int]:
        """Return the number of trained weights and of all weights of the model."""
        return parameter_counts(self.model)


def make_optimizer(config: LMTrainingConfig, lm: AudioLM) -> torch.optim.Optimizer:
    """AdamW for the parameters that require a gradient, or Muon for the matrices in the layers."""
    names = checkpoint.trained(lm)
    adamw: Mapping[str, Any] = {
        "lr": config.lr, "betas": config.betas, "weight_decay": config.weight_decay,
    }  # fmt: skip
    if config.muon_lr <= 0:
        return make_adamw(names, **adamw)
    muon = {"lr": config.muon_lr, "weight_decay": config.weight_decay}
    return make_muon(names, **muon, adamw=dict(adamw), layers=".layers.")
