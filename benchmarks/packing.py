"""Training steps of the demo's language model with padded and with packed batches, in turns.

    almtok demo --scale 0.15 --only language-corpus tokens --out runs/demo
    python -m benchmarks.packing runs/demo

Run it from the root of the repository. Both trainings take turns, a few steps each, and processor
time is measured, which depends little on other programs. Positions are those of examples, without
padding.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from almtok.lm.train.config import LMTrainingConfig
from almtok.lm.train.corpus import find_tasks, read_info, training_batches, training_texts
from almtok.lm.train.initial_model import build_initial_model
from almtok.lm.train.trainer import AudioLMTrainer
from almtok.recipes.mini.recipe import lm as demo

_TURN = 3  # steps


class Training:
    """A training that is run a few steps at a time."""

    def __init__(self, config: LMTrainingConfig) -> None:
        weighted, info = find_tasks(config), read_info(config)
        names = [item.task.name for item in weighted]
        start = build_initial_model(config, info, names, lambda: training_texts(config, weighted))
        batches = training_batches(config, weighted, start.lm.config, start.texts)
        self.trainer = AudioLMTrainer(start.lm, config, batches)
        self.batches: Iterator[Any] = self.trainer.batches()
        self.rates: list[float] = []  # positions per second of a processor, of each turn
        self.real = self.padded = 0

    def turn(self) -> None:
        """Run some steps."""
        steps = [next(self.batches) for _ in range(_TURN)]
        real = [_positions(batch) for step in steps for batch in step]
        begin = time.process_time()
        for step in steps:
            self.trainer.train_step(step)
        self.rates.append(sum(real) / (time.process_time() - begin))
        self.real += sum(real)
        self.padded += sum(batch["labels"][..., 0].numel() for step in steps for batch in step)


def _positions(batch: dict[str, Any]) -> int:
    if "attention_mask" in batch:
        return int(batch["attention_mask"].sum())
    return int(batch["document_lengths"].sum())


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run folder of the demo, with its tokens")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--positions", type=int, nargs="+", default=[2048])
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    print("| positions | batches | padding | positions per processor second | packed / padded |")
    print("| ---: | --- | ---: | ---: | ---: |")
    for size in options.positions:
        config = dataclasses.replace(
            demo(options.run, ""),
            batch_positions=size, codec=None, codec_start=False, num_workers=0,
            progress=False, tracker="none", out=str(options.run / "packing"),
            precision=options.precision,
        )  # fmt: skip
        both = [Training(dataclasses.replace(config, packing=on)) for on in (False, True)]
        for number in range(options.turns + 1):
            for training in both if number % 2 else both[::-1]:
                training.turn()
        padded, packed = (np.array(training.rates[1:]) for training in both)
        for training, rates in zip(both, (padded, packed), strict=True):
            share = 1 - training.real / training.padded
            kind = "packed" if training is both[1] else "padded"
            ratio = f"{statistics.median(packed / padded):.2f}" if kind == "packed" else ""
            median = statistics.median(rates)
            print(f"| {size} | {kind} | {share:.1%} | {median:.0f} | {ratio} |", flush=True)


if __name__ == "__main__":
    main()
