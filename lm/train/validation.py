"""Held-out rows: how well the model predicts them, task by task, and what it makes of a few."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..config import AudioLMConfig
from ..data.batches import Collator
from ..data.mixing import Sample
from ..data.rows import Pick
from ..data.sampler import LengthBucketSampler
from ..inference import evaluating
from ..model import AudioLM
from ..sequences import AudioSegment, Example, TextSegment, build_prompt
from .monitor import Meter, MeterReading

_LONGER = 2.0  # a sample may become so much longer than the original before it is cut


@dataclass(frozen=True)
class ValidationSample:
    """A held-out row and what the model made of its conditions."""

    task: str
    number: int
    target: Tensor | str  # codes [K, Q], or text
    made: Tensor | str  # the same kind
    frames_per_query: int


class Validator:
    """Judges a model on the same held-out rows every time."""

    def __init__(
        self,
        tasks: Mapping[str, Any],
        config: AudioLMConfig,
        *,
        eos_id: int,
        budget: int,
        decode: Callable[[list[int]], str] | None = None,
        samples: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        """Describe the judgement.

        Args:
            tasks: held-out datasets by task; each has `lengths(epoch)` and items by `Pick`.
            config: of the model.
            eos_id: the tokenizer's end token.
            budget: most positions of a batch.
            decode: ids to text, for samples.
            samples: rows of each task to generate.
            rank: this process.
            world: number of processes.
        """
        self._tasks, self._config, self._eos = dict(tasks), config, eos_id
        self._collate = Collator(config, eos_id)
        self._budget, self._decode, self._samples = budget, decode, samples
        self._rank, self._world = rank, world

    @torch.no_grad()
    def judge(
        self, lm: AudioLM, device: torch.device, add_up: Callable[[Tensor], Tensor]
    ) -> dict[str, MeterReading]:
        """Losses and accuracies by task.

        Args:
            lm: the model; it is in evaluation mode meanwhile.
            device: where it is.
            add_up: sum of a tensor over the processes.
        """
        readings = {}
        with evaluating(lm):
            for task, dataset in self._tasks.items():
                meter = Meter(self._config, device)
                for picks, weight in self._shares(dataset):
                    batch = self._collate([dataset[pick] for pick in picks])
                    batch = {name: value.to(device) for name, value in batch.items()}
                    meter.add(lm(**batch), batch["labels"], weight)
                readings[task] = meter.read(add_up)
        return readings

    def generate(self, lm: AudioLM) -> list[ValidationSample]:
        """Generate a few rows of each task, the same ones every time, with the same seeds."""
        heard = []
        for task, dataset in self._tasks.items():
            for number in range(min(self._samples, len(dataset))):
                try:
                    sample: Sample = dataset[Pick(0, number)]
                except ValueError:  # a row that makes no example; training leaves it out too
                    continue
                heard.append(self._one(lm, task, number, sample.example))
        return heard

    def _shares(self, dataset: Any) -> list[tuple[list[Pick], float]]:
        """This process's batches; as many on every process, the surplus ones without weight."""
        sampler = LengthBucketSampler(dataset, budget=self._budget, shuffle=False)
        batches = list(sampler)
        rounds = -(-len(batches) // self._world)
        numbers = [n * self._world + self._rank for n in range(rounds)]
        last = len(batches) - 1
        return [(batches[min(n, last)], float(n <= last)) for n in numbers]

    @torch.no_grad()
    def _one(self, lm: AudioLM, task: str, number: int, example: Example) -> ValidationSample:
        *conditions, target = example.segments
        prefix = None
        if isinstance(target, AudioSegment) and not conditions:  # something must be given
            prefix = AudioSegment(target.codes[:, : target.codes.shape[1] // 2])
        prompt = build_prompt(
            task,
            conditions,
            "audio" if isinstance(target, AudioSegment) else "text",
            self._config,
            frames_per_query=example.frames_per_query,
            eos_id=self._eos,
            prefix=prefix,
        )
        size = target.codes.shape[1] if isinstance(target, AudioSegment) else len(target.ids)
        most = max(8, round(_LONGER * size))
        row = lm.generate(
            prompt[None].to(lm.device),
            seed=number,
            eos_id=self._eos,
            max_frames=most,
            max_text_tokens=most,
        )[0]
        if isinstance(target, TextSegment):
            return ValidationSample(
                task, number, self._text(target.ids), self._text(row.ids), example.frames_per_query
            )
        assert row.codes is not None
        return ValidationSample(
            task, number, target.codes, row.codes.cpu(), example.frames_per_query
        )

    def _text(self, ids: Any) -> str:
        ids = [int(i) for i in ids if int(i) != self._eos]
        return self._decode(ids) if self._decode is not None else " ".join(map(str, ids))
