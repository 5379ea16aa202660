"""Scores of a reconstructed clip: PESQ, STOI, SI-SDR, spectral distances, pitch.

`METRICS` describes all scores. `score_clip` computes those of a domain; scores that are undefined
for a clip (such as PESQ without speech) are listed with the reason and never replaced by a number.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import soxr

from .pitch import pitch_error
from .spectral import mel_distance, stft_distance

Array = npt.NDArray[np.float64]

SCORE_RATE = 24_000
DOMAINS = ("speech", "sound", "music")
# PESQ aligns at most 50 utterances and STOI needs memory: longer clips are split.
PIECE_SECONDS = 20.0


@dataclass(frozen=True)
class Metric:
    """Description of a metric."""

    name: str
    label: str
    unit: str
    higher_is_better: bool
    digits: int
    description: str
    domains: tuple[str, ...] = DOMAINS


_SPEECH = ("speech",)
METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("pesq_wb", "PESQ-WB", "MOS", True, 2, "ITU-T P.862.2 at 16 kHz", _SPEECH),
        Metric("pesq_nb", "PESQ-NB", "MOS", True, 2, "ITU-T P.862.1 at 8 kHz", _SPEECH),
        Metric("stoi", "STOI", "", True, 3, "short-time intelligibility at 16 kHz", _SPEECH),
        Metric("mel", "mel", "dB", False, 2, "log-mel L1 at 24 kHz, 80 bands, floor -80 dBFS"),
        Metric("mel_4k", "mel <4k", "dB", False, 2, "the same, bands below 4 kHz only"),
        Metric(
            "stft",
            "STFT",
            "",
            False,
            2,
            "multi-scale STFT distance as in DAC, 24 kHz; empty bands weigh heavily",
        ),
        Metric("si_sdr", "SI-SDR", "dB", True, 1, "scale-invariant signal to distortion, 24 kHz"),
        Metric(
            "f0_cents", "F0", "cents", False, 0, "RMS pitch error where both are voiced", _SPEECH
        ),
        Metric("f0_hz", "F0", "Hz", False, 1, "the same in Hz", _SPEECH),
        Metric("voicing", "voicing", "%", False, 1, "10 ms frames voiced in only one", _SPEECH),
    )
}


@dataclass(frozen=True)
class ClipScores:
    """Scores of one clip."""

    values: dict[str, float] = field(default_factory=dict)  # metric name -> finite score
    missing: dict[str, str] = field(default_factory=dict)  # metric name -> reason


class UndefinedScore(ValueError):
    """The metric is undefined for this clip; the message is the reason."""


def require_packages(domains: Iterable[str]) -> None:
    """Raise ``ModuleNotFoundError`` if a package for the scores of these domains is missing."""
    required = ("pesq", "pystoi") if "speech" in set(domains) else ()
    missing = [name for name in required if importlib.util.find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"scores of speech need {' and '.join(missing)}: pip install 'almtok[eval]'"
        )


def _checked(reference: npt.ArrayLike, estimate: npt.ArrayLike) -> tuple[Array, Array]:
    a, b = np.asarray(reference, dtype=np.float64), np.asarray(estimate, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"clips must be two [S] of equal length, got {a.shape} and {b.shape}")
    if a.size == 0:
        raise ValueError("clips must not be empty, got 0 samples")
    if not np.isfinite(b).all():
        count = int((~np.isfinite(b)).sum())
        raise ValueError(f"the estimate must be finite, got {count} samples that are not finite")
    return a, b


def _resampled(wav: Array, source: int, target: int) -> Array:
    return wav if source == target else soxr.resample(wav, source, target)


def _by_piece(a: Array, b: Array, rate: int, score: Callable[[Array, Array], float]) -> float:
    """Mean of a score over equal pieces of at most 20 s, without pieces that have no score."""
    pieces = max(1, math.ceil(a.size / (PIECE_SECONDS * rate)))
    scores, reason = [], "no piece"
    for left, right in zip(np.array_split(a, pieces), np.array_split(b, pieces), strict=True):
        try:
            scores.append(score(left, right))
        except UndefinedScore as error:
            reason = str(error)
    if not scores:
        raise UndefinedScore(reason)
    return float(np.mean(scores))


def pesq(
    reference: npt.ArrayLike, estimate: npt.ArrayLike, sample_rate: int, *, band: str
) -> float:
    """PESQ, 1 (bad) to 4.5.

    Args:
        reference: original [S].
        estimate: reconstruction [S].
        sample_rate: of both; resampled to 16 kHz (wide band) or 8 kHz (narrow band).
        band: ``"wb"`` for P.862.2 or ``"nb"`` for P.862.1.
    """
    import pesq as library

    if band not in ("wb", "nb"):
        raise ValueError(f'band must be "wb" or "nb", got {band!r}')
    a, b = _checked(reference, estimate)
    rate = 16_000 if band == "wb" else 8_000
    a, b = _resampled(a, sample_rate, rate), _resampled(b, sample_rate, rate)

    def score(left: Array, right: Array) -> float:
        if left.size < rate // 4:
            raise UndefinedScore("shorter than 0.25 s")
        if not right.any():
            raise UndefinedScore("the reconstruction is silent")
        try:
            value = library.pesq(rate, left, right, band)
        except library.PesqError as error:
            text = error.args[0] if error.args else type(error).__name__
            raise UndefinedScore(text.decode() if isinstance(text, bytes) else str(text)) from error
        if not math.isfinite(value):
            raise UndefinedScore("PESQ gave no number")
        return float(value)

    return _by_piece(a, b, rate, score)


def stoi(reference: npt.ArrayLike, estimate: npt.ArrayLike, sample_rate: int) -> float:
    """Short-time objective intelligibility (not the extended STOI), about 0 to 1, at 16 kHz."""
    import pystoi

    a, b = _checked(reference, estimate)
    a, b = _resampled(a, sample_rate, 16_000), _resampled(b, sample_rate, 16_000)

    def score(left: Array, right: Array) -> float:
        if left.size < 16_000 * 2 // 5:
            raise UndefinedScore("shorter than 0.4 s")
        if not left.any():
            raise UndefinedScore("the original is silent")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = float(pystoi.stoi(left, right, 16_000))
        # pystoi returns 1e-5 if fewer than 30 frames remain after the removal of silent frames.
        if value == 1e-5 or not math.isfinite(value):
            raise UndefinedScore("less than 0.4 s that is not silent")
        return value

    return _by_piece(a, b, 16_000, score)


def si_sdr(reference: npt.ArrayLike, estimate: npt.ArrayLike) -> float:
    """Scale-invariant signal-to-distortion ratio in dB of zero-mean clips [S]."""
    a, b = _checked(reference, estimate)
    a, b = a - a.mean(), b - b.mean()
    energy = float(a @ a)
    if energy <= 1e-12 or not b.any():
        raise UndefinedScore("one of the two is silent")
    target = (float(a @ b) / energy) * a
    noise = b - target
    epsilon = np.finfo(np.float64).eps
    return float(10.0 * np.log10((target @ target + epsilon) / (noise @ noise + epsilon)))


def _add_pitch_scores(a: Array, b: Array, rate: int, scores: ClipScores) -> None:
    error = pitch_error(a, b, rate)
    scores.values["voicing"] = 100.0 * error.voicing
    for name, value in (("f0_cents", error.cents), ("f0_hz", error.hz)):
        if error.frames:
            scores.values[name] = value
        else:
            scores.missing[name] = "no frame is voiced in both"


def score_clip(
    reference: npt.ArrayLike,
    estimate: npt.ArrayLike,
    sample_rate: int = SCORE_RATE,
    *,
    domain: str = "speech",
) -> ClipScores:
    """Compute the scores of `METRICS` that are defined for a domain.

    Args:
        reference: original [S].
        estimate: reconstruction [S], aligned with it.
        sample_rate: of both; resampled to 24 kHz for the spectral scores.
        domain: ``"speech"``, ``"sound"`` or ``"music"``.
    """
    if domain not in DOMAINS:
        raise ValueError(f"domain must be one of {DOMAINS}, got {domain!r}")
    a, b = _checked(reference, estimate)
    a, b = _resampled(a, sample_rate, SCORE_RATE), _resampled(b, sample_rate, SCORE_RATE)
    scorers: dict[str, Callable[[], float]] = {
        "pesq_wb": lambda: pesq(a, b, SCORE_RATE, band="wb"),
        "pesq_nb": lambda: pesq(a, b, SCORE_RATE, band="nb"),
        "stoi": lambda: stoi(a, b, SCORE_RATE),
        "mel": lambda: mel_distance(a, b, SCORE_RATE),
        "mel_4k": lambda: mel_distance(a, b, SCORE_RATE, highest_hz=4000.0),
        "stft": lambda: stft_distance(a, b),
        "si_sdr": lambda: si_sdr(a, b),
    }
    scores = ClipScores()
    for name, scorer in scorers.items():
        if domain not in METRICS[name].domains:
            continue
        try:
            scores.values[name] = scorer()
        except UndefinedScore as error:
            scores.missing[name] = str(error)
    if domain in METRICS["voicing"].domains:
        _add_pitch_scores(a, b, SCORE_RATE, scores)
    return scores
