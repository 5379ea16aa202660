"""What a training on many rows needs before it begins: the text tokenizer and measured lengths."""

from __future__ import annotations

import dataclasses
import datetime
from dataclasses import dataclass
from pathlib import Path

from ...core.files import lock_run_dir
from ...core.loading import no_inner_bars
from ...core.training.run_folder import init_run_dir
from .config import LMTrainingConfig
from .corpus import find_tasks, named_speakers, read_info, training_mixture, training_texts
from .initial_model import build_initial_model

# Of the barrier behind which other processes wait for the text tokenizer.
_BARRIER_TIMEOUT = datetime.timedelta(days=1)


@dataclass(frozen=True)
class MeasureResult:
    """Examples of the first epoch of a training."""

    examples: int
    without: int  # rows that give no example, or one that is longer than the model
    positions: int  # of all examples
    tasks: dict[str, int]  # examples and rows without one, by task

    def text(self) -> str:
        """The result as text."""
        tasks = ", ".join(f"{name}: {count}" for name, count in self.tasks.items())
        return (
            f"{self.examples} examples are measured ({tasks}), {self.positions} positions;"
            f" {self.without} rows give no example"
        )


def measure_lm(config: LMTrainingConfig, *, processes: int = 1) -> MeasureResult:
    """Train the text tokenizer if the training needs one, and measure the lengths of examples.

    Under ``torchrun`` the processes of all machines divide the work.

    Args:
        config: Of the training, whose weights are loaded as for the training.
        processes: Processes on this machine, or for each process of ``torchrun``.

    Raises:
        ValueError: A training would be refused for the same reason; or it reads a stream, which
            needs no lengths.
    """
    from accelerate import PartialState

    if config.stream:
        raise ValueError("a stream (--stream) needs no lengths: begin the training")
    state = PartialState(cpu=True, timeout=_BARRIER_TIMEOUT)
    weighted, info = find_tasks(config), read_info(config)
    run = Path(config.out)
    with lock_run_dir(run), no_inner_bars():
        init_run_dir(run, config, write=False)
        names = [item.task.name for item in weighted]
        start = build_initial_model(
            dataclasses.replace(config, codec=None),
            info,
            names,
            lambda: training_texts(config, weighted),
            named_speakers(config, weighted),
        )
        mixture = training_mixture(
            dataclasses.replace(config, num_workers=0 if processes == 1 else processes),
            weighted,
            start.lm.config,
            start.texts,
            rank=state.process_index,
            world=state.num_processes,
        )
        lengths = mixture.lengths(0)
    return MeasureResult(
        examples=int((lengths > 0).sum()),
        without=int((lengths == 0).sum()),
        positions=int(lengths.sum()),
        tasks=mixture.counts,
    )
