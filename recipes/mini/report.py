"""The report of a demo run: figures, players, training curves and limits on one HTML page."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from almtok.core.audio import Waveform, read_audio
from almtok.core.files import file_name, write_text
from almtok.core.report.curves import read_curves
from almtok.core.report.figures import CurveChart, curve_chart, flac_url, spectrogram_url
from almtok.core.report.render import render
from almtok.tasks.evaluation.diff import word_diff

from ..former_names import record_file
from .judging import RATE, rows_of

_SHOWN = 6  # clips of each domain
_CURVES = (("stage1", "loss"), ("stage2", "loss"), ("lm", "losses.text"), ("lm", "losses.audio_1"))
Facts = dict[str, Any]
Card = dict[str, Any]  # title, audio, lines: what a card of the page shows


def write_report(run: Path, out: Path) -> None:
    """Write the page of a finished run.

    Args:
        run: folder of the demo.
        out: the HTML file; everything is inside it.
    """
    lines = (run / "scores" / "clips.jsonl").read_text(encoding="utf-8").split("\n")
    facts = [json.loads(line) for line in lines if line]
    judged = _read_json(run / "comparison" / "comparison.json")
    figures = _read_json(run / "scores" / "table.json")["figures"]
    wavs = {row["id"]: row["wav"] for row in rows_of(run / "language-corpus")}
    speech, sound, music = (
        [clip for clip in facts if clip["domain"] == domain][:_SHOWN]
        for domain in ("speech", "sound", "music")
    )
    classes = {clip["id"]: clip["made"] for clip in judged["sounds"]}
    codec_report = run / "reconstruction" / "report.html"
    html = render(
        "demo.html",
        title="almtok demo",
        word_error_rates=[figure for figure in figures if figure["name"].startswith("WER")],
        other_figures=[figure for figure in figures if not figure["name"].startswith("WER")],
        sounds=_class_rates(judged["sounds"]),
        tts=[_tts_card(run, clip) for clip in speech],
        asr=[_asr_card(clip, wavs[clip["id"]]()) for clip in speech],
        generated=[
            _generated_card(run, clip, classes.get(clip["id"])) for clip in [*sound, *music[:2]]
        ],
        captions=[_caption_card(clip, wavs[clip["id"]]()) for clip in [*sound[:4], *music[:2]]],
        voice=_voice(run, judged["voice"]),
        codec_report=codec_report.relative_to(run).as_posix() if codec_report.exists() else "",
        charts=_charts(run),
        times=_times(run),
    )
    write_text(out, html)


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _audio(wav: Waveform) -> Facts:
    return {"audio": flac_url(wav, RATE), "spectrogram": spectrogram_url(wav, RATE)}


def _audio_file(path: Path) -> Facts | None:
    return _audio(read_audio(path, RATE)) if path.exists() else None


def _tts_card(run: Path, clip: Facts) -> Card:
    lines = [("own ASR recognises", word_diff(clip["text"], clip["tts_own"]))]
    if "judge_tts" in clip:
        lines.append(("pocketsphinx recognises", word_diff(clip["text"], clip["judge_tts"])))
    audio = _audio_file(run / "scores" / "audio" / f"{file_name(clip['id'])}.tts.flac")
    return {"title": clip["text"], "audio": audio, "lines": lines}


def _asr_card(clip: Facts, wav: Waveform) -> Card:
    lines = [("said", clip["text"]), ("transcript", word_diff(clip["text"], clip["asr"]))]
    return {"title": "a recording", "audio": _audio(wav), "lines": lines}


def _generated_card(run: Path, clip: Facts, label: str | None) -> Card:
    audio = _audio_file(run / "scores" / "audio" / f"{file_name(clip['id'])}.made.flac")
    lines = [("class by a classifier of recordings:", label)] if label else []
    return {"title": clip["text"], "audio": audio, "lines": lines}


def _caption_card(clip: Facts, wav: Waveform) -> Card:
    lines = [("reference", clip["text"])]
    return {"title": clip["caption"] or "nothing", "audio": _audio(wav), "lines": lines}


def _class_rates(sounds: Sequence[Facts]) -> list[tuple[str, float, int]]:
    """How often a classifier of recordings gives the right class: name, percent, clips."""
    rates = []
    for column, words in (
        ("made", "generated from the caption"),
        ("through_codec", "recordings through the codec"),
        ("original", "recordings"),
    ):
        if sounds:
            hits = sum(clip[column] == clip["kind"] for clip in sounds)
            name = f"class accuracy by a classifier of recordings, {words} (%)"
            rates.append((name, 100 * hits / len(sounds), len(sounds)))
    return rates


def _voice(run: Path, voice: Facts) -> Facts:
    whens = ("before", "after")
    sentences = [
        {"text": text}
        | {when: _audio_file(run / "comparison" / f"{when}-{number}.flac") for when in whens}
        for number, text in enumerate(voice["texts"])
    ]
    losses = [" / ".join(f"{loss:.2f}" for loss in voice[when]) for when in whens]
    return voice | {"sentences": sentences, "losses": losses}


def _charts(run: Path) -> list[CurveChart]:
    charts = []
    for stage, name in _CURVES:
        log = run / stage / "metrics.jsonl"
        series = read_curves(log).series if log.exists() else {}
        if name in series:
            charts.append(curve_chart(f"{stage}: {name.removeprefix('losses.')}", *series[name]))
    return [chart for chart in charts if chart is not None]


def _times(run: Path) -> list[list[str]]:
    """Rows of the table of stages: name, time."""
    stages = _read_json(record_file(run))["stages"]
    seconds = {name: stage["seconds"] for name, stage in stages.items() if stage["seconds"]}
    rows = [[name, f"{spent:.0f} s"] for name, spent in seconds.items()]
    return [*rows, ["total", f"{sum(seconds.values()) / 60:.1f} min"]]


def main(argv: Sequence[str] | None = None) -> None:
    """Write the report of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of the demo")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    write_report(args.run, args.out)
    print(f"open {args.out} in a browser")
