"""Training data of a run: its tasks, the mixture of their rows, and held-out rows."""

from __future__ import annotations

import functools
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset

from ..config import AudioLMConfig
from ..data.checked_file import FOLDER
from ..data.collator import Collator
from ..data.dataset import EmptySelection, TokenDataset
from ..data.labels import check_infos, read_infos, read_tables, shard_paths
from ..data.lengths import LengthStore, examples_key
from ..data.mixing import (
    MixedDataset,
    Sample,
    TaskSource,
    TextDataset,
    text_only_example,
)
from ..data.shards import ShardInfo
from ..data.stream import StreamLoader, TokenStream
from ..layouts import Slot
from ..task_registry import TrainableTask, get_task
from ..text.encoder import CachedTextEncoder, TextEncoder
from .batches import Batches, BucketBatches
from .config import ALL, LMTrainingConfig
from .examples import ExampleLength, SampleLength, StreamSamples
from .offline import check_measured

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightedTask:
    """A task of a run and its weight in the mixture."""

    task: TrainableTask
    weight: float

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Slots of the conditions and the target."""
        return (*self.task.layout.conditions, self.task.layout.target)

    @property
    def has_text(self) -> bool:
        """Whether a condition or the target is a text."""
        return any(slot.kind == "text" for slot in self.slots)

    @property
    def needs_text(self) -> bool:
        """Whether it needs rows with a text."""
        return any(slot.kind == "text" and slot.required for slot in self.slots)

    @property
    def names_speakers(self) -> bool:
        """Whether a condition is the name of a speaker."""
        return any(slot.kind == "speaker" for slot in self.task.layout.conditions)

    @property
    def takes_voice(self) -> bool:
        """Whether another row of the speaker can be a voice reference."""
        return any(slot.voice for slot in self.task.layout.conditions)


def find_tasks(config: LMTrainingConfig) -> list[WeightedTask]:
    """The tasks of a run.

    Raises:
        ValueError: there are none, one is unknown or named twice, or a weight is not positive.
    """
    tasks = []
    for text in config.tasks:
        name, equals, weight = text.rpartition("=")
        try:
            number = float(weight) if equals else 1.0
        except ValueError:
            raise ValueError(f"a task must be NAME or NAME=WEIGHT, got {text!r}") from None
        if not number > 0:
            raise ValueError(f"the weight of a task must be positive, got {text!r}")
        tasks.append(WeightedTask(get_task(name if equals else text), number))
    names = [item.task.name for item in tasks]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"tasks must be different, at least one, got {names}")
    return tasks


def read_info(config: LMTrainingConfig) -> ShardInfo:
    """Metadata of the tokens, which must be of one codec.

    Raises:
        ValueError: there are no tokens, or of several codecs.
    """
    if not config.data:
        raise ValueError(
            "no tokens to learn from: give --data a folder that almtok lm tokenize made"
        )
    folders = [*config.data, *config.validation_data]
    if config.stream:
        return read_infos(shard_paths(folders), None)[0]
    tables = read_tables(folders, spare_index(config))
    infos = [info for table in tables for info in table.infos]
    check_infos([path for table in tables for path in table.paths], infos, None)
    return infos[0]


def spare_index(config: LMTrainingConfig) -> Path:
    """Where labels and lengths are stored if the folders of tokens are read-only."""
    return Path(config.out) / FOLDER


def training_texts(config: LMTrainingConfig, tasks: Sequence[WeightedTask]) -> Iterator[str]:
    """Distinct texts of the training rows in the text form, to train a tokenizer."""
    form: Any = config.text_form or "spoken"
    encoder = TextEncoder(_NoTokenizer(), form, config.text_language)
    seen = set()
    for choice in _with_texts(tasks):
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
                except ValueError:  # no normaliser for this language, or nothing is left
                    yield row.text


def count_texts(config: LMTrainingConfig, tasks: Sequence[WeightedTask]) -> int:
    """Number of rows that :func:`training_texts` reads."""
    found = [_datasets(config, choice, config.data, "train") for choice in _with_texts(tasks)]
    return sum(len(rows) for datasets in found for rows in datasets)


def _with_texts(tasks: Sequence[WeightedTask]) -> Sequence[WeightedTask]:
    """Tasks whose texts a tokenizer is made of; without any, all, for later tasks."""
    return [choice for choice in tasks if choice.has_text] or tasks


def named_speakers(config: LMTrainingConfig, tasks: Sequence[WeightedTask]) -> list[str]:
    """The voices of a run: `config.speakers`, or all speakers of its TTS rows, by frequency.

    Raises:
        ValueError: a speaker has no row, or no task takes the name of a speaker.
    """
    if not config.speakers or config.stream:
        return config.speakers
    speaking = [choice for choice in tasks if choice.names_speakers]
    if not speaking:
        names = ", ".join(choice.task.name for choice in tasks)
        raise ValueError(f"speakers need a task that takes their names, such as tts, got {names}")
    counts: Counter[str] = Counter()
    for choice in speaking:
        for rows in _datasets(config, choice, config.data, "train"):
            counts += rows.speakers()
    del counts[""]
    known = sorted(counts, key=lambda name: (-counts[name], name))
    chosen = known if config.speakers == [ALL] else config.speakers
    if missing := [name for name in chosen if name not in counts]:
        found = ", ".join(known[:8]) or "no speaker"
        raise ValueError(
            f"speakers must be among those of the rows of TTS ({found}), got {missing[0]!r}"
        )
    return chosen


def training_batches(
    config: LMTrainingConfig,
    tasks: Sequence[WeightedTask],
    lm: AudioLMConfig,
    texts: TextEncoder,
    *,
    rank: int = 0,
    world: int = 1,
    pin_memory: bool = False,
) -> Batches:
    """Micro-batches of this process.

    Raises:
        ValueError: a task finds no rows, or too many of them are not measured.
    """
    noise, packing = (config.input_noise, config.input_noise_span), config.packing
    collate = Collator(lm, texts.eos_id, *noise, packing=packing)
    if config.stream:
        texts, choices = CachedTextEncoder.of(texts), tuple((c.task, c.weight) for c in tasks)
        stream = TokenStream(
            config.data,
            StreamSamples(choices, texts, _condition_dropout(config, lm)),
            SampleLength(ExampleLength(lm)),
            budget=config.batch_positions,
            max_rows=config.batch_rows,
            seed=config.seed,
            rank=rank,
            world=world,
            fingerprint=lm.codec_fingerprint,
            packing=packing,
            split="train",
            min_seconds=config.min_seconds,
            max_seconds=config.max_seconds,
        )
        return StreamLoader(stream, collate, num_workers=config.num_workers or 0)
    mixture = training_mixture(config, tasks, lm, texts, rank=rank, world=world)
    check_measured(config, mixture)
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
        packing=packing,
    )


def training_mixture(
    config: LMTrainingConfig,
    tasks: Sequence[WeightedTask],
    lm: AudioLMConfig,
    texts: TextEncoder,
    *,
    rank: int = 0,
    world: int = 1,
) -> MixedDataset:
    """The samples of all tasks, of all processes; their lengths are stored beside the tokens.

    Raises:
        ValueError: a task finds no rows.
    """
    measure = ExampleLength(lm)
    sources = []
    for choice in tasks:
        key = examples_key(choice.task, texts, *measure.key)
        found = _sources(config, choice, config.data, "train")
        sources += [replace(source, key=key) for source in found]
    if config.texts:
        passages = _text_source(config, tasks, sources)
        key = examples_key(text_only_example, texts, passages.task, *measure.key)
        sources.append(replace(passages, key=key))
    store = LengthStore(
        [Path(config.data[0]) / FOLDER, spare_index(config)],
        rank=rank,
        world=world,
        num_workers=config.num_workers or 0,
    )
    return MixedDataset(
        sources,
        CachedTextEncoder.of(texts),
        measure,
        temperature=config.temperature,
        condition_dropout=_condition_dropout(config, lm),
        seed=config.seed,
        store=store,
    )


def held_out(
    config: LMTrainingConfig, tasks: Sequence[WeightedTask], lm: AudioLMConfig, texts: TextEncoder
) -> dict[str, Dataset[Sample]]:
    """Held-out rows by task, always the same; tasks without any are left out.

    Raises:
        ValueError: a task has no rows in the given held-out folders.
    """
    found: dict[str, Dataset[Sample]] = {}
    explicit = bool(config.validation_data)
    for choice in tasks:
        # Separate folders may have no splits; otherwise only the split "valid" is held out.
        splits = ("valid", None) if explicit else ("valid",)
        for split in splits:
            try:
                sources = _sources(config, choice, config.validation_data or config.data, split)
            except EmptySelection:
                if explicit and split is None:
                    raise
                continue
            rows = sum(len(source.dataset) for source in sources)
            dataset = MixedDataset(
                sources,
                texts,
                ExampleLength(lm, config.batch_positions),
                rows_per_epoch=min(rows, config.validation_items),
            )
            if (dataset.lengths(0) > 0).any():
                found[choice.task.name] = dataset
            else:
                logger.warning(
                    "no held-out row of task %r fits into %d positions: it is not validated",
                    choice.task.name, min(config.batch_positions, lm.max_positions),
                )  # fmt: skip
            break
    return found


def _condition_dropout(config: LMTrainingConfig, lm: AudioLMConfig) -> float:
    return lm.condition_dropout if config.condition_dropout is None else config.condition_dropout


def _sources(
    config: LMTrainingConfig, choice: WeightedTask, folders: list[str], split: str | None
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


def _text_source(
    config: LMTrainingConfig, tasks: Sequence[WeightedTask], others: Sequence[TaskSource]
) -> TaskSource:
    """Texts without audio, with the share `text_share` of the mixture.

    Raises:
        ValueError: no task of the run has transcripts as targets, or there is no text.
    """
    names = [c.task.name for c in tasks if c.task.layout.target.transcript]
    if not names:
        found = ", ".join(choice.task.name for choice in tasks)
        raise ValueError(f"texts need a task that writes transcripts, such as asr, got {found}")
    first = others[0].dataset
    assert isinstance(first, TokenDataset)
    rate = first.labels(0).frames_per_query
    passages = TextDataset(config.texts, first.info, rate, language=config.text_language or "")
    root = 1.0 / config.temperature
    total = sum(source.weight * len(source.dataset) ** root for source in others)
    weight = config.text_share / (1 - config.text_share) * total / len(passages) ** root
    return TaskSource(
        dataset=passages,
        task=names[0],
        to_example=functools.partial(text_only_example, names[0]),
        weight=weight,
        unconditional=True,
    )


def _datasets(
    config: LMTrainingConfig, choice: WeightedTask, folders: list[str], split: str | None
) -> list[TokenDataset]:
    """Rows of a task, a dataset for each of its domains with rows."""
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
                spare_index=spare_index(config),
            )
        except EmptySelection as error:
            if domain == domains[-1] and not found:
                raise EmptySelection(f"task {choice.task.name!r}: {error}") from error
            continue
        found.append(rows)
    return found


class _NoTokenizer:
    """Stands in for the tokenizer that is to be trained."""

    eos_token_id = 0
