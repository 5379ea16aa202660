"""The training loop of all stages: from a config to a trained codec in the run folder.

OUT/config.json     the run's configuration      OUT/checkpoints/  to go on from
OUT/metrics.jsonl   one line per log step        OUT/model/        the codec, averaged weights
OUT/tensorboard/    the same and samples         OUT/skipped/      crops of skipped steps
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...core.progress import no_inner_bars
from ...core.runtime import training_products
from ...core.training.checkpoint import (
    CheckpointError,
    find_source,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from ...core.training.config import read_json_object
from ...core.training.interrupt import Interrupt
from ...core.training.run_folder import init_run_dir
from ...core.training.run_lock import lock_run_dir
from ...core.training.seeding import draw_int
from ..initialization import initialize_coders, initialize_patchify, initialize_quantizer
from ..model import ALMTokenizer
from .batches import starting_batches, training_batches, validation_batches
from .config import CodecTrainConfig
from .monitor import Monitor
from .resume import CARD, read_source, start_from, take_heads, take_named_heads
from .state import TrainState, build_state
from .update import StepRequests, micro_batch_size, optimizer_step
from .validation import Validation, validate


class TrainingStopped(RuntimeError):
    """Training cannot go on; the message says why and what is left."""


@dataclass(frozen=True)
class TrainResult:
    """Where a run ended."""

    step: int  # optimiser steps done
    model: Path  # folder for ALMTokenizer.from_pretrained
    finished: bool  # False after Ctrl-C or SIGTERM
    signal: int | None  # which one
    validation: Validation | None  # the last one of this call


def train_codec(config: CodecTrainConfig) -> TrainResult:
    """Train until the last step, from the newest complete checkpoint of ``config.out`` if any.

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
        with training_products(state.device):
            _begin(state, run)
            fingerprint = state.model.fingerprint
            result = _run(state, run)
    if config.stage == "adapt" and state.model.fingerprint != fingerprint:
        raise AssertionError("adaptation changed the meaning of the codes")
    return result


def _run(state: TrainState, run: Path) -> TrainResult:
    config, codec = state.config, state.model.config
    accelerator = state.accelerator
    batches = training_batches(config, accelerator, codec.sample_rate, codec.hop_length, state.step)
    held_out = []
    if accelerator.is_main_process:
        held_out = validation_batches(config, codec.sample_rate, codec.hop_length)
    validation, saved, saved_at = None, state.step, time.monotonic()
    with Interrupt() as interrupt, closing(Monitor(state, run)) as monitor:
        monitor.say(f"training on {state.runtime}")
        if state.step:
            monitor.say(f"going on from step {state.step} in {run}")
            if state.precision_before not in (None, state.runtime.precision):
                monitor.say(f"note: up to there it was trained in {state.precision_before}")
        for crops in batches:
            minutes = (time.monotonic() - saved_at) / 60
            due = 0 < config.checkpoint_minutes <= minutes
            if _quantizes_now(state):
                # About four queries for each entry; k-means gains little from more.
                seconds = 4 * codec.codebook_size / codec.query_rate()
                _place(state, initialize_quantizer, seconds)
            report = optimizer_step(state, crops, StepRequests(interrupt.signal is not None, due))
            monitor.after_step(report, crops)
            if state.skipped_in_a_row >= config.max_skips:
                raise TrainingStopped(
                    f"{config.max_skips} steps in a row were skipped, the last because"
                    f" {report.problem}; their crops are listed in {run / 'skipped'}. Lower the"
                    f" learning rate or clean the data; {_where(run)}"
                )
            last = state.step == config.steps
            on_time = config.checkpoint_every > 0 and state.step % config.checkpoint_every == 0
            # Before saving: what a checkpoint has behind it is in the log, whenever a kill comes.
            if held_out and _validates(config, state.step) and not report.wishes.stop:
                validation = validate(state, held_out)
                monitor.validated(validation)
            if last or on_time or report.wishes.save or report.wishes.stop:
                save(state, run)
                saved, saved_at = state.step, time.monotonic()
            if report.wishes.stop and not last:
                monitor.say(f"stopped: {_where(run)}")
                break
        if state.step > saved or _exported_step(run) != state.step:
            save(state, run)
    accelerator.wait_for_everyone()
    return TrainResult(
        step=state.step,
        model=run / "model",
        finished=state.step >= config.steps,
        signal=interrupt.signal,
        validation=validation,
    )


def save(state: TrainState, run: Path) -> None:
    """Write the checkpoint of the current step and the codec as it stands (first process)."""
    if state.accelerator.is_main_process:
        write_checkpoint(run, state.step, state.tensors(), state.counters(), state.config.keep)
        export_model(state, run)
    state.accelerator.wait_for_everyone()


def export_model(state: TrainState, run: Path) -> Path:
    """Save the codec for inference, averaged weights if kept, in place of an older one."""
    place, aside, old = run / "model", run / ".tmp-model", run / ".old-model"
    for folder in (aside, old):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        with state.averaged() as model, no_inner_bars():
            model.save_pretrained(aside)
        card = {"stage": state.config.stage, "step": state.step, "config": state.config.to_dict()}
        (aside / CARD).write_text(json.dumps(card, indent=1), encoding="utf-8")
        if place.exists():
            os.replace(place, old)
        os.replace(aside, place)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise CheckpointError(
            f"cannot write {place}: {error}; the checkpoint of step {state.step} is complete"
        ) from error
    shutil.rmtree(old, ignore_errors=True)
    return place


def _exported_step(run: Path) -> int | None:
    """The step of the codec in ``model``: a kill may have come between a checkpoint and it."""
    try:
        return int(read_json_object(run / "model" / CARD)["step"])
    except (OSError, ValueError, KeyError):
        return None


def _begin(state: TrainState, run: Path) -> None:
    """Go on from the newest complete checkpoint, or start from what the config names."""
    newest = newest_checkpoint(run)
    if newest is not None:
        state.load(read_checkpoint(newest))
        return
    config = state.config
    from_stage = "1"
    if config.init_from is not None:
        source = find_source(config.init_from)
        checkpoint = read_source(source)
        with no_inner_bars():
            from_stage = start_from(state, source, checkpoint)
        taken = (
            take_heads(state, checkpoint)
            if config.heads_from is None
            else take_named_heads(state, config.heads_from)
        )
        if taken and state.accelerator.is_main_process:
            print(f"heads that go on: {', '.join(taken)}", flush=True)
        if state.average is not None:
            state.average.restart()
    if config.prior is not None and config.stage == "2":
        from ..priors import load_prior

        prior = load_prior(config.prior)
        kept = state.model.quantizer.load_prior(prior.centroids, prior.num_speech)
        if kept and state.accelerator.is_main_process:
            print(f"{config.prior} is the prior of {config.init_from}: codebooks stay", flush=True)
    if config.init_from is None:
        _place(state, initialize_patchify, seconds=60.0)
    if config.stage == "2" and from_stage == "1":
        _place(state, initialize_coders, seconds=600.0)


def _place(
    state: TrainState, start: Callable[[ALMTokenizer, Iterable[Tensor]], None], seconds: float
) -> None:
    """Place new parts of the codec by so much training data (see codec/initialization.py)."""
    codec = state.model.config
    torch.manual_seed(draw_int(state.config.seed, "start"))
    batches = starting_batches(
        state.config, state.accelerator, codec.sample_rate, codec.hop_length, seconds
    )
    state.model.eval()
    start(state.model, batches)
    state.train_mode()
    if state.average is not None:
        state.average.restart()


def _quantizes_now(state: TrainState) -> bool:
    """Whether the codebooks are to be placed before the coming step."""
    config = state.config
    due = config.stage == "2" and state.step >= config.quantize_start
    return due and not state.model.quantizer.started


def _validates(config: CodecTrainConfig, step: int) -> bool:
    every = config.validate_every
    return step == config.steps or (every > 0 and step % every == 0)


def _where(run: Path) -> str:
    newest = newest_checkpoint(run)
    if newest is None:
        return "no checkpoint was written yet"
    return f"the newest checkpoint is {newest}; the same command goes on from it"
