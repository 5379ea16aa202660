"""The table of an evaluation as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.metrics.audio import DOMAINS, METRICS
from ...core.metrics.intervals import Interval, format_interval
from .fad import FrechetTable
from .judged import ALL_METRICS, JUDGED_METRICS
from .table import DomainRow, Evaluation


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
    metric = ALL_METRICS[name]
    unit = f" {metric.unit}" if metric.unit else ""
    return f"{metric.label}{unit} {'↑' if metric.higher_is_better else '↓'}"


def metrics_of(evaluation: Evaluation, domain: str) -> list[str]:
    """Metrics of a domain; of those by judges, the ones that a codec has a score of."""
    kind = domain.partition(",")[0]
    rows = [codec.domains[domain] for codec in evaluation.codecs if domain in codec.domains]
    judged = [name for name in JUDGED_METRICS if any(name in row.scores for row in rows)]
    return [name for name, metric in METRICS.items() if kind in metric.domains] + judged


SCALE_ROWS = {"same": "two recordings of a speaker", "other": "recordings of two speakers"}


def _domain_tables(evaluation: Evaluation, domain: str) -> list[str]:
    metrics = metrics_of(evaluation, domain)
    head = ["codec", "kbit/s", "clips", *(metric_head(name) for name in metrics)]
    rows, differences = [], []
    for codec in evaluation.codecs:
        row = codec.domains.get(domain)
        rate = f"{codec.kbps:.4g}" if codec.kbps else ""
        if row is None:
            if codec.kbps:
                rows.append([codec.name, rate, "0", *("" for _ in metrics)])
            continue
        clips = max((interval.n for interval in row.scores.values()), default=0)
        cells = [_interval(row.scores.get(name), ALL_METRICS[name].digits) for name in metrics]
        rows.append([codec.name, rate, str(clips), *cells])
        if row.differences:
            differences.append([codec.name, *(_difference(row, name) for name in metrics)])
    for kind, interval in evaluation.speaker_scale.get(domain, {}).items():
        cells = [_interval(interval, 3) if name == "speaker" else "" for name in metrics]
        rows.append([SCALE_ROWS[kind], "", str(interval.n), *cells])
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
    text = _interval(paired.difference, ALL_METRICS[metric].digits, signed=True)
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
        if codec.kbps
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
            for metric, reasons in row.missing.items() if domain in DOMAINS else ():
                for reason, count in reasons.items():
                    label = ALL_METRICS[metric].label
                    lines.append(f"no {label}: {codec.name}, {domain}, {count} clips: {reason}")
    return [*lines, *(evaluation.fad.left_out if evaluation.fad is not None else ())]


def to_markdown(evaluation: Evaluation) -> str:
    """The whole evaluation as Markdown."""
    names = dict.fromkeys(
        name for domain in evaluation.domains for name in metrics_of(evaluation, domain)
    )
    metrics = [ALL_METRICS[name] for name in {**METRICS, **names}]
    parts = [
        "Mean over clips with its 95 % bootstrap interval (clips drawn again). Arrows point towards"
        " better. " + "; ".join(f"{m.label} {m.unit}: {m.description}".strip() for m in metrics),
    ]
    if evaluation.judges:
        lines = [f"- {role}: {name}" for role, name in evaluation.judges.items()]
        parts += ["Judges:", "\n".join(lines)]
    for domain in evaluation.domains:
        parts += _domain_tables(evaluation, domain)
    parts += _frechet_table(evaluation) + _cost_table(evaluation) + _code_table(evaluation)
    lines = left_out(evaluation)
    if lines:
        parts += ["### Left out", "\n".join(f"- {line}" for line in lines)]
    return "\n\n".join(parts) + "\n"
