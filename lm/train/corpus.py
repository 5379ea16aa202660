"""From the configuration to what a run learns from: tasks, mixtures, held-out rows."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch.utils.data import Dataset

from ...core.training.seeding import draw_unit
from ..config import AudioLMConfig
from ..data.collator import Collator, SequenceLength
from ..data.dataset import EmptySelection, TokenDataset, read_infos, shard_paths
from ..data.mixing import (
    MixedDataset,
    Sample,
    TaskSource,
    TextDataset,
    text_only_example,
)
from ..data.rows import TokenRow
from ..data.shards import ShardInfo
from ..data.stream import StreamLoader, TokenStream
from ..layouts import Slot, TaskLayout
from ..sequences import Example
from ..text.encoder import CachedTextEncoder, TextEncoder
from ..vocabulary import Vocabulary
from .batches import Batches, BucketBatches
from .config import LMTrainingConfig

logger = logging.getLogger(__name__)


class LearnableTask(Protocol):
    """What training asks of a task; `almtok.tasks` has them."""

    @property
    def name(self) -> str:
        """As the model knows it."""
        ...

    @property
    def domains(self) -> tuple[str, ...]:
        """Rows that it learns from; empty: all."""
        ...

    @property
    def draws(self) -> bool:
        """Whether an example depends on `row.draw`."""
        ...

    @property
    def layout(self) -> TaskLayout:
        """Conditions and target."""
        ...

    def to_example(self, row: TokenRow, tokenizer: Any) -> Example:
        """An example of a row; ValueError if it makes none."""
        ...


FindTask = Callable[[str], LearnableTask]


@dataclass(frozen=True)
class Choice:
    """A task, and how much it counts."""

    task: LearnableTask
    weight: float

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Conditions and target."""
        return (*self.task.layout.conditions, self.task.layout.target)

    @property
    def reads(self) -> bool:
        """Whether there is a text in it."""
        return any(slot.kind == "text" for slot in self.slots)

    @property
    def needs_text(self) -> bool:
        """Whether a row without text is of no use."""
        return any(slot.kind == "text" and slot.required for slot in self.slots)

    @property
    def takes_voice(self) -> bool:
        """Whether another row of the speaker can be a condition."""
        return any(slot.voice for slot in self.task.layout.conditions)


def choose(config: LMTrainingConfig, find_task: FindTask) -> list[Choice]:
    """The tasks of a run.

    Raises:
        ValueError: there are none, one is unknown or named twice, or a weight is not positive.
    """
    choices = []
    for text in config.tasks:
        name, equals, weight = text.rpartition("=")
        try:
            number = float(weight) if equals else 1.0
        except ValueError:
            raise ValueError(f"a task must be NAME or NAME=WEIGHT, got {text!r}") from None
        if not number > 0:
            raise ValueError(f"the weight of a task must be positive, got {text!r}")
        choices.append(Choice(find_task(name if equals else text), number))
    names = [choice.task.name for choice in choices]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"tasks must be different, at least one, got {names}")
    return choices


def read_info(config: LMTrainingConfig) -> ShardInfo:
    """Codec and sizes of the tokens; those of all folders must be of one codec.

    Raises:
        ValueError: no tokens, or of several codecs.
    """
    if not config.data:
        raise ValueError(
            "no tokens to learn from: give --data a folder that almtok lm tokenize made"
        )
    return read_infos(shard_paths([*config.data, *config.validation_data]), None)[0]


def training_texts(config: LMTrainingConfig, choices: Sequence[Choice]) -> Iterator[str]:
    """Texts of the training rows in the form the model will see, each once, to make a tokenizer."""
    encoder = TextEncoder(_NoTokenizer(), config.text_form or "spoken", config.language)  # type: ignore[arg-type]
    seen = set()
    # Where no task has a text, the model has a tokenizer all the same: later tasks may.
    reading = [choice for choice in choices if choice.reads] or choices
    for choice in reading:
        transcript = any(slot.transcript for slot in choice.slots)
        phonemize = any(slot.phonemize for slot in choice.slots)
        for rows in _datasets(config, choice, config.data, "train"):
            for place in range(len(rows)):
                row = rows.labels(place)
                if not row.text or (row.text, transcript, phonemize) in seen:
                    continue
                seen.add((row.text, transcript, phonemize))
                try:
                    yield encoder.apply_form(
                        row.text,
                        transcript=transcript,
                        phonemize=phonemize,
                        language=row.language or None,
                    )
                except ValueError:  # no normaliser for this language, or nothing to say
                    yield row.text


def training_batches(
    config: LMTrainingConfig,
    choices: Sequence[Choice],
    lm: AudioLMConfig,
    texts: TextEncoder,
    *,
    rank: int = 0,
    world: int = 1,
    pin_memory: bool = False,
) -> Batches:
    """This process's micro-batches.

    Raises:
        ValueError: a task finds no rows.
    """
    dropout = config.condition_dropout
    dropout = lm.condition_dropout if dropout is None else dropout
    collate = Collator(lm, texts.eos_id, config.input_noise, config.input_noise_span)
    texts = CachedTextEncoder.of(texts)
    if config.stream:
        stream = TokenStream(
            config.data,
            _Make(tuple(choices), texts, dropout),
            _Measure(_Fits(lm)),
            budget=config.batch_positions,
            max_rows=config.batch_rows,
            seed=config.seed,
            rank=rank,
            world=world,
            fingerprint=lm.codec_fingerprint,
            split="train",
            min_seconds=config.min_seconds,
            max_seconds=config.max_seconds,
        )
        return StreamLoader(stream, collate, num_workers=config.num_workers or 0)
    sources = [s for choice in choices for s in _sources(config, choice, config.data, "train")]
    if config.texts:
        sources.append(_passages(config, choices, sources))
    mixture = MixedDataset(
        sources,
        texts,
        _Fits(lm),
        temperature=config.temperature,
        condition_dropout=dropout,
        seed=config.seed,
    )
    return BucketBatches(
        mixture,
        collate,
        budget=config.batch_positions,
        max_rows=config.batch_rows,
        seed=config.seed,
        rank=rank,
        world=world,
        num_workers=config.num_workers or 0,
        pin_memory=pin_memory,
    )


def held_out(
    config: LMTrainingConfig, choices: Sequence[Choice], lm: AudioLMConfig, texts: TextEncoder
) -> dict[str, Dataset[Sample]]:
    """Held-out rows by task, the same ones every time; tasks without any are left out.

    Raises:
        ValueError: held-out folders were given, and a task finds nothing in them.
    """
    found: dict[str, Dataset[Sample]] = {}
    explicit = bool(config.validation_data)
    for choice in choices:
        # Folders of their own may be all of one piece; else only what tokenizing held out.
        splits = ("valid", None) if explicit else ("valid",)
        for split in splits:
            try:
                sources = _sources(config, choice, config.validation_data or config.data, split)
            except EmptySelection:
                if explicit and split is None:
                    raise
                continue
            rows = sum(len(source.dataset) for source in sources)
            judged = MixedDataset(
                sources,
                texts,
                _Fits(lm, config.batch_positions),
                rows_per_epoch=min(rows, config.validation_items),
            )
            if (judged.lengths(0) > 0).any():
                found[choice.task.name] = judged
            else:
                logger.warning(
                    "no held-out row of task %r fits into %d positions: it is not validated",
                    choice.task.name, min(config.batch_positions, lm.max_positions),
                )  # fmt: skip
            break
    return found


def _sources(
    config: LMTrainingConfig, choice: Choice, folders: list[str], split: str | None
) -> list[TaskSource]:
    return [
        TaskSource(
            dataset=rows,
            task=choice.task.name,
            to_example=choice.task.to_example,
            weight=choice.weight,
            companions=config.voices if choice.takes_voice else 0.0,
            varies=choice.task.draws,
        )
        for rows in _datasets(config, choice, folders, split)
    ]


def _passages(
    config: LMTrainingConfig, choices: Sequence[Choice], others: Sequence[TaskSource]
) -> TaskSource:
    """Texts of no recording beside the other sources, in the share that is asked for.

    Raises:
        ValueError: no task of the run writes what it hears, or there is no text.
    """
    names = [c.task.name for c in choices if c.task.layout.target.transcript]
    if not names:
        found = ", ".join(choice.task.name for choice in choices)
        raise ValueError(f"texts need a task that writes transcripts, such as asr, got {found}")
    first = others[0].dataset
    assert isinstance(first, TokenDataset)
    rate = first.labels(0).frames_per_query
    passages = TextDataset(config.texts, first.info, rate, language=config.language)
    root = 1.0 / config.temperature
    beside = sum(source.weight * len(source.dataset) ** root for source in others)
    weight = config.text_share / (1 - config.text_share) * beside / len(passages) ** root
    return TaskSource(
        dataset=passages,
        task=names[0],
        to_example=functools.partial(text_only_example, names[0]),
        weight=weight,
        unconditional=True,
    )


def _datasets(
    config: LMTrainingConfig, choice: Choice, folders: list[str], split: str | None
) -> list[TokenDataset]:
    """Rows of a task, one dataset for each of its domains that has some."""
    found: list[TokenDataset] = []
    domains: tuple[str | None, ...] = choice.task.domains or (None,)
    for domain in domains:
        try:
            rows = TokenDataset(
                folders,
                split=split,
                domain=domain,
                min_seconds=config.min_seconds,
                max_seconds=config.max_seconds,
                needs_text=choice.needs_text,
            )
        except EmptySelection as error:
            if domain == domains[-1] and not found:
                raise EmptySelection(f"task {choice.task.name!r}: {error}") from error
            continue
        found.append(rows)
    return found


class _NoTokenizer:
    """Texts have a form before there is a tokenizer."""

    eos_token_id = 0


@dataclass(frozen=True)
class _Fits:
    """Positions of an example; an example that the model has no positions for is of no use."""

    config: AudioLMConfig
    most: int | None = None
    _length: SequenceLength = field(init=False)
    _limit: int = field(init=False)

    def __post_init__(self) -> None:
        # Once: every look into a config of transformers costs microseconds.
        positions = self.config.max_positions
        limit = positions if self.most is None else min(self.most, positions)
        object.__setattr__(self, "_length", SequenceLength(Vocabulary(self.config)))
        object.__setattr__(self, "_limit", limit)

    def __call__(self, example: Example) -> int:
        length = self._length(example)
        return length if length <= self._limit else 0


@dataclass(frozen=True)
class _Measure:
    """:class:`_Fits` for samples of a stream."""

    fits: _Fits

    def __call__(self, sample: Sample) -> int:
        return self.fits(sample.example)


@dataclass(frozen=True)
class _Make:
    """The samples of a row of a stream; its draw decides all that is random."""

    choices: tuple[Choice, ...]
    texts: TextEncoder
    dropout: float

    def __call__(self, row: TokenRow) -> Iterator[Sample]:
        most = max(choice.weight for choice in self.choices)
        for number, choice in enumerate(self.choices):
            task = choice.task
            if task.domains and row.domain not in task.domains:
                continue
            if draw_unit(row.draw, "task", number) >= choice.weight / most:
                continue
            try:
                example = task.to_example(row, self.texts)
            except ValueError:  # an empty text, say
                continue
            drop = draw_unit(row.draw, "condition", number) < self.dropout
            noise = int(draw_unit(row.draw, "noise", number) * (1 << 53))
            yield Sample(example, drop, task.name, noise)
