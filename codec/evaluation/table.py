"""Results of several codecs in a table: means, intervals, paired differences, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...core.metrics.audio import DOMAINS, METRICS
from ...core.metrics.intervals import (
    Interval,
    PairedDifference,
    bootstrap_interval,
    format_interval,
    paired_difference,
)
from .codecs import EvaluatedCodec
from .fad import FrechetTable
from .results import ClipResult, CodeStatistics, code_statistics, unpack_codes


@dataclass(frozen=True)
class DomainRow:
    """Results of one codec on one domain."""

    scores: dict[str, Interval]  # metric name -> mean and interval over the clips with a score
    differences: dict[str, PairedDifference]  # metric name -> difference to the reference codec
    missing: dict[str, dict[str, int]]  # metric name -> reason -> number of clips


@dataclass(frozen=True)
class CodecRow:
    """Results of one codec."""

    name: str
    kbps: float  # nominal
    kbps_measured: float  # bits / seconds over all clips, including padding of the last frame
    clips: int  # number of clips
    failed: dict[str, str]  # clip id -> error
    seconds: float  # duration of the coded clips
    rtf_encode: float | None
    rtf_decode: float | None
    peak_mb: float | None  # maximum over the clips; None for external programs
    codes: CodeStatistics | None
    domains: dict[str, DomainRow]


@dataclass(frozen=True)
class Evaluation:
    """Results of all codecs on the same clips."""

    codecs: tuple[CodecRow, ...]
    reference: str | None  # name of the codec of the paired differences
    domains: dict[str, int]  # domain -> number of clips
    not_run: dict[str, str]  # codec name -> reason
    fad: FrechetTable | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values."""
        return asdict(self)


def _codes(codec: EvaluatedCodec, results: Sequence[ClipResult]) -> CodeStatistics | None:
    packed = [result.codes for result in results if result.codes is not None]
    if not packed or codec.codebook_size is None or codec.frame_rate is None:
        return None
    return code_statistics(
        (unpack_codes(text) for text in packed),
        codebook_size=codec.codebook_size,
        frame_rate=codec.frame_rate,
    )


def _values(results: Sequence[ClipResult], metric: str) -> dict[str, float]:
    return {r.id: r.scores[metric] for r in results if metric in r.scores}


def _domain_row(
    results: Sequence[ClipResult], reference: Sequence[ClipResult] | None, seed: int
) -> DomainRow:
    scores, differences = {}, {}
    missing: dict[str, dict[str, int]] = {}
    for metric in METRICS:
        values = _values(results, metric)
        if values:
            scores[metric] = bootstrap_interval(list(values.values()), seed=seed)
        if values and reference is not None:
            paired = paired_difference(values, _values(reference, metric), seed=seed)
            if paired is not None:
                differences[metric] = paired
        for result in results:
            reason = result.missing.get(metric)
            if reason is not None:
                counts = missing.setdefault(metric, {})
                counts[reason] = counts.get(reason, 0) + 1
    return DomainRow(scores, differences, missing)


def _codec_row(
    codec: EvaluatedCodec,
    results: Sequence[ClipResult],
    reference: Sequence[ClipResult] | None,
    seed: int,
) -> CodecRow:
    good = [result for result in results if result.error is None]
    seconds = sum(result.seconds for result in good)
    peaks = [result.peak_mb for result in good if result.peak_mb is not None]

    def select(domain: str, rows: Sequence[ClipResult]) -> list[ClipResult]:
        return [row for row in rows if row.domain == domain and row.error is None]

    return CodecRow(
        name=codec.name,
        kbps=codec.kbps,
        kbps_measured=sum(r.bits for r in good) / seconds / 1000.0 if seconds else 0.0,
        clips=len(results),
        failed={result.id: result.error for result in results if result.error is not None},
        seconds=seconds,
        rtf_encode=sum(r.encode_seconds for r in good) / seconds if seconds else None,
        rtf_decode=sum(r.decode_seconds for r in good) / seconds if seconds else None,
        peak_mb=max(peaks) if peaks else None,
        codes=_codes(codec, good),
        domains={
            domain: _domain_row(
                select(domain, results),
                None if reference is None else select(domain, reference),
                seed,
            )
            for domain in DOMAINS
            if select(domain, results)
        },
    )


def summarise(
    results: Sequence[tuple[EvaluatedCodec, Sequence[ClipResult]]],
    *,
    reference: str | None = None,
    not_run: Mapping[str, str] | None = None,
    fad: FrechetTable | None = None,
    seed: int = 0,
) -> Evaluation:
    """Put the results of several codecs on the same clips into one table.

    Args:
        results: codec and its clip results, in the order of the rows.
        reference: name of the codec of the paired differences.
        not_run: codecs that could not be run, with reasons.
        fad: Fréchet distances, if they were computed.
        seed: of the bootstrap.
    """
    names = [codec.name for codec, _ in results]
    if reference is not None and reference not in names:
        raise ValueError(f"reference must be one of {', '.join(names)}, got {reference!r}")
    base = next((rows for codec, rows in results if codec.name == reference), None)
    counts: dict[str, int] = {}
    for result in results[0][1] if results else ():
        counts[result.domain] = counts.get(result.domain, 0) + 1
    return Evaluation(
        codecs=tuple(
            _codec_row(codec, rows, None if codec.name == reference else base, seed)
            for codec, rows in results
        ),
        reference=reference,
        domains=counts,
        not_run=dict(not_run or {}),
        fad=fad,
    )


# --------------------------------------------------------------------------------------- Markdown


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _interval(interval: Interval | None, digits: int, *, signed: bool = False) -> str:
    if interval is None:
        return ""
    return format_interval(interval, percent=False, digits=digits, signed=signed)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first column is left-aligned, the others right-aligned."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def metric_head(name: str) -> str:
    """Label of a column with unit and arrow (up: higher is better)."""
    metric = METRICS[name]
    unit = f" {metric.unit}" if metric.unit else ""
    return f"{metric.label}{unit} {'↑' if metric.higher_is_better else '↓'}"


def _domain_tables(evaluation: Evaluation, domain: str) -> list[str]:
    metrics = [name for name, metric in METRICS.items() if domain in metric.domains]
    head = ["codec", "kbit/s", "clips", *(metric_head(name) for name in metrics)]
    rows, differences = [], []
    for codec in evaluation.codecs:
        row = codec.domains.get(domain)
        if row is None:
            rows.append([codec.name, f"{codec.kbps:.3g}", "0", *("" for _ in metrics)])
            continue
        clips = max((interval.n for interval in row.scores.values()), default=0)
        cells = [_interval(row.scores.get(name), METRICS[name].digits) for name in metrics]
        rows.append([codec.name, f"{codec.kbps:.4g}", str(clips), *cells])
        if row.differences:
            differences.append([codec.name, *(_difference(row, name) for name in metrics)])
    parts = [
        f"### {domain.capitalize()} ({evaluation.domains.get(domain, 0)} clips)",
        markdown_table(head, rows),
    ]
    if differences:
        parts += [
            f"Paired difference to **{evaluation.reference}** on the same clips;"
            " bold where the interval leaves zero out.",
            markdown_table(["codec", *(metric_head(name) for name in metrics)], differences),
        ]
    return parts


def _difference(row: DomainRow, metric: str) -> str:
    paired = row.differences.get(metric)
    if paired is None:
        return ""
    text = _interval(paired.difference, METRICS[metric].digits, signed=True)
    return f"**{text}**" if paired.clear else text


def _cost_table(evaluation: Evaluation) -> list[str]:
    rows = [
        [
            codec.name,
            f"{codec.kbps:.4g}",
            f"{codec.kbps_measured:.4g}",
            _number(codec.rtf_encode, 4),
            _number(codec.rtf_decode, 4),
            _number(codec.peak_mb, 0),
            f"{codec.seconds / 60:.1f}",
            str(len(codec.failed)),
        ]
        for codec in evaluation.codecs
    ]
    head = [
        "codec",
        "kbit/s",
        "measured",
        "RTF encode",
        "RTF decode",
        "peak MB",
        "minutes",
        "failed",
    ]
    return ["### Rate and cost", markdown_table(head, rows)]


def _code_table(evaluation: Evaluation) -> list[str]:
    rows = []
    for codec in evaluation.codecs:
        stats = codec.codes
        if stats is None:
            continue
        rows.append(
            [
                codec.name,
                " / ".join(f"{100 * value:.0f}" for value in stats.usage),
                " / ".join(f"{value:.2f}" for value in stats.entropy_bits),
                " / ".join(f"{value:.0f}" for value in stats.perplexity),
                f"{stats.kbps_nominal:.4g}",
                f"{stats.kbps_entropy:.4g}",
                str(stats.positions),
            ]
        )
    if not rows:
        return []
    head = ["codec", "usage %", "entropy bit", "perplexity", "kbit/s nominal", "entropy-coded"]
    return ["### Codes, layer by layer", markdown_table([*head, "positions"], rows)]


def frechet_rows(fad: FrechetTable) -> list[list[str]]:
    """Codec, domain, clips, distance with its interval and plain distance, as cells."""
    return [
        [name, domain, str(found.value.n), _interval(found.value, 3), f"{found.plain:.3f}"]
        for name, row in fad.rows.items()
        for domain, found in row.items()
    ]


FRECHET_HEAD = ("codec", "domain", "clips", "FAD ↓", "of these clips")


def frechet_note(fad: FrechetTable) -> str:
    """What the table of Fréchet distances shows."""
    return (
        f"Fréchet audio distance to the recordings on {fad.embedding} (mean over time),"
        " extrapolated to infinitely many clips, with its 95 % jackknife interval; beside it the"
        " value of these clips alone."
    )


def _frechet_table(evaluation: Evaluation) -> list[str]:
    fad = evaluation.fad
    if fad is None or not any(fad.rows.values()):
        return []
    rows = markdown_table(FRECHET_HEAD, frechet_rows(fad))
    return ["### Fréchet audio distance", frechet_note(fad), rows]


def left_out(evaluation: Evaluation) -> list[str]:
    """Codecs that were not run, failed clips and missing scores, one line each."""
    lines = [f"not run: {name}: {reason}" for name, reason in evaluation.not_run.items()]
    for codec in evaluation.codecs:
        lines += [f"failed: {codec.name}, {clip}: {error}" for clip, error in codec.failed.items()]
        for domain, row in codec.domains.items():
            for metric, reasons in row.missing.items():
                for reason, count in reasons.items():
                    label = METRICS[metric].label
                    lines.append(f"no {label}: {codec.name}, {domain}, {count} clips: {reason}")
    return [*lines, *(evaluation.fad.left_out if evaluation.fad is not None else ())]


def to_markdown(evaluation: Evaluation) -> str:
    """The whole evaluation as Markdown."""
    parts = [
        "Mean over clips with its 95 % bootstrap interval (clips drawn again). Arrows point towards"
        " better. "
        + "; ".join(f"{m.label} {m.unit}: {m.description}".strip() for m in METRICS.values()),
    ]
    for domain in DOMAINS:
        if domain in evaluation.domains:
            parts += _domain_tables(evaluation, domain)
    parts += _frechet_table(evaluation) + _cost_table(evaluation) + _code_table(evaluation)
    lines = left_out(evaluation)
    if lines:
        parts += ["### Left out", "\n".join(f"- {line}" for line in lines)]
    return "\n\n".join(parts) + "\n"
