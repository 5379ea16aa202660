"""An evaluation as one HTML file: scores, players, spectrograms, codes, training curves.

Everything is inside the file, so it can be mailed, opened on a phone and kept.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

from ...core.files import write_text
from ...core.metrics.audio import DOMAINS, METRICS
from ...core.report.curves import Curves, find_metrics, read_curves
from ...core.report.figures import Bar, curve_chart, interval_chart
from ...core.report.page import html_table, page, section
from .harness import EvaluationClip
from .listen import Sample, coder_name, is_ours, listen, samples_from_folder
from .table import CodecRow, Evaluation, metric_head

# What is worth a chart; the table has everything.
_CHARTED = ("pesq_wb", "stoi", "mel", "mel_4k", "stft", "f0_cents")
# The STFT distance is no verdict: the bands that a narrow-band coder leaves empty dominate it.
_VERDICTS = ("pesq_wb", "stoi", "mel", "mel_4k", "f0_cents")
_MOST_CURVES = 12


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
        notes: further sentences for the head of the page, plain text.
    """
    sections = [
        ("scores", "Scores", _scores(evaluation)),
        ("listen", "Listen", listen(samples)),
        ("codes", "Codes", _codes(evaluation)),
        ("cost", "Rate and cost", _cost(evaluation)),
        ("training", "Training", _training(curves)),
        ("left-out", "Left out", _left_out(evaluation)),
    ]
    links = "".join(f'<a href="#{a}">{escape(t)}</a>' for a, t, body in sections if body)
    head = f"<h1>{escape(title)}</h1>{_summary(evaluation, notes)}<nav>{links}</nav>"
    body = head + "".join(section(*part) for part in sections)
    write_text(path, page(title, body))
    return Path(path)


def _summary(evaluation: Evaluation, notes: Sequence[str]) -> str:
    counts = ", ".join(f"{count} {domain}" for domain, count in evaluation.domains.items())
    parts = [
        f"<p>{len(evaluation.coders)} coders on the same clips ({counts}). Each point is the mean"
        " over clips, each line its 95 % bootstrap interval: how far the mean would move with other"
        " clips of the same kind. The scores are computed, nobody was asked; listen below.</p>"
    ]
    if any("random" in coder.name for coder in evaluation.coders):
        parts.append(
            '<p class="warn">A coder marked «random» has untrained weights: its rate and cost mean'
            " something, its sound does not.</p>"
        )
    least = min(evaluation.domains.values(), default=0)
    if 0 < least < 20:
        parts.append(
            f'<p class="warn">Few clips: a domain has only {least}. Read the intervals, not the'
            " means.</p>"
        )
    parts += [f"<p>{escape(note)}</p>" for note in notes]
    return "".join(parts)


# ----------------------------------------------------------------------------------------- scores


def _scores(evaluation: Evaluation) -> str:
    parts = []
    for domain in DOMAINS:
        if domain not in evaluation.domains:
            continue
        charts = "".join(_chart(evaluation, domain, name) for name in _CHARTED)
        parts.append(
            f"<h3>{domain.capitalize()}</h3>{_verdicts(evaluation, domain)}"
            f'<div class="grid">{charts}</div>'
            f"<details><summary>All scores of {domain}</summary>{_table(evaluation, domain)}"
            f"{_difference_table(evaluation, domain)}</details>"
        )
    about = "".join(
        f"<li><b>{escape(m.label)}</b> {escape(m.unit)}: {escape(m.about)},"
        f" {'higher' if m.higher_is_better else 'lower'} is better</li>"
        for m in METRICS.values()
    )
    return "".join(parts) + (
        f"<details><summary>What the scores are</summary><ul>{about}</ul></details>"
    )


def _chart(evaluation: Evaluation, domain: str, metric: str) -> str:
    bars = []
    for coder in evaluation.coders:
        row = coder.domains.get(domain)
        interval = None if row is None else row.scores.get(metric)
        if interval is not None:
            bars.append(
                Bar(coder.name, interval.mean, interval.low, interval.high, is_ours(coder.name))
            )
    if not bars:
        return ""
    rule = METRICS[metric]
    chart = interval_chart(bars, digits=rule.digits, higher_is_better=rule.higher_is_better)
    return f'<div class="card"><h3>{escape(metric_head(metric))}</h3>{chart}</div>'


def _verdicts(evaluation: Evaluation, domain: str) -> str:
    """Sentences on how ours compares with the reference, only where the interval allows one."""
    lines = []
    for coder in evaluation.coders:
        row = coder.domains.get(domain)
        if row is None or not row.differences or not is_ours(coder.name):
            continue
        words = []
        for metric in _VERDICTS:
            paired = row.differences.get(metric)
            if paired is None:
                continue
            rule, by = METRICS[metric], paired.difference
            size = f"{by.mean:+.{rule.digits}f} {rule.unit}".strip()
            if not paired.clear:
                words.append(f"no clear difference in {escape(rule.label)} ({size})")
            else:
                better = (by.mean > 0) == rule.higher_is_better
                tone, word = ("good", "better") if better else ("bad", "worse")
                words.append(f'<span class="{tone}">{word}</span> in {escape(rule.label)} ({size})')
        lines.append(
            f"<p><b>{escape(coder.name)}</b> against {escape(evaluation.reference or '')},"
            f" clip by clip: {', '.join(words)}.</p>"
        )
    return "".join(lines)


def _cell(mean: float, low: float, high: float, digits: int, sign: str = "") -> str:
    return (
        f"{mean:{sign}.{digits}f} <small>{low:{sign}.{digits}f} … {high:{sign}.{digits}f}</small>"
    )


def _table(evaluation: Evaluation, domain: str) -> str:
    names = [name for name, metric in METRICS.items() if domain in metric.domains]
    rows = []
    for coder in evaluation.coders:
        row = coder.domains.get(domain)
        cells = [coder_name(coder.name), f"{coder.kbps:.4g}"]
        for name in names:
            interval = None if row is None else row.scores.get(name)
            cells.append(
                ""
                if interval is None
                else _cell(interval.mean, interval.low, interval.high, METRICS[name].digits)
            )
        rows.append(cells)
    return html_table(["coder", "kbit/s", *(metric_head(name) for name in names)], rows)


def _difference_table(evaluation: Evaluation, domain: str) -> str:
    names = [name for name, metric in METRICS.items() if domain in metric.domains]
    rows = []
    for coder in evaluation.coders:
        row = coder.domains.get(domain)
        if row is None or not row.differences:
            continue
        cells = [coder_name(coder.name)]
        for name in names:
            paired = row.differences.get(name)
            if paired is None:
                cells.append("")
                continue
            by, rule = paired.difference, METRICS[name]
            text = _cell(by.mean, by.low, by.high, rule.digits, "+")
            better = (by.mean > 0) == rule.higher_is_better
            tone = ("good" if better else "bad") if paired.clear else "soft"
            cells.append(f'<span class="{tone}">{text}</span>')
        rows.append(cells)
    if not rows:
        return ""
    note = f"Paired difference to {escape(evaluation.reference or '')}; colour where it is clear."
    head = ["coder", *(metric_head(name) for name in names)]
    return f'<p class="soft">{note}</p>' + html_table(head, rows)


# ---------------------------------------------------------------------------- codes, cost, the rest


def _codes(evaluation: Evaluation) -> str:
    rows = []
    for coder in evaluation.coders:
        stats = coder.codes
        if stats is None:
            continue
        for layer, usage in enumerate(stats.usage):
            rows.append(
                [
                    f"{coder_name(coder.name)}, layer {layer + 1}",
                    f"{100 * usage:.1f} %",
                    f"{stats.entropy_bits[layer]:.2f}",
                    f"{stats.perplexity[layer]:.0f}",
                ]
            )
        rows.append(
            [
                f"{coder_name(coder.name)}, together",
                "",
                f"{stats.kbps_entropy:.4g} kbit/s of {stats.kbps_nominal:.4g}",
                f"{stats.positions} positions",
            ]
        )
    if not rows:
        return ""
    note = (
        '<p class="soft">Usage: share of the entries that occur on these clips. Entropy: bits per'
        " code that an ideal coder without memory would need; too low on few clips.</p>"
    )
    return note + html_table(["layer", "usage", "entropy, bit", "perplexity"], rows)


def _cost(evaluation: Evaluation) -> str:
    def number(value: float | None, digits: int) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    rows = [
        [
            coder_name(coder.name),
            f"{coder.kbps:.4g}",
            number(coder.rtf_encode, 4),
            number(coder.rtf_decode, 4),
            number(coder.peak_mb, 0),
            f"{coder.seconds / 60:.1f}",
            f"{coder.clips - len(coder.failed)} of {coder.clips}",
        ]
        for coder in evaluation.coders
    ]
    head = ["coder", "kbit/s", "RTF encode", "RTF decode", "peak MB", "minutes", "clips coded"]
    note = (
        '<p class="soft">RTF: seconds of computing per second of audio on this machine, one clip at'
        " a time, whatever else it was doing; below 1 is faster than real time.</p>"
    )
    return note + html_table(head, rows)


def _training(curves: Sequence[Curves]) -> str:
    parts = []
    for run in curves:
        names = [n for n in run.series if n.startswith(("losses", "validation"))]
        names += [n for n in run.series if n.endswith(("usage", "perplexity")) and n not in names]
        charts = "".join(
            f'<div class="card">{curve_chart(name, *run.series[name])}</div>'
            for name in names[:_MOST_CURVES]
        )
        if charts:
            parts.append(f'<h3>{escape(run.title)}</h3><div class="grid">{charts}</div>')
    return "".join(parts)


def _left_out(evaluation: Evaluation) -> str:
    lines = [
        f"{escape(name)} was not run: {escape(why)}" for name, why in evaluation.not_run.items()
    ]
    for coder in evaluation.coders:
        lines += [
            f"{escape(coder.name)} failed on {escape(clip)}: {escape(why)}"
            for clip, why in coder.failed.items()
        ]
        lines += _missing(coder)
    return "<ul>" + "".join(f"<li>{line}</li>" for line in lines) + "</ul>" if lines else ""


def _missing(coder: CodecRow) -> list[str]:
    return [
        f"no {escape(METRICS[metric].label)} for {escape(coder.name)} on {count} clips of"
        f" {domain}: {escape(reason)}"
        for domain, row in coder.domains.items()
        for metric, reasons in row.missing.items()
        for reason, count in reasons.items()
    ]


# ------------------------------------------------------------------------------ from an evaluation


def report_from_folder(
    out: str | os.PathLike[str],
    evaluation: Evaluation,
    clips: Sequence[EvaluationClip],
    *,
    checkpoints: Sequence[str] = (),
    title: str = "Codec evaluation",
) -> Path:
    """Write ``report.html`` from what `evaluate_coder` left in a folder.

    Args:
        out: folder of the evaluation.
        evaluation: its table.
        clips: that were evaluated.
        checkpoints: folders whose training curves are shown, where they have any.
        title: heading.
    """
    out = Path(out)
    logs = [log for one in checkpoints for log in find_metrics(Path(one))]
    curves = [read_curves(log) for log in dict.fromkeys(logs)]
    return write_report(
        out / "report.html",
        evaluation,
        samples=samples_from_folder(out, evaluation, clips),
        curves=curves,
        title=title,
    )
