"""How well a small language model predicts the codes of a codec: loss and perplexity.

All codecs and rates get the same model, the same seconds of audio and the same number of steps.
Codes that are easier to predict cost fewer nats per second of audio.

Shapes: `K` codebooks, `C` codebook size, `Q` frames of codes, `L` rows, `B` batch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from ..core.choices import AUTO
from ..core.metrics.intervals import Interval, format_interval, rate_interval
from ..core.runtime import find_device
from .config import AudioLMConfig
from .model import AudioLM
from .sequences import IGNORED, AudioSegment, build_prompt, collate
from .sequences import Sequence as Rows
from .vocabulary import Vocabulary

Codes = npt.NDArray[np.int64]

LEAST_CLIPS = 10
_WARM_UP = 0.1  # share of the steps
_BACKBONE: dict[str, Any] = {
    "model_type": "llama", "vocab_size": 8, "hidden_size": 128, "intermediate_size": 384,
    "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 4,
    "bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 8192,
}  # fmt: skip
_EOS = 2


@dataclass(frozen=True, kw_only=True)
class PredictabilityConfig:
    """Training of the language model."""

    steps: int = 300
    batch_size: int = 16
    segment_seconds: float = 8.0
    lr: float = 2e-3
    held_out_share: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "segment_seconds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")


@dataclass(frozen=True)
class Predictability:
    """Losses on held-out clips of the codes of one codec at one rate."""

    name: str
    frame_rate: float
    codebook_size: int
    nats_per_second: Interval  # over clips
    nats: tuple[float, ...]  # [K], per code
    perplexity: tuple[float, ...]  # [K], exp(nats)
    unigram_nats_per_second: float  # without context: frequencies in the training clips
    train_seconds: float
    test_clips: int
    parameters: int  # of the language model

    @property
    def kbps(self) -> float:
        """Bit rate of ideal entropy coding with the language model, kbit/s."""
        return self.nats_per_second.mean / math.log(2) / 1000.0

    @property
    def kbps_nominal(self) -> float:
        """Bit rate without entropy coding, kbit/s."""
        return len(self.nats) * self.frame_rate * math.log2(self.codebook_size) / 1000.0


def measure_predictability(
    codes: Mapping[str, Codes],
    *,
    name: str,
    frame_rate: float,
    codebook_size: int,
    config: PredictabilityConfig,
    device: str | torch.device = AUTO,
    progress: bool = True,
) -> Predictability:
    """Train a small language model on codes, and measure its loss on held-out clips.

    Args:
        codes: by clip, [K, Q]. Which clips are held out depends on their names alone.
        name: of the codec.
        frame_rate: frames of codes per second.
        codebook_size: C.
        config: of the training.
        device: of the model.
        progress: show a progress bar.

    Raises:
        ValueError: There are fewer than `LEAST_CLIPS` clips.
    """
    train, test = _split(codes, config)
    size = max(1, round(config.segment_seconds * frame_rate))
    num_codebooks = next(iter(codes.values())).shape[0]
    place = find_device(device)
    torch.manual_seed(config.seed)
    lm = AudioLM(_lm_config(num_codebooks, codebook_size)).to(place)
    _train(lm, train, size, config, progress, name)
    losses = np.stack([_losses(lm, clip, size) for clip in test])  # [clips, K], sums
    counts = np.array([clip.shape[1] for clip in test], dtype=np.float64)
    nats = losses.sum(axis=0) / counts.sum()
    unigram = _unigram_nats(train, test, codebook_size)
    return Predictability(
        name=name,
        frame_rate=frame_rate,
        codebook_size=codebook_size,
        nats_per_second=rate_interval(losses.sum(axis=1), counts / frame_rate, seed=config.seed),
        nats=tuple(float(value) for value in nats),
        perplexity=tuple(float(value) for value in np.exp(nats)),
        unigram_nats_per_second=unigram * frame_rate,
        train_seconds=sum(clip.shape[1] for clip in train) / frame_rate,
        test_clips=len(test),
        parameters=lm.num_parameters(),
    )


def _split(
    codes: Mapping[str, Codes], config: PredictabilityConfig
) -> tuple[list[Codes], list[Codes]]:
    """Training and held-out clips."""
    clips = {name: clip for name, clip in codes.items() if clip.shape[1]}
    if len(clips) < LEAST_CLIPS:
        raise ValueError(f"predictability needs at least {LEAST_CLIPS} clips, got {len(clips)}")
    order = sorted(clips, key=lambda one: hashlib.sha256(f"{config.seed} {one}".encode()).digest())
    held = max(2, round(config.held_out_share * len(order)))
    return [clips[name] for name in order[held:]], [clips[name] for name in order[:held]]


def _lm_config(num_codebooks: int, codebook_size: int) -> AudioLMConfig:
    return AudioLMConfig(
        backbone=dict(_BACKBONE), num_codebooks=num_codebooks, codebook_size=codebook_size,
        depth_layers=2, depth_width=64, depth_heads=2, depth_ffn_ratio=2,
        first_codebook_weight=1.0,
    )  # fmt: skip


def _rows(codes: Codes, vocabulary: Vocabulary) -> Rows:
    """Rows of an excerpt, whose codes are all targets."""
    target = AudioSegment(torch.from_numpy(np.ascontiguousarray(codes)))
    ids = build_prompt(
        "continuation", (), "audio", vocabulary, frames_per_query=1, eos_id=_EOS, prefix=target
    )
    labels = torch.full_like(ids, IGNORED)
    labels[-codes.shape[1] :, 1:] = ids[-codes.shape[1] :, 1:]
    return Rows(ids, labels)


def _train(
    lm: AudioLM,
    clips: Sequence[Codes],
    size: int,
    config: PredictabilityConfig,
    progress: bool,
    name: str,
) -> None:
    """Train on random excerpts; clips are drawn by their length."""
    rng = np.random.default_rng(config.seed)
    lengths = np.array([clip.shape[1] for clip in clips], dtype=np.float64)
    vocabulary = Vocabulary(lm.config)
    optimizer = torch.optim.AdamW(lm.parameters(), lr=config.lr, weight_decay=0.01)
    warm_up = max(1, round(_WARM_UP * config.steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: (
            min(1.0, (step + 1) / warm_up)
            * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / config.steps)))
        ),
    )
    lm.train()
    bar = tqdm(range(config.steps), desc=name, unit="step", disable=not progress)
    for step in bar:
        chosen = rng.choice(len(clips), config.batch_size, p=lengths / lengths.sum())
        parts = [_excerpt(clips[number], size, rng) for number in chosen]
        batch = collate([_rows(part, vocabulary) for part in parts], lm.config)
        loss: Tensor = lm(**{key: value.to(lm.device) for key, value in batch.items()}).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(lm.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 0:
            bar.set_postfix(nats=f"{float(loss.detach()):.3f}")
    lm.eval()


def _excerpt(codes: Codes, size: int, rng: np.random.Generator) -> Codes:
    start = int(rng.integers(max(1, codes.shape[1] - size + 1)))
    return codes[:, start : start + size]


@torch.inference_mode()
def _losses(lm: AudioLM, codes: Codes, size: int) -> npt.NDArray[np.float64]:
    """Sum of the nats of a clip by codebook [K], in pieces of the training's length."""
    vocabulary = Vocabulary(lm.config)
    total = np.zeros(codes.shape[0])
    for start in range(0, codes.shape[1], size):
        batch = collate([_rows(codes[:, start : start + size], vocabulary)], lm.config)
        inputs = {key: value.to(lm.device) for key, value in batch.items()}
        streams = lm(**inputs, return_logits=False).streams
        total += [float(streams[f"audio_{k + 1}"].total) for k in range(codes.shape[0])]
    return total


def _unigram_nats(train: Sequence[Codes], test: Sequence[Codes], codebook_size: int) -> float:
    """Nats per frame of held-out codes by their frequencies in training, with add-one smoothing."""
    nats = 0.0
    frames = sum(clip.shape[1] for clip in test)
    for book in range(train[0].shape[0]):
        seen = np.concatenate([clip[book] for clip in train])
        counts = np.bincount(seen, minlength=codebook_size) + 1.0
        log_share = np.log(counts / counts.sum())
        nats -= sum(float(log_share[clip[book]].sum()) for clip in test)
    return nats / frames


def to_markdown(rows: Sequence[Predictability], config: PredictabilityConfig) -> str:
    """The table, in Markdown."""
    first = rows[0]
    head = (
        "| codec | frames/s | nats/s | without context | kbit/s | nominal | nats by codebook |"
        " perplexity |"
    )
    lines = [
        f"Loss of a language model on the codes of {first.test_clips} held-out clips, after"
        f" {config.steps} steps of {config.batch_size} times {config.segment_seconds:g} s of"
        f" {first.train_seconds / 60:.1f} minutes; 95 % bootstrap intervals over clips. Nats per"
        " second of audio: of all codebooks, beside those of code frequencies alone; kbit/s of"
        " ideal entropy coding with it, beside the nominal rate. Lower is easier to predict.",
        "",
        head,
        "| --- " + "| ---: " * (head.count("|") - 2) + "|",
    ]
    for row in rows:
        cells = (
            row.name,
            f"{row.frame_rate:.4g}",
            format_interval(row.nats_per_second, percent=False, digits=1),
            f"{row.unigram_nats_per_second:.1f}",
            f"{row.kbps:.3f}",
            f"{row.kbps_nominal:.3f}",
            " / ".join(f"{value:.2f}" for value in row.nats),
            " / ".join(f"{value:.0f}" for value in row.perplexity),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
