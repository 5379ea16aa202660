"""One page on a run of the demo: what it says, hears and makes, and what it cannot do."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from almtok.codec.evaluation.listen import player
from almtok.core.audio import read_audio
from almtok.core.files import write_text
from almtok.core.report.curves import read_curves
from almtok.core.report.figures import curve_chart, spectrogram_png
from almtok.core.report.page import html_table, page, section
from almtok.tasks.commands.inputs import safe_name
from almtok.tasks.evaluation.diff import word_diff

from .judging import RATE, rows_of

_SHOWN = 6  # clips of each kind
_CURVES = (("stage1", "loss"), ("stage2", "loss"), ("lm", "losses.text"), ("lm", "losses.audio_1"))
Facts = dict[str, Any]


def write_report(run: Path, out: Path) -> None:
    """Write the page of a finished run.

    Args:
        run: folder of the demo.
        out: the HTML file; everything is inside it.
    """
    facts = [json.loads(line) for line in _lines(run / "scores" / "clips.jsonl")]
    judged = json.loads((run / "judged" / "judged.json").read_text(encoding="utf-8"))
    table = json.loads((run / "scores" / "table.json").read_text(encoding="utf-8"))
    wavs = {row["id"]: row["wav"] for row in rows_of(run / "lessons")}
    speech, sound, music = (
        [one for one in facts if one["domain"] == domain][:_SHOWN]
        for domain in ("speech", "sound", "music")
    )
    kinds = {one["id"]: one["made"] for one in judged["sounds"]}
    parts = [
        ("numbers", "Numbers", _numbers(table, judged)),
        ("speaks", "It speaks", _cards(_spoken(run, one) for one in speech)),
        ("hears", "It hears", _cards(_heard(wavs, one) for one in speech)),
        ("makes", "It makes sounds and music of a description",
         _cards(_made(run, one, kinds.get(one["id"])) for one in [*sound, *music[:2]])),
        ("describes", "It describes", _cards(_told(wavs, one) for one in [*sound[:4], *music[:2]])),
        ("voice", "It learns a new voice", _voice(run, judged["voice"])),
        ("codec", "The codec of this run", _codec(run)),
        ("training", "Training", _curves(run) + _times(run)),
        ("limits", "What it cannot do", _LIMITS),
    ]  # fmt: skip
    links = "".join(f'<a href="#{a}">{escape(title)}</a>' for a, title, body in parts if body)
    body = "".join(section(*part) for part in parts)
    write_text(out, page("almtok demo", f"<h1>almtok demo</h1>{_HEAD}<nav>{links}</nav>{body}"))


_HEAD = """<p>Everything here was made on this machine by <code>make demo</code>: a corpus by
programs, a codec in two stages, and a language model on the codes of the codec that comes with
almtok. The clips below are of the test split: no sentence of it was in training, though every word
was.</p>"""

_LIMITS = """<ul>
<li>It knows 93 English words, one synthetic voice, 16 kinds of sound and eight instruments. Other
words come out as some of these.</li>
<li>It tells what sounds, but badly how often, and of tunes more often than not another
instrument.</li>
<li>It speaks with the voice of the codec at 412 bit/s: a vocoder's sound.</li>
<li>Its own ASR has learned from the same voices as its TTS, so that each is kind to the other; the
independent recogniser is not, and it knows the grammar of the sentences.</li>
<li>The codec trained in this run is tiny and saw minutes of audio. It shows that both stages work,
not how good the method is.</li></ul>"""


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def _cards(cards: Any) -> str:
    return f'<div class="grid">{"".join(cards)}</div>'


def _card(title: str, *parts: str) -> str:
    return f'<div class="card"><h3>{escape(title)}</h3>{"".join(parts)}</div>'


def _words(wanted: str, heard: str) -> str:
    """What was heard, with what is wrong in red."""
    shown = []
    for word in word_diff(wanted, heard).words:
        if word.kind == "same":
            shown.append(escape(word.heard))
        else:
            shown.append(f'<span class="bad">{escape(word.heard or "–")}</span>')
    return " ".join(shown) or "nothing"


def _sound(wav: Any) -> str:
    return f'<img class="spec" alt="" src="{spectrogram_png(wav, RATE)}">{player(wav)}'


def _file(path: Path) -> str:
    return _sound(read_audio(path, RATE)) if path.exists() else ""


def _soft(label: str, words: str) -> str:
    return f'<p><span class="soft">{escape(label)}</span> {words}</p>'


def _spoken(run: Path, one: Facts) -> str:
    said = _file(run / "scores" / "audio" / f"{safe_name(one['id'])}.tts.flac")
    heard = [_soft("own ASR hears", _words(one["text"], one["tts_own"]))]
    if "judge_tts" in one:
        heard.append(_soft("pocketsphinx hears", _words(one["text"], one["judge_tts"])))
    return _card(one["text"], said, *heard)


def _heard(wavs: dict[str, Any], one: Facts) -> str:
    said = _soft("said", escape(one["text"]))
    return _card("a recording", _sound(wavs[one["id"]]()), said,
                 _soft("written", _words(one["text"], one["asr"])))  # fmt: skip


def _made(run: Path, one: Facts, kind: str | None) -> str:
    made = _file(run / "scores" / "audio" / f"{safe_name(one['id'])}.made.flac")
    named = _soft("a classifier of recordings says", escape(kind)) if kind else ""
    return _card(one["text"], made, named)


def _told(wavs: dict[str, Any], one: Facts) -> str:
    truth = _soft("it is", escape(one["text"]))
    return _card(one["caption"] or "nothing", _sound(wavs[one["id"]]()), truth)


def _numbers(table: Facts, judged: Facts) -> str:
    head = ("figure", "task", "value", "clips")
    main: list[list[str]] = []
    rest: list[list[str]] = []
    for one in table["figures"]:
        name = str(one["name"])
        row = [escape(name), escape(one["task"]), _value(one), str(one["value"]["n"])]
        (main if name.startswith("WER") else rest).append(row)
    sounds, count = judged["sounds"], len(judged["sounds"])
    for column, words in (
        ("made", "what was made of the caption"),
        ("through_codec", "recordings through the codec"),
        ("original", "recordings"),
    ):
        if not count:
            break
        hits = sum(one[column] == one["kind"] for one in sounds)
        name = f"class named by a classifier of recordings, {words} (%)"
        main.append([name, "text_to_audio", f"{100 * hits / count:.0f}", str(count)])
    more = f"<details><summary>All figures</summary>{html_table(head, rest)}</details>"
    return html_table(head, main) + more


def _value(figure: Facts) -> str:
    value, factor = figure["value"], 100 if figure["percent"] else 1
    digits = 0 if figure["percent"] else 2
    mean, low, high = (f"{factor * value[name]:.{digits}f}" for name in ("mean", "low", "high"))
    return f"{mean} <small>{low} … {high}</small>"


def _voice(run: Path, voice: Facts) -> str:
    cards = []
    for number, text in enumerate(voice["texts"]):
        sounds = []
        for when in ("before", "after"):
            sounds.append(_soft(when, "") + _file(run / "judged" / f"{when}-{number}.flac"))
        cards.append(_card(text, *sounds))
    losses = [" / ".join(f"{loss:.2f}" for loss in voice[when]) for when in ("before", "after")]
    rows = [
        ["nats per code of sentences it has not seen, layers 1 / 2 / 3", *losses],
        [f"pitch of what it says (the voice: {voice['pitch']:.0f} Hz)",
         f"{voice['pitch_before']:.0f} Hz", f"{voice['pitch_after']:.0f} Hz"],
    ]  # fmt: skip
    said = "<p>A LoRA adapter on two minutes of a voice that the model had not heard.</p>"
    return said + html_table(("", "before", "after"), rows) + _cards(cards)


def _codec(run: Path) -> str:
    page_of_it = run / "there-and-back" / "report.html"
    link = page_of_it.relative_to(run).as_posix()
    words = (
        "A tiny codec, trained from nothing for some minutes, beside the one that comes with "
        f'almtok: <a href="{escape(link)}">held-out clips there and back, scores, spectrograms, '
        "codes</a>."
    )
    return f"<p>{words}</p>" if page_of_it.exists() else ""


def _curves(run: Path) -> str:
    charts = []
    for stage, name in _CURVES:
        log = run / stage / "metrics.jsonl"
        series = read_curves(log).series if log.exists() else {}
        if name in series:
            chart = curve_chart(f"{stage}: {name.removeprefix('losses.')}", *series[name])
            charts.append(f'<div class="card">{chart}</div>')
    return _cards(charts)


def _times(run: Path) -> str:
    story = json.loads((run / "story.json").read_text(encoding="utf-8"))
    seconds = {name: stage["seconds"] for name, stage in story["stages"].items()}
    rows = [[escape(name), f"{spent:.0f} s"] for name, spent in seconds.items() if spent]
    whole = sum(spent for spent in seconds.values() if spent)
    return html_table(("stage", "time"), [*rows, ["together", f"{whole / 60:.1f} min"]])


def main(given: Sequence[str] | None = None) -> None:
    """Write the report of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of the demo")
    parser.add_argument("--out", type=Path, required=True)
    o = parser.parse_args(given)
    write_report(o.run, o.out)
    print(f"open {o.out} in a browser")
