"""An evaluation as a single HTML file: scores, players, spectrograms, codes, training curves.

Letters: S samples, K codebooks, Q positions.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.audio import read_audio
from ...core.files import file_name, write_text
from ...core.metrics.audio import METRICS, SCORE_RATE
from ...core.metrics.intervals import PairedDifference
from ...core.report.curves import Curves, find_metrics, read_curves
from ...core.report.figures import (
    Bar,
    CurveChart,
    IntervalChart,
    code_map_url,
    curve_chart,
    flac_url,
    interval_chart,
    loudest_band,
    spectrogram_url,
)
from ...core.report.render import render
from .harness import EvaluationClip, safe_name
from .judged import ALL_METRICS, JUDGED_METRICS
from .markdown import (
    FRECHET_HEAD,
    SCALE_ROWS,
    frechet_note,
    frechet_rows,
    left_out,
    metric_head,
    metrics_of,
)
from .results import read_results, unpack_codes
from .table import Evaluation

# Metrics with a chart; tables have all metrics.
_CHARTED = ("pesq_wb", "stoi", "mel", "mel_4k", "stft", "f0_cents")
# Metrics of the comparison. Not the STFT distance, which is dominated by the empty bands of
# narrow-band codecs.
_COMPARED = ("pesq_wb", "stoi", "mel", "mel_4k", "f0_cents")
_PER_CLIP = ("pesq_wb", "stoi", "mel", "si_sdr")
_MAX_CURVES = 12


@dataclass(frozen=True)
class Reconstruction:
    """A clip reconstructed by a codec."""

    name: str  # of the codec
    wav: npt.NDArray[np.float32]  # [S] at 24 kHz
    scores: dict[str, float] = field(default_factory=dict)
    codes: npt.NDArray[np.int64] | None = None  # [K, Q]


@dataclass(frozen=True)
class Sample:
    """A clip with its reconstructions."""

    id: str
    domain: str
    original: npt.NDArray[np.float32]  # [S] at 24 kHz
    reconstructions: tuple[Reconstruction, ...]


def is_ours(name: str) -> bool:
    """Whether the codec of this name is an ALMTokenizer."""
    return name.startswith("almtok")


def write_report(
    path: str | os.PathLike[str],
    evaluation: Evaluation,
    *,
    samples: Sequence[Sample] = (),
    curves: Sequence[Curves] = (),
    title: str = "Codec evaluation",
    notes: Sequence[str] = (),
) -> Path:
    """Write the report.

    Args:
        path: of the HTML file.
        evaluation: of `summarise`.
        samples: clips with their reconstructions.
        curves: of `read_curves`, one per training run.
        title: heading.
        notes: further sentences at the top of the page, plain text.
    """
    judged = {name for domain in evaluation.domains for name in metrics_of(evaluation, domain)}
    shown = [name for name in ALL_METRICS if name in METRICS or name in judged]
    html = render(
        "codec_evaluation.html",
        title=title,
        notes=notes,
        evaluation=evaluation,
        domains=[_domain(evaluation, name) for name in evaluation.domains],
        samples=[_sample(sample) for sample in samples],
        runs=[(run.title, _curve_charts(run)) for run in curves],
        fewest=min(evaluation.domains.values(), default=0),
        random_weights=any("random" in codec.name for codec in evaluation.codecs),
        left_out=left_out(evaluation),
        frechet_head=list(FRECHET_HEAD),
        frechet_rows=[] if evaluation.fad is None else frechet_rows(evaluation.fad),
        frechet_note="" if evaluation.fad is None else frechet_note(evaluation.fad),
        METRICS={name: ALL_METRICS[name] for name in shown},
        compared_metrics=_COMPARED,
        metric_head=metric_head,
        is_ours=is_ours,
        tone=_tone,
    )
    write_text(path, html)
    return Path(path)


def _domain(evaluation: Evaluation, domain: str) -> dict[str, Any]:
    """Template context of a domain."""
    metrics = metrics_of(evaluation, domain)
    charts = {
        name: _interval_chart(evaluation, domain, name) for name in (*_CHARTED, *JUDGED_METRICS)
    }
    return {
        "name": domain,
        "metrics": metrics,
        "heads": [metric_head(name) for name in metrics],
        "charts": {name: chart for name, chart in charts.items() if chart is not None},
        "rows": [(codec, codec.domains.get(domain)) for codec in evaluation.codecs],
        "scale": [
            (SCALE_ROWS[kind], interval)
            for kind, interval in evaluation.speaker_scale.get(domain, {}).items()
        ],
        "compared": [
            (codec, codec.domains[domain].differences)
            for codec in evaluation.codecs
            if domain in codec.domains and codec.domains[domain].differences
        ],
    }


def _interval_chart(evaluation: Evaluation, domain: str, metric: str) -> IntervalChart | None:
    bars = []
    for codec in evaluation.codecs:
        row = codec.domains.get(domain)
        score = None if row is None else row.scores.get(metric)
        if score is not None:
            bars.append(Bar(codec.name, score.mean, score.low, score.high, is_ours(codec.name)))
    if not bars:
        return None
    described = ALL_METRICS[metric]
    return interval_chart(
        bars, digits=described.digits, higher_is_better=described.higher_is_better
    )


def _tone(metric: str, paired: PairedDifference) -> str:
    """CSS class of a difference: good, bad, or soft where the interval includes zero."""
    if not paired.clear:
        return "soft"
    return "good" if (paired.difference.mean > 0) == ALL_METRICS[metric].higher_is_better else "bad"


def _curve_charts(run: Curves) -> list[CurveChart]:
    names = [name for name in run.series if name.startswith(("losses", "validation"))]
    names += [
        name for name in run.series if name.endswith(("usage", "perplexity")) and name not in names
    ]
    charts = (curve_chart(name, *run.series[name]) for name in names[:_MAX_CURVES])
    return [chart for chart in charts if chart is not None]


def _sample(sample: Sample) -> dict[str, Any]:
    """Template context of a sample, with audio and images as data URLs."""
    loudest = loudest_band(sample.original, SCORE_RATE)
    original = Reconstruction("original", sample.original)
    return {
        "id": sample.id,
        "domain": sample.domain,
        "seconds": len(sample.original) / SCORE_RATE,
        "versions": [_version(item, loudest) for item in (original, *sample.reconstructions)],
    }


def _version(item: Reconstruction, loudest: float) -> dict[str, Any]:
    codes = item.codes if is_ours(item.name) else None
    seconds = len(item.wav) / SCORE_RATE
    return {
        "name": item.name,
        "audio": flac_url(item.wav, SCORE_RATE),
        "spectrogram": spectrogram_url(item.wav, SCORE_RATE, loudest=loudest),
        "code_map": None if codes is None else code_map_url(codes),
        "code_count": ""
        if codes is None
        else f"{codes.size} codes, {codes.size / seconds:.1f} per second",
        "scores": [
            f"{METRICS[name].label} {item.scores[name]:.{METRICS[name].digits}f}"
            for name in _PER_CLIP
            if name in item.scores
        ],
    }


def _kept_audio(folder: Path, clip: str) -> Path:
    path = folder / f"{file_name(clip)}.flac"
    return path if path.exists() else folder / f"{safe_name(clip)}.flac"  # of earlier versions


def samples_from_folder(
    out: Path, evaluation: Evaluation, clips: Sequence[EvaluationClip]
) -> list[Sample]:
    """Clips whose audio was kept, with the reconstructions of every codec."""
    results = {
        codec.name: read_results(out / "clips" / f"{safe_name(codec.name)}.jsonl")
        for codec in evaluation.codecs
    }
    samples = []
    for clip in clips:
        original = _kept_audio(out / "audio" / "original", clip.id)
        if not original.exists():
            continue
        reconstructions = []
        for name, by_clip in results.items():
            audio = _kept_audio(out / "audio" / safe_name(name), clip.id)
            result = by_clip.get(clip.id)
            if audio.exists() and result is not None:
                codes = None if result.codes is None else unpack_codes(result.codes)
                wav = read_audio(audio, SCORE_RATE)
                reconstructions.append(Reconstruction(name, wav, result.scores, codes))
        wav = read_audio(original, SCORE_RATE)
        samples.append(Sample(clip.id, clip.domain, wav, tuple(reconstructions)))
    return samples


def report_from_folder(
    out: str | os.PathLike[str],
    evaluation: Evaluation,
    clips: Sequence[EvaluationClip],
    *,
    checkpoints: Sequence[str] = (),
    title: str = "Codec evaluation",
) -> Path:
    """Write ``report.html`` from the results of `evaluate_codec` in a folder.

    Args:
        out: folder of the evaluation.
        evaluation: its table.
        clips: of the evaluation.
        checkpoints: folders whose training curves are shown, if there are any.
        title: heading.
    """
    out = Path(out)
    logs = [log for checkpoint in checkpoints for log in find_metrics(Path(checkpoint))]
    return write_report(
        out / "report.html",
        evaluation,
        samples=samples_from_folder(out, evaluation, clips),
        curves=[read_curves(log) for log in dict.fromkeys(logs)],
        title=title,
    )
