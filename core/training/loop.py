"""The training loop of the codec and of the language model.

A subclass of :class:`TrainingLoop` computes optimiser steps and the contents of checkpoints; the
loop decides when to log, validate, save and stop.
"""

from __future__ import annotations

import abc
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from torch import Tensor, nn

from ..reading import reading
from ..runtime import Runtime
from .checkpoint import (
    Checkpoint,
    CheckpointError,
    folder_of,
    newest_checkpoint,
    write_checkpoint,
)
from .config import RunConfig
from .interrupt import Interrupt
from .run_folder import Monitor


class TrainingStopped(RuntimeError):
    """Training cannot continue; the message gives the reason and the newest checkpoint."""


@dataclass(frozen=True)
class Requests:
    """What to do after the current step."""

    stop: bool = False  # a signal has arrived
    save: bool = False  # a checkpoint is due by time


@dataclass(frozen=True)
class StepResult:
    """Outcome of one optimiser step."""

    requests: Requests  # of all processes together
    problem: str | None = None  # why the step was skipped


class TrainingLoop(abc.ABC):
    """One training run, which all processes execute together.

    Attributes:
        config: Configuration of the run.
        folder: Run folder.
        accelerator: Device and processes.
        runtime: Device and precision.
        interrupt: SIGINT, SIGTERM or SIGHUP, if one has arrived.
    """

    monitor: Monitor

    def __init__(self, config: RunConfig, accelerator: Accelerator, runtime: Runtime) -> None:
        self.config, self.folder = config, Path(config.out)
        self.accelerator, self.runtime = accelerator, runtime
        self.interrupt = Interrupt()
        self.saved_step: int | None = None  # of the newest checkpoint
        self.saved_precision: str | None = None  # of the run that was resumed
        self._clock = Clock(config.checkpoint_minutes)

    @property
    @abc.abstractmethod
    def step(self) -> int:
        """Optimiser steps done."""

    @property
    @abc.abstractmethod
    def skipped_in_a_row(self) -> int:
        """Steps skipped since the last successful one."""

    @abc.abstractmethod
    def load(self, checkpoint: Checkpoint) -> None:
        """Restore the state of the run from a checkpoint."""

    @abc.abstractmethod
    def open_monitor(self) -> Monitor:
        """Create the monitor, at the step where the loop starts."""

    @abc.abstractmethod
    def batches(self) -> Iterator[Any]:
        """Yield the micro-batches of this process for each step, from the current step."""

    @abc.abstractmethod
    def train_step(self, batches: Any) -> StepResult:
        """Run one optimiser step and count it, or skip it.

        The result carries :meth:`requests` of all processes.
        """

    @abc.abstractmethod
    def log(self) -> None:
        """Write the metrics since the last call."""

    @abc.abstractmethod
    def validate(self) -> None:
        """Evaluate held-out data and write the result, if there is any."""

    @abc.abstractmethod
    def tensors(self) -> Mapping[str, Mapping[str, Tensor]]:
        """Return the tensors of a checkpoint by file stem and name; called in all processes."""

    @abc.abstractmethod
    def counters(self) -> Mapping[str, Any]:
        """Return the JSON values of a checkpoint; called in all processes."""

    @abc.abstractmethod
    def export(self, final: bool = False) -> Path:
        """Write the model for inference and return its folder; called in all processes.

        Args:
            final: After the last step, and not after a checkpoint.
        """

    def align_processes(self) -> None:  # noqa: B027  (nothing to do by default)
        """Make sure that all processes hold the same state; called in all, before a checkpoint."""

    @property
    def finished(self) -> bool:
        """Whether the last step is done."""
        return self.step >= self.config.steps

    def resume(self, checkpoint: Checkpoint) -> None:
        """Continue from a checkpoint.

        Raises:
            CheckpointError: It does not fit this run.
        """
        with reading(folder_of(self.folder, checkpoint.step), CheckpointError):
            self.load(checkpoint)
        self.saved_step = self.step
        self.saved_precision = checkpoint.state.get("precision")

    def train(self) -> None:
        """Train until the last step or until a signal.

        Raises:
            TrainingStopped: ``max_skips`` steps in a row were skipped.
            CheckpointError: A checkpoint cannot be written.
        """
        if self.finished:
            return
        self._clock.restart()
        batches = iter(self.batches())
        with self.interrupt, closing(self.open_monitor()) as self.monitor:
            self._announce()
            while not self.finished:
                result = self.train_step(next(batches))
                self._after_step(result)
                if result.requests.stop:
                    if not self.finished:
                        self.monitor.say(f"stopped: {describe_newest(self.folder)}")
                    break
        self.accelerator.wait_for_everyone()

    def requests(self) -> Requests:
        """Return the requests of this process."""
        return Requests(stop=self.interrupt.signal is not None, save=self._clock.due)

    def save(self) -> None:
        """Write the checkpoint of the current step and the exported model."""
        self.align_processes()
        tensors, counters = self.tensors(), self.counters()
        if self.accelerator.is_main_process:
            write_checkpoint(self.folder, self.step, tensors, counters, self.config.keep)
        self.export()
        self.accelerator.wait_for_everyone()
        self.saved_step = self.step
        self._clock.restart()

    def _after_step(self, result: StepResult) -> None:
        config, step = self.config, self.step
        if is_due(config.log_every, step, config.steps):
            self.log()
        self.monitor.advance()
        if self.skipped_in_a_row >= config.max_skips:
            raise TrainingStopped(
                f"{config.max_skips} steps in a row were skipped, the last (step {step - 1})"
                f" because {result.problem}. Lower the learning rate or check the data;"
                f" {describe_newest(self.folder)}"
            )
        stop, save = result.requests.stop, result.requests.save
        # Validate first: if a run is killed, its log includes everything up to the checkpoint.
        if is_due(config.validate_every, step, config.steps) and not stop:
            self.validate()
        if stop or save or is_due(config.checkpoint_every, step, config.steps):
            self.save()

    def _announce(self) -> None:
        trained, total = self.count_parameters()
        self.monitor.say(
            f"training on {self.runtime}; {_count(trained)} of {_count(total)} weights"
        )
        if self.step:
            self.monitor.say(f"resuming from step {self.step} in {self.folder}")
        if self.saved_precision not in (None, self.runtime.precision):
            self.monitor.say(f"note: earlier steps were trained in {self.saved_precision}")

    @abc.abstractmethod
    def count_parameters(self) -> tuple[int, int]:
        """Return the number of trained parameters and of all parameters of the model."""


class Clock:
    """Minutes since the last checkpoint."""

    def __init__(self, minutes: float) -> None:
        self._minutes = minutes
        self._since = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the interval has passed; never with an interval of 0."""
        return 0 < self._minutes <= (time.monotonic() - self._since) / 60

    def restart(self) -> None:
        """Start a new interval."""
        self._since = time.monotonic()


def is_due(every: int, step: int, last: int) -> bool:
    """Whether an action is due at a step: every ``every`` steps (0: never) and at the last."""
    return step >= last or (every > 0 and step % every == 0)


def describe_newest(run: Path) -> str:
    """Describe the newest checkpoint of a run folder, for messages."""
    newest = newest_checkpoint(run)
    if newest is None:
        return "no checkpoint was written yet"
    return f"the newest checkpoint is {newest}; the same command resumes from it"


def parameter_counts(module: nn.Module) -> tuple[int, int]:
    """Return the number of parameters that require a gradient, and of all."""
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return sum(size for size, trained in sizes if trained), sum(size for size, _ in sizes)


def _count(parameters: int) -> str:
    return f"{parameters / 1e6:.2f} M"
