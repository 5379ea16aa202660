"""The table of the ablation: scores, word errors, use of the codes and cost of every row."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from almtok.codec.evaluation.markdown import markdown_table, metric_head
from almtok.codec.evaluation.results import read_results
from almtok.core.files import write_json, write_text
from almtok.core.metrics.audio import METRICS
from almtok.core.metrics.intervals import (
    Interval,
    bootstrap_interval,
    format_interval,
    paired_difference,
)
from almtok.core.reading import read_json_object, reading
from almtok.core.report.curves import read_metrics

from .rows import REFERENCE, chosen_rows

SCORES = ("stoi", "pesq_wb", "mel", "f0_cents")


@dataclass(frozen=True)
class AblationRow:
    """Results of one row."""

    name: str
    what: str
    scores: dict[str, Interval]  # metric name -> mean over the clips
    clear: dict[str, bool]  # metric name -> whether it differs from the reference, paired by clip
    wer: Interval | None  # of speech; None without a recognizer
    nats: tuple[float, ...]  # per code of each codebook, of a language model; empty without it
    usage: tuple[float, ...]  # share of the entries of each codebook that occur
    perplexity: tuple[float, ...]  # of each codebook
    steps: int  # of all its trainings
    seconds_per_step: float  # elapsed, median of the last training
    audio_hours: float  # audio in all steps, with repetitions


def collect(run: Path, names: Sequence[str]) -> list[AblationRow]:
    """Read the results of rows from a run folder.

    Raises:
        ValueError: A file of a row is missing or damaged; the message names it.
    """
    values = {name: _clip_scores(run / "scores" / name) for name in names}
    return [_row(run, name, values) for name in names]


def _row(run: Path, name: str, values: dict[str, dict[str, dict[str, float]]]) -> AblationRow:
    own, base = values[name], values.get(REFERENCE, {})
    paired = {m: paired_difference(own[m], base[m]) for m in own if name != REFERENCE and m in base}
    place = run / "scores" / name / "table.json"
    with reading(place):
        codes = read_json_object(place)["codecs"][0]["codes"]
    row = chosen_rows([name])[name]
    trainings = [run / "rows" / name]
    if not row.one_stage:
        trainings.insert(0, run / "stage1")
    costs = [_cost(training) for training in trainings]
    return AblationRow(
        name=name,
        what=row.what,
        scores={metric: bootstrap_interval(list(found.values())) for metric, found in own.items()},
        clear={metric: found.clear for metric, found in paired.items() if found is not None},
        wer=_word_errors(run / "words" / name / "words.json"),
        nats=_nats(run / "predictability" / name / "table.json"),
        usage=tuple(codes["usage"]),
        perplexity=tuple(codes["perplexity"]),
        steps=sum(cost[0] for cost in costs),
        seconds_per_step=costs[-1][1],
        audio_hours=sum(cost[2] for cost in costs),
    )


def _clip_scores(folder: Path) -> dict[str, dict[str, float]]:
    """Scores by metric and clip."""
    results = read_results(folder / "clips" / "almtok.jsonl").values()
    found = {m: {r.id: r.scores[m] for r in results if m in r.scores} for m in SCORES}
    return {metric: scores for metric, scores in found.items() if scores}


def _word_errors(place: Path) -> Interval | None:
    if not place.exists():
        return None
    with reading(place):
        rows = read_json_object(place)["rows"]
        return Interval(**next(row["wer"] for row in rows if row["lost"] is not None))


def _nats(place: Path) -> tuple[float, ...]:
    if not place.exists():
        return ()
    with reading(place):
        return tuple(read_json_object(place)["rows"][0]["nats"])


def _cost(training: Path) -> tuple[int, float, float]:
    """Steps, seconds per step and hours of audio of a training."""
    place = training / "config.json"
    with reading(place):
        config = read_json_object(place)
        audio = config["batch_size"] * config["segment_seconds"]
        steps = int(config["steps"])
    lines = [line for line in read_metrics(training / "metrics.jsonl") if "losses" in line]
    seconds = statistics.median(audio / line["audio_seconds_per_second"] for line in lines)
    return steps, seconds, steps * audio / 3600


def to_markdown(rows: Sequence[AblationRow]) -> str:
    """All rows, with intervals; bold: clearly different from the reference on the same clips."""
    metrics = [name for name in SCORES if any(name in row.scores for row in rows)]
    columns = {metric_head(name): [_score(row, name) for row in rows] for name in metrics}
    if any(row.wer is not None for row in rows):
        columns["WER, % ↓"] = [_percent(row.wer) for row in rows]
    if any(row.nats for row in rows):
        columns["nats per code ↓"] = [_joined(row.nats, 2) for row in rows]
    columns["codes in use, %"] = [_joined([100 * u for u in row.usage]) for row in rows]
    columns["perplexity"] = [_joined(row.perplexity) for row in rows]
    columns["steps"] = [str(row.steps) for row in rows]
    columns["audio, h"] = [f"{row.audio_hours:.2f}" for row in rows]
    columns["s per step"] = [f"{row.seconds_per_step:.2f}" for row in rows]
    names = [row.name for row in rows]
    table = [list(cells) for cells in zip(names, *columns.values(), strict=True)]
    clips = max((interval.n for row in rows for interval in row.scores.values()), default=0)
    note = (
        f"Mean over up to {clips} clips with its 95 % bootstrap interval; one training per row."
        f" Bold: the paired difference to row {REFERENCE} leaves zero out. Steps and audio include"
        " stage 1; seconds per step are those of the last stage."
    )
    lines = [note, "", markdown_table(["row", *columns], table), ""]
    return "\n".join([*lines, *(f"- {row.name}: {row.what}" for row in rows), ""])


def _score(row: AblationRow, metric: str) -> str:
    if metric not in row.scores:
        return ""
    digits = METRICS[metric].digits
    text = format_interval(row.scores[metric], percent=False, digits=digits)
    return f"**{text}**" if row.clear.get(metric) else text


def _joined(values: Sequence[float], digits: int = 0) -> str:
    return " / ".join(f"{value:.{digits}f}" for value in values)


def _percent(interval: Interval | None) -> str:
    return "" if interval is None else format_interval(interval)


def main(argv: Sequence[str] | None = None) -> None:
    """Write the table from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="run folder of the ablation")
    parser.add_argument("--rows", nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True, help="table.md; table.json beside it")
    args = parser.parse_args(argv)
    rows = collect(args.run, args.rows)
    text = to_markdown(rows)
    values: dict[str, Any] = {"rows": [asdict(row) for row in rows]}
    write_json(args.out.with_suffix(".json"), values)
    write_text(args.out, text)
    print(text)
