"""Batches of crops; those of a step depend on the seed and the step number only."""

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.utils.data import DataLoader

from ...core.data import AudioCorpus, CropDataset, DataConfig, SegmentBatch, collate
from ...core.training.interrupt import ignore_signals
from ...core.training.seeding import draw_int
from ..losses.base import component_config
from .config import CodecTrainConfig
from .update import micro_batch_size


def training_batches(
    config: CodecTrainConfig,
    accelerator: Accelerator,
    sample_rate: int,
    hop_length: int,
    start: int,
) -> Iterator[list[SegmentBatch]]:
    """Yield the micro-batches of this process for each step, from step ``start`` to the last.

    Crop ``i`` of step ``n`` is item ``n * batch_size + i`` of the dataset in any process, so the
    batch of a step depends neither on the number of processes nor on a restart.
    """
    corpus, data = _training_corpus(config, accelerator, sample_rate, hop_length)
    if accelerator.is_main_process:
        print(f"training data: {corpus.summary()}", flush=True)
    loader = DataLoader(
        CropDataset(corpus, data, seed=config.seed),
        batch_sampler=_BatchSampler(config, accelerator, start),
        collate_fn=collate,
        num_workers=config.num_workers,
        prefetch_factor=2 * config.accumulate if config.num_workers else None,
        pin_memory=accelerator.device.type == "cuda",
        worker_init_fn=ignore_signals,
    )
    batches = iter(loader)
    for _ in range(start, config.steps):
        yield [next(batches) for _ in range(config.accumulate)]


def initialization_batches(
    config: CodecTrainConfig,
    accelerator: Accelerator,
    sample_rate: int,
    hop_length: int,
    num_seconds: float,
    size: int = 16,
) -> Iterator[Tensor]:
    """Yield training crops ``[B, 1, S]`` of ``num_seconds`` in total, the same in all processes.

    They have another seed than those of the steps.
    """
    corpus, data = _training_corpus(config, accelerator, sample_rate, hop_length)
    dataset = CropDataset(corpus, data, seed=draw_int(config.seed, "start"))
    count = math.ceil(num_seconds / config.segment_seconds)
    for first in range(0, count, size):
        crops = [dataset[n] for n in range(first, min(first + size, count))]
        # Bad samples must not spoil the initialization; a step with them is skipped and reported.
        wav = torch.nan_to_num(collate(crops).wav, nan=0.0, posinf=0.0, neginf=0.0)
        yield wav.to(accelerator.device)


def data_config(config: CodecTrainConfig, sample_rate: int, hop_length: int) -> DataConfig:
    """Configuration of the segments, from the field ``dataset``.

    Raises:
        ValueError: A field is unknown or its value is not valid.
    """
    return component_config(
        DataConfig,
        config.dataset,
        sample_rate=sample_rate,
        segment_seconds=config.segment_seconds,
        segment_multiple=hop_length,
    )


def _training_corpus(
    config: CodecTrainConfig, accelerator: Accelerator, sample_rate: int, hop_length: int
) -> tuple[AudioCorpus, DataConfig]:
    data = data_config(config, sample_rate, hop_length)
    with accelerator.main_process_first():  # the other processes read its cache
        corpus = AudioCorpus.scan(
            config.data,
            data,
            _cache(config),
            progress=config.progress and accelerator.is_main_process,
        )
    return corpus, data


def validation_batches(
    config: CodecTrainConfig, sample_rate: int, hop_length: int, size: int = 8
) -> list[SegmentBatch]:
    """The held-out crops of every validation, without augmentation; [] without sources."""
    if not config.validation_data:
        return []
    data = data_config(config, sample_rate, hop_length)
    corpus = AudioCorpus.scan(
        config.validation_data, data, _cache(config), progress=config.progress
    )
    # Each domain has the same number of crops, whatever its duration.
    equal = dict.fromkeys(corpus.domains, 1.0)
    data = replace(data, gain_db=(0.0, 0.0), vary=0.0, augment={}, domain_weights=equal)
    # A fixed seed, so that validations of different runs are comparable.
    dataset = CropDataset(corpus, data, seed=1)
    numbers = range(config.validation_clips)
    return [
        collate([dataset[n] for n in numbers[first : first + size]])
        for first in range(0, len(numbers), size)
    ]


class _BatchSampler:
    """Stateless batch sampler: yields the dataset indices of each micro-batch."""

    def __init__(self, config: CodecTrainConfig, accelerator: Accelerator, start: int) -> None:
        self.config = config
        self.start = start
        self.rank = accelerator.process_index
        self.processes = accelerator.num_processes
        self.size = micro_batch_size(config, self.processes)

    def __len__(self) -> int:
        return (self.config.steps - self.start) * self.config.accumulate

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.config.steps):
            for micro in range(self.config.accumulate):
                number = micro * self.processes + self.rank
                first = step * self.config.batch_size + number * self.size
                yield list(range(first, first + self.size))


def _cache(config: CodecTrainConfig) -> Path:
    return Path(config.cache_dir) if config.cache_dir else Path(config.out) / "cache"
