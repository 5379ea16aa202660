"""Validation on held-out rows: losses by task, generated samples, and a check for leaks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..config import AudioLMConfig
from ..data.collator import Collator
from ..data.dataset import EmptySelection, TokenDataset
from ..data.mixing import Sample
from ..data.rows import EpochIndex
from ..data.sampler import LengthBucketSampler
from ..inference import evaluating
from ..model import AudioLM
from ..sequences import AudioSegment, Example, SpeakerSegment, TextSegment, build_prompt
from .config import LMTrainingConfig
from .corpus import spare_index
from .monitor import Meter, MeterReading

logger = logging.getLogger(__name__)
_LONGER = 2.0  # maximum length of a sample relative to the original
_NAMED = 3  # ids named in a warning


@dataclass(frozen=True)
class ValidationSample:
    """A held-out row and what the model generated from its conditions."""

    task: str
    number: int
    target: Tensor | str  # codes [K, Q], or text
    made: Tensor | str  # the same kind
    frames_per_query: int


class Validator:
    """Evaluates a model on the same held-out rows every time."""

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
        """Set the validation up.

        Args:
            tasks: Held-out datasets by task; each has `lengths(epoch)` and items by `EpochIndex`.
            config: Configuration of the model.
            eos_id: End token of the tokenizer.
            budget: Maximum positions of a batch.
            decode: Turns ids into text, for samples.
            samples: Rows of each task to generate.
            rank: This process.
            world: Number of processes.
        """
        self._tasks, self._config, self._eos = dict(tasks), config, eos_id
        self._collate = Collator(config, eos_id)
        self._budget, self._decode, self._samples = budget, decode, samples
        self._rank, self._world = rank, world

    @torch.no_grad()
    def judge(
        self, lm: AudioLM, device: torch.device, add_up: Callable[[Tensor], Tensor]
    ) -> dict[str, MeterReading]:
        """Return losses and accuracies by task.

        Args:
            lm: The model; it is in evaluation mode meanwhile.
            device: Device of the model.
            add_up: Sums a tensor over the processes.
        """
        readings = {}
        with evaluating(lm):
            for task, dataset in self._tasks.items():
                meter = Meter(self._config, device)
                for picks, weight in self._shares(dataset):
                    batch = self._collate([dataset[pick] for pick in picks])
                    batch = {name: value.to(device) for name, value in batch.items()}
                    output = lm(**batch, return_logits=False)
                    meter.add(output, batch["labels"], weight)
                readings[task] = meter.read(add_up)
        return readings

    def generate(self, lm: AudioLM) -> list[ValidationSample]:
        """Generate a few rows of each task, the same ones every time, with the same seeds."""
        samples = []
        for task, dataset in self._tasks.items():
            for number in range(min(self._samples, len(dataset))):
                try:
                    sample: Sample = dataset[EpochIndex(0, number)]
                except ValueError:  # a row that makes no example; training leaves it out too
                    continue
                samples.append(self._one(lm, task, number, sample.example))
        return samples

    def _shares(self, dataset: Any) -> list[tuple[list[EpochIndex], float]]:
        """This process's batches and weights; a repeated batch that evens the numbers out has 0."""
        sampler = LengthBucketSampler(dataset, budget=self._budget, shuffle=False)
        batches = list(sampler)
        rounds = -(-len(batches) // self._world)
        numbers = [n * self._world + self._rank for n in range(rounds)]
        last = len(batches) - 1
        return [(batches[min(n, last)], float(n <= last)) for n in numbers]

    @torch.no_grad()
    def _one(self, lm: AudioLM, task: str, number: int, example: Example) -> ValidationSample:
        *conditions, target = example.segments
        assert not isinstance(target, SpeakerSegment)
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


def find_leaks(config: LMTrainingConfig) -> list[str]:
    """Return the ids of held-out recordings that are training data too, by id and length.

    The splits of one folder share no recording, so only `validation_data` is checked. A stream is
    not checked: it may be larger than memory.
    """
    if not config.validation_data or config.stream:
        return []
    try:
        learned = TokenDataset(config.data, split="train", spare_index=spare_index(config))
    except EmptySelection:  # training itself says so, for each task
        return []
    held_out: set[tuple[str, int]] = set()
    for split in ("valid", None):  # as `corpus.held_out` chooses
        try:
            rows = TokenDataset(
                config.validation_data, split=split, spare_index=spare_index(config)
            )
            held_out = rows.recordings()
        except EmptySelection:
            continue
        break
    names = {name for name, _ in held_out}
    return sorted(name for name, _ in learned.recordings(names) & held_out)


def warn_of_leaks(config: LMTrainingConfig) -> None:
    """Log a warning if held-out recordings are training data too."""
    names = find_leaks(config)
    if names:
        more = ", ..." if len(names) > _NAMED else ""
        logger.warning(
            "%d held-out recordings are in training too (%s%s): their losses will look better than "
            "those of new recordings",
            len(names), ", ".join(names[:_NAMED]), more,
        )  # fmt: skip
