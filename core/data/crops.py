"""Clips -> full training segments, as a pure function of a seed and a number.

``B`` batch, ``S`` samples. Nothing here remembers what was drawn before: to resume after step n
one asks for the numbers that follow. Workers and processes may ask in any order.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from ..audio import Waveform, resample, speed_of
from .config import DataConfig
from .corpus import AudioCorpus
from .pools import Numbers, Piece, Pool, random

# Domain weights are met exactly in every block of so many segments.
_BLOCK = 1024
# Linear fade at the edges of joined clips: what is cut hard would click.
_FADE_SECONDS = 0.005


@dataclass(frozen=True)
class Segment:
    """One training example."""

    wav: torch.Tensor  # [1, S] float32
    ids: tuple[str, ...]  # of the clips in it, in order of time
    domain: str
    seed: int  # for random choices that belong to this example, such as masks


@dataclass(frozen=True)
class SegmentBatch:
    """Some examples."""

    wav: torch.Tensor  # [B, 1, S] float32
    ids: tuple[tuple[str, ...], ...]
    domains: tuple[str, ...]
    seeds: torch.Tensor  # [B] int64


class CropDataset(Dataset[Segment]):
    """Random crops of a corpus; ``dataset[n]`` is the n-th segment of an endless run.

    Each epoch of ``len(dataset)`` numbers is a new permutation that hears every clip about once, by
    its duration; with domain weights the domains take turns by weight, each with epochs of its own.

    Args:
        corpus: Where the clips are.
        config: Segment length, loudness, joining; the sample rate must be the corpus's.
        seed: Another seed gives another run.
    """

    def __init__(self, corpus: AudioCorpus, config: DataConfig, seed: int = 0) -> None:
        if config.sample_rate != corpus.sample_rate:
            raise ValueError(
                f"the corpus was scanned at {corpus.sample_rate} Hz, the config says"
                f" {config.sample_rate} Hz"
            )
        self.corpus = corpus
        self.config = config
        self.seed = seed
        domains = _wanted_domains(corpus, config)
        places: dict[str, list[int]] = {domain: [] for domain in domains}
        for place, clip in enumerate(corpus.clips):
            if clip.domain in places:
                places[clip.domain].append(place)
        self.domains = domains
        self.pools = [
            Pool(corpus.clips, places[domain], config, seed, number)
            for number, domain in enumerate(domains)
        ]
        sizes = np.asarray([pool.size for pool in self.pools], np.int64)
        self._epoch = int(sizes.sum())
        if config.domain_weights:
            weights = np.asarray([config.domain_weights[domain] for domain in domains])
            self._shares = _whole_shares(weights)
        else:
            self._shares = sizes  # one block is one epoch
        self._blocks: dict[int, tuple[Numbers, Numbers]] = {}

    def __len__(self) -> int:
        """Segments in one epoch; greater numbers go on with the next."""
        return self._epoch

    def __getitem__(self, number: int) -> Segment:
        if number < 0:
            raise ValueError(f"segments are numbered from 0 on, got {number}")
        rng = random(self.seed, 1 << 20, number)
        block, place = divmod(number, int(self._shares.sum()))
        kinds, ranks = self._block(block)
        kind = int(kinds[place])
        turn = block * int(self._shares[kind]) + int(ranks[place])
        pieces = self.pools[kind].pieces(turn, rng)
        wav = self._played(self._mix(pieces), rng)
        return Segment(
            wav=torch.from_numpy(wav)[None],  # [S] -> [1, S]
            ids=tuple(self.corpus.clips[piece.clip].id for piece in pieces),
            domain=self.domains[kind],
            seed=int(rng.integers(0, 2**63 - 1)),
        )

    def _block(self, block: int) -> tuple[Numbers, Numbers]:
        """For each place of a block: which domain, and how many of it came before in the block."""
        if block not in self._blocks:
            while len(self._blocks) > 1:
                self._blocks.pop(next(iter(self._blocks)))
            kinds = np.repeat(np.arange(len(self._shares)), self._shares)
            kinds = random(self.seed, 1 << 21, block).permutation(kinds)
            ranks = np.empty_like(kinds)
            for kind, share in enumerate(self._shares):
                ranks[kinds == kind] = np.arange(share)
            self._blocks[block] = kinds, ranks
        return self._blocks[block]

    def _mix(self, pieces: Sequence[Piece]) -> Waveform:
        """Lay the pieces side by side, each at the wanted loudness: all samples that were drawn."""
        config = self.config
        wav = np.zeros(config.drawn_samples, np.float32)
        for piece in pieces:
            clip = self.corpus.clips[piece.clip]
            samples = self.corpus.read(clip, piece.start, piece.count)
            samples *= np.float32(_clip_gain(clip.level_dbfs, config))
            if piece.count < len(wav):
                _fade(samples, piece, clip.num_samples, round(_FADE_SECONDS * config.sample_rate))
            wav[piece.offset : piece.offset + len(samples)] = samples
        return wav

    def _played(self, wav: Waveform, rng: np.random.Generator) -> Waveform:
        """A segment [S] at a random speed and gain."""
        config = self.config
        if config.vary:
            # Rounded to thousandths, the fastest may need some samples more than were drawn.
            fastest = math.floor(1000 * len(wav) / config.segment_samples)
            speed = min(speed_of(config.vary, rng.uniform(-1, 1)), fastest)
            needed = math.ceil(config.segment_samples * speed / 1000)
            wav = resample(wav[:needed], speed, 1000)[: config.segment_samples].copy()
        wav *= np.float32(10 ** (rng.uniform(*config.gain_db) / 20))
        peak = float(np.abs(wav).max())
        if peak > config.peak_limit:
            wav *= np.float32(config.peak_limit / peak)
        return wav


def _wanted_domains(corpus: AudioCorpus, config: DataConfig) -> tuple[str, ...]:
    if not config.domain_weights:
        return corpus.domains
    if set(config.domain_weights) != set(corpus.domains):
        raise ValueError(
            f"domain_weights name {sorted(config.domain_weights)}, the corpus has"
            f" {list(corpus.domains)}; give each a weight, 0 leaves it out"
        )
    wanted = tuple(domain for domain in corpus.domains if config.domain_weights[domain] > 0)
    if not wanted:
        raise ValueError(f"all domain_weights are 0: {dict(config.domain_weights)}")
    return wanted


def _whole_shares(weights: np.ndarray) -> Numbers:
    """Weights -> whole numbers that sum to the block, at least 1 each (largest remainders)."""
    exact = weights / weights.sum() * _BLOCK
    shares = np.maximum(1, np.floor(exact)).astype(np.int64)
    while shares.sum() != _BLOCK:
        step = 1 if shares.sum() < _BLOCK else -1
        error = (exact - shares) * step
        if step < 0:
            error = np.where(shares > 1, error, -np.inf)
        shares[int(np.argmax(error))] += step
    return shares


def _clip_gain(level_dbfs: float, config: DataConfig) -> float:
    if config.loudness_dbfs is None:
        return 1.0
    return float(10 ** (min(config.loudness_dbfs - level_dbfs, config.max_gain_db) / 20))


def _fade(samples: Waveform, piece: Piece, num_samples: int, fade: int) -> None:
    """Fade in at the begin and out at the end of a clip, where the piece holds them."""
    fade = min(fade, len(samples) // 2)
    ramp = np.linspace(0, 1, fade, endpoint=False, dtype=np.float32)
    if piece.start == 0:
        samples[:fade] *= ramp
    if piece.start + piece.count == num_samples and fade:
        samples[-fade:] *= ramp[::-1]


def collate(segments: Sequence[Segment]) -> SegmentBatch:
    """Stack segments to a batch; the ``collate_fn`` of a DataLoader."""
    return SegmentBatch(
        wav=torch.stack([segment.wav for segment in segments]),  # [B, 1, S]
        ids=tuple(segment.ids for segment in segments),
        domains=tuple(segment.domain for segment in segments),
        seeds=torch.tensor([segment.seed for segment in segments], dtype=torch.int64),
    )
