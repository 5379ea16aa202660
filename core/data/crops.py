"""Training segments cut from clips, as a pure function of a seed and an index.

No state is kept between segments: a resumed run asks for the indices that follow, and workers and
processes may ask in any order. Shapes: ``B`` batch, ``S`` samples.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from ..audio import Waveform, resample, speed_factor
from ..training.seeding import seeded_generator
from .augment import NoiseSource, Scene, augment
from .config import DataConfig
from .corpus import AudioCorpus, CorpusClip

Integers = NDArray[np.int64]

# Domain weights hold exactly in every block of this many segments.
_BLOCK = 1024
_NOISE_DOMAIN = "sound"
# Linear fade at the edges of joined clips, against clicks.
_FADE_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Samples ``start .. start + count`` of a clip, placed at ``offset`` of a segment."""

    clip: int  # index in corpus.clips
    start: int
    count: int
    offset: int


@dataclass(frozen=True)
class Segment:
    """One training example."""

    wav: torch.Tensor  # [1, S] float32
    ids: tuple[str, ...]  # of its clips, in temporal order
    domain: str
    seed: int  # for random choices of this example, such as masks


@dataclass(frozen=True)
class SegmentBatch:
    """A batch of training examples."""

    wav: torch.Tensor  # [B, 1, S] float32
    ids: tuple[tuple[str, ...], ...]
    domains: tuple[str, ...]
    seeds: torch.Tensor  # [B] int64


class SegmentPool:
    """The segments of one domain, numbered per epoch.

    A long clip has as many segments as fit into its length, each drawn from its own part of the
    clip. The short clips are laid end to end, with gaps, in a random order on a tape that is cut
    into segments: every clip occurs about once per epoch, and every segment is full.

    Args:
        clips: All clips of the corpus.
        indices: Indices of the clips of this domain.
        config: Segment length and joining.
        seed: Seed of the dataset.
        number: Index of the domain, part of the seed.
    """

    def __init__(
        self,
        clips: Sequence[CorpusClip],
        indices: Sequence[int],
        config: DataConfig,
        seed: int,
        number: int,
    ) -> None:
        self._seed, self._number = seed, number
        self._samples = config.drawn_samples
        self._join = config.short_clips == "join"
        clip_indices = np.asarray(indices, np.int64)
        lengths = np.asarray([clips[index].num_samples for index in indices], np.int64)
        long = lengths >= self._samples
        self._long, self._long_lengths = clip_indices[long], lengths[long]
        self._short, self._short_lengths = clip_indices[~long], lengths[~long]
        self._parts = np.maximum(1, np.rint(self._long_lengths / self._samples)).astype(np.int64)
        self._ends = np.cumsum(self._parts)  # segments of the long clips up to each
        low, high = (round(gap * config.sample_rate) for gap in config.gap_seconds)
        self._gaps = seeded_generator(seed, number, 0).integers(low, high + 1, len(self._short))
        self._num_long = int(self._parts.sum())
        self.size = self._num_long + self._count_short()
        self._orders: dict[int, Integers] = {}
        self._tapes: dict[int, tuple[Integers, Integers, int]] = {}

    def _count_short(self) -> int:
        """Segments of the short clips in one epoch."""
        if not len(self._short) or not self._join:
            return len(self._short)
        tape = int(self._short_lengths.sum() + self._gaps.sum())
        return max(1, round(tape / self._samples))

    def excerpts(self, turn: int, rng: np.random.Generator) -> list[Excerpt]:
        """Return the excerpts of segment number ``turn`` of this pool.

        Args:
            turn: Unbounded index; ``turn // size`` is the epoch.
            rng: Generator of this segment.
        """
        epoch, position = divmod(turn, self.size)
        segment = int(self._order(epoch)[position])
        if segment < self._num_long:
            return [self._crop(segment, rng)]
        segment -= self._num_long
        if self._join:
            return self._cut_tape(epoch, segment)
        count = int(self._short_lengths[segment])
        offset = int(rng.integers(0, self._samples - count + 1))
        return [Excerpt(int(self._short[segment]), 0, count, offset)]

    def _order(self, epoch: int) -> Integers:
        if epoch not in self._orders:
            _drop_oldest(self._orders)
            self._orders[epoch] = seeded_generator(self._seed, self._number, 1, epoch).permutation(
                self.size
            )
        return self._orders[epoch]

    def _crop(self, segment: int, rng: np.random.Generator) -> Excerpt:
        """A random crop in the segment's part of its clip, so that an epoch covers the clip."""
        clip = int(np.searchsorted(self._ends, segment, side="right"))
        parts = int(self._parts[clip])
        part = segment - int(self._ends[clip]) + parts
        spare = int(self._long_lengths[clip]) - self._samples
        start = min(spare, int((spare + 1) * (part + rng.random()) / parts))
        return Excerpt(int(self._long[clip]), start, self._samples, 0)

    def _tape(self, epoch: int) -> tuple[Integers, Integers, int]:
        """Order of the short clips, end of each (with its gap) on the tape, and first cut."""
        if epoch not in self._tapes:
            _drop_oldest(self._tapes)
            rng = seeded_generator(self._seed, self._number, 2, epoch)
            order = rng.permutation(len(self._short))
            ends = np.cumsum(self._short_lengths[order] + self._gaps[order])
            self._tapes[epoch] = order, ends, int(rng.integers(0, ends[-1]))
        return self._tapes[epoch]

    def _cut_tape(self, epoch: int, segment: int) -> list[Excerpt]:
        order, ends, shift = self._tape(epoch)
        length = int(ends[-1])
        position, filled = (shift + segment * self._samples) % length, 0
        slot = int(np.searchsorted(ends, position, side="right"))
        excerpts = []
        while filled < self._samples:
            short = int(order[slot])
            count = int(self._short_lengths[short])
            begin = int(ends[slot]) - count - int(self._gaps[short])
            start = position - begin  # greater than count: the cut starts in the gap
            take = min(count - start, self._samples - filled)
            if take > 0:
                excerpts.append(Excerpt(int(self._short[short]), start, take, filled))
            filled += int(ends[slot]) - position
            slot = (slot + 1) % len(order)
            position = int(ends[slot - 1]) if slot else 0
        return excerpts


def _drop_oldest(cache: dict[int, Any]) -> None:
    """Keep at most one entry, before another is added: workers need two at an epoch boundary."""
    while len(cache) > 1:
        cache.pop(next(iter(cache)))


class CropDataset(Dataset[Segment]):
    """Random crops of a corpus; ``dataset[n]`` is the n-th segment of an endless sequence.

    An epoch of ``len(dataset)`` segments covers every clip about once, in a new random order. With
    domain weights, segments are shared among the domains by weight, and each domain has epochs of
    its own.

    Args:
        corpus: The clips.
        config: Segment length, loudness, joining; its sample rate must be that of the corpus.
        seed: Seed of all random choices.

    Raises:
        ValueError: The sample rates differ, or the domain weights do not match the corpus.
    """

    def __init__(self, corpus: AudioCorpus, config: DataConfig, seed: int = 0) -> None:
        if config.sample_rate != corpus.sample_rate:
            raise ValueError(
                f"sample_rate must be {corpus.sample_rate} as in the corpus,"
                f" got {config.sample_rate}"
            )
        self.corpus = corpus
        self.config = config
        self.seed = seed
        domains = _sampled_domains(corpus, config)
        indices: dict[str, list[int]] = {domain: [] for domain in domains}
        for index, clip in enumerate(corpus.clips):
            if clip.domain in indices:
                indices[clip.domain].append(index)
        self.domains = domains
        self._sounds = [n for n, clip in enumerate(corpus.clips) if clip.domain == _NOISE_DOMAIN]
        self.pools = [
            SegmentPool(corpus.clips, indices[domain], config, seed, number)
            for number, domain in enumerate(domains)
        ]
        sizes = np.asarray([pool.size for pool in self.pools], np.int64)
        self._epoch = int(sizes.sum())
        if config.domain_weights:
            weights = np.asarray([config.domain_weights[domain] for domain in domains])
            self._shares = _whole_shares(weights)
        else:
            self._shares = sizes  # one block is one epoch
        self._blocks: dict[int, tuple[Integers, Integers]] = {}

    def __len__(self) -> int:
        """Segments in one epoch; greater indices belong to later epochs."""
        return self._epoch

    def __getitem__(self, number: int) -> Segment:
        if number < 0:
            raise ValueError(f"index must be at least 0, got {number}")
        config, rng = self.config, seeded_generator(self.seed, 1 << 20, number)
        block, position = divmod(number, int(self._shares.sum()))
        domains, ranks = self._block(block)
        domain = int(domains[position])
        turn = block * int(self._shares[domain]) + int(ranks[position])
        excerpts = self.pools[domain].excerpts(turn, rng)
        wav = self._vary(self._join(excerpts), rng)
        if config.augment:
            # A generator of its own: segments are cut as without augmentation.
            own = seeded_generator(self.seed, 1 << 22, number)
            scene = Scene(config.sample_rate, config.snr_db, self._noise_for(self.domains[domain]))
            wav = _limited(augment(wav, config.augment, scene, own), config.peak_limit)
        return Segment(
            wav=torch.from_numpy(wav)[None],  # [S] -> [1, S]
            ids=tuple(self.corpus.clips[excerpt.clip].id for excerpt in excerpts),
            domain=self.domains[domain],
            seed=int(rng.integers(0, 2**63 - 1)),
        )

    def _block(self, block: int) -> tuple[Integers, Integers]:
        """Domain index of each segment of a block, and its rank among those of the domain."""
        if block not in self._blocks:
            _drop_oldest(self._blocks)
            domains = np.repeat(np.arange(len(self._shares)), self._shares)
            domains = seeded_generator(self.seed, 1 << 21, block).permutation(domains)
            ranks = np.empty_like(domains)
            for domain, share in enumerate(self._shares):
                ranks[domains == domain] = np.arange(share)
            self._blocks[block] = domains, ranks
        return self._blocks[block]

    def _join(self, excerpts: Sequence[Excerpt]) -> Waveform:
        """Join the excerpts, with loudness normalization, in a waveform of ``drawn_samples``."""
        config = self.config
        wav = np.zeros(config.drawn_samples, np.float32)
        for excerpt in excerpts:
            clip = self.corpus.clips[excerpt.clip]
            samples = self.corpus.read(clip, excerpt.start, excerpt.count)
            samples *= np.float32(_clip_gain(clip.level_dbfs, config))
            if excerpt.count < len(wav):
                fade = round(_FADE_SECONDS * config.sample_rate)
                _fade(samples, excerpt, clip.num_samples, fade)
            wav[excerpt.offset : excerpt.offset + len(samples)] = samples
        return wav

    def _noise_for(self, domain: str) -> NoiseSource | None:
        """Excerpts of sounds in half of the cases; None where there is no other sound."""
        if not self._sounds or domain == _NOISE_DOMAIN:
            return None

        def draw(count: int, rng: np.random.Generator) -> Waveform:
            clip = self.corpus.clips[self._sounds[int(rng.integers(len(self._sounds)))]]
            if rng.random() < 0.5:
                return np.zeros(count, np.float32)
            spare = max(0, clip.num_samples - count)
            wav = self.corpus.read(clip, int(rng.integers(spare + 1)), count)
            return np.resize(wav, count)  # repeats a short one

        return draw

    def _vary(self, wav: Waveform, rng: np.random.Generator) -> Waveform:
        """Apply a random speed and gain to the drawn samples and return a segment [S]."""
        config = self.config
        if config.vary:
            # Rounded to thousandths, the maximum speed might need more samples than were drawn.
            fastest = math.floor(1000 * len(wav) / config.segment_samples)
            speed = min(speed_factor(config.vary, rng.uniform(-1, 1)), fastest)
            needed = math.ceil(config.segment_samples * speed / 1000)
            wav = resample(wav[:needed], speed, 1000)[: config.segment_samples].copy()
        wav *= np.float32(10 ** (rng.uniform(*config.gain_db) / 20))
        return _limited(wav, config.peak_limit)


def _limited(wav: Waveform, limit: float) -> Waveform:
    """Scale a waveform [S] down, in place, if its peak exceeds a limit."""
    peak = float(np.abs(wav).max())
    if peak > limit:
        wav *= np.float32(limit / peak)
    return wav


def _sampled_domains(corpus: AudioCorpus, config: DataConfig) -> tuple[str, ...]:
    if not config.domain_weights:
        return corpus.domains
    if set(config.domain_weights) != set(corpus.domains):
        raise ValueError(
            f"domain_weights must be of {list(corpus.domains)} (0 excludes a domain), got"
            f" {sorted(config.domain_weights)}"
        )
    sampled = tuple(domain for domain in corpus.domains if config.domain_weights[domain] > 0)
    if not sampled:
        raise ValueError(f"domain_weights must not all be 0, got {dict(config.domain_weights)}")
    return sampled


def _whole_shares(weights: np.ndarray) -> Integers:
    """Round weights to integers >= 1 whose sum is the block size (largest remainders)."""
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


def _fade(samples: Waveform, excerpt: Excerpt, num_samples: int, fade: int) -> None:
    """Fade in and out, in place, at the ends of the clip that the excerpt contains."""
    fade = min(fade, len(samples) // 2)
    ramp = np.linspace(0, 1, fade, endpoint=False, dtype=np.float32)
    if excerpt.start == 0:
        samples[:fade] *= ramp
    if excerpt.start + excerpt.count == num_samples and fade:
        samples[-fade:] *= ramp[::-1]


def collate(segments: Sequence[Segment]) -> SegmentBatch:
    """Stack segments into a batch; the ``collate_fn`` of a DataLoader."""
    return SegmentBatch(
        wav=torch.stack([segment.wav for segment in segments]),  # [B, 1, S]
        ids=tuple(segment.ids for segment in segments),
        domains=tuple(segment.domain for segment in segments),
        seeds=torch.tensor([segment.seed for segment in segments], dtype=torch.int64),
    )
