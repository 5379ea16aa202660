"""The clips of the report: players, spectrograms, code maps and scores side by side."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...core.audio import read_audio, write_audio
from ...core.metrics.audio import METRICS, SCORE_RATE
from ...core.report.figures import code_map_png, loudest_band, spectrogram_png
from .harness import EvaluationClip, safe_name
from .results import ClipResult, read_results, unpack_codes
from .table import Evaluation

_CHIPS = ("pesq_wb", "stoi", "mel", "si_sdr")


@dataclass(frozen=True)
class Version:
    """One reconstruction of a clip."""

    name: str
    wav: npt.NDArray[np.float32]  # [S] at 24 kHz
    scores: dict[str, float] = field(default_factory=dict)
    codes: npt.NDArray[np.int64] | None = None  # [K, Q]


@dataclass(frozen=True)
class Sample:
    """A clip to listen to."""

    id: str
    domain: str
    original: npt.NDArray[np.float32]  # [S] at 24 kHz
    versions: tuple[Version, ...]


def is_ours(name: str) -> bool:
    """Whether a coder of this name is an ALMTokenizer."""
    return name.startswith("almtok")


def coder_name(name: str) -> str:
    """A coder's name as HTML, ours in our colour."""
    return f'<b class="ours">{escape(name)}</b>' if is_ours(name) else escape(name)


def player(wav: npt.NDArray[np.float32]) -> str:
    """A player of samples [S] at 24 kHz, as HTML with the audio inside."""
    # FLAC: exact, half the size of WAV, and every browser of the last years plays it.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.flac"
        write_audio(path, wav, SCORE_RATE)
        data = base64.b64encode(path.read_bytes()).decode()
    return f'<audio controls preload="none" src="data:audio/flac;base64,{data}"></audio>'


def listen(samples: Sequence[Sample]) -> str:
    """Cards with players, spectrograms, codes and scores, as HTML."""
    intro = (
        '<p class="soft">Pictures: mel spectrograms, low tones at the bottom, 0 to 12 kHz, the same'
        " brightness for all versions of a clip. Coloured strips: the codes, one row per layer, one"
        " column per position in time.</p>"
    )
    return intro + "".join(_sample(sample) for sample in samples) if samples else ""


def _sample(sample: Sample) -> str:
    loudest = loudest_band(sample.original, SCORE_RATE)
    seconds = len(sample.original) / SCORE_RATE

    def version(name: str, wav: npt.NDArray[np.float32], rest: str) -> str:
        picture = spectrogram_png(wav, SCORE_RATE, loudest=loudest)
        return (
            f'<div class="version">{name}{player(wav)}'
            f'<img class="spec" alt="spectrogram" src="{picture}">{rest}</div>'
        )

    parts = [version("<b>original</b>", sample.original, "")]
    for one in sample.versions:
        rest = ""
        if one.codes is not None and is_ours(one.name):
            count = f"{one.codes.size} codes, {one.codes.size / seconds:.1f} per second"
            rest += (
                f'<div class="chips">{count}</div>'
                f'<img class="codes" alt="codes" src="{code_map_png(one.codes)}">'
            )
        rest += _chips(one.scores)
        parts.append(version(coder_name(one.name) if is_ours(one.name) else
                             f"<b>{escape(one.name)}</b>", one.wav, rest))  # fmt: skip
    return (
        f'<div class="card clip"><h3>{escape(sample.id)}</h3>'
        f'<span class="soft">{escape(sample.domain)}, {seconds:.1f} s</span>'
        f'<div class="versions">{"".join(parts)}</div></div>'
    )


def _chips(scores: dict[str, float]) -> str:
    words = [
        f"<span>{escape(METRICS[name].label)} {scores[name]:.{METRICS[name].digits}f}</span>"
        for name in _CHIPS
        if name in scores
    ]
    return f'<div class="chips">{"".join(words)}</div>' if words else ""


def samples_from_folder(
    out: Path, evaluation: Evaluation, clips: Sequence[EvaluationClip]
) -> list[Sample]:
    """The clips whose audio an evaluation has kept, with what every coder made of them."""
    results: dict[str, dict[str, ClipResult]] = {
        coder.name: read_results(out / "clips" / f"{safe_name(coder.name)}.jsonl")
        for coder in evaluation.coders
    }
    samples = []
    for clip in clips:
        file = f"{safe_name(clip.id)}.flac"
        original = out / "audio" / "original" / file
        if not original.exists():
            continue
        versions = []
        for coder in evaluation.coders:
            audio = out / "audio" / safe_name(coder.name) / file
            result = results[coder.name].get(clip.id)
            if audio.exists() and result is not None:
                codes = None if result.codes is None else unpack_codes(result.codes)
                wav = read_audio(audio, SCORE_RATE)
                versions.append(Version(coder.name, wav, result.scores, codes))
        samples.append(
            Sample(clip.id, clip.domain, read_audio(original, SCORE_RATE), tuple(versions))
        )
    return samples
