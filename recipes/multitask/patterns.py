r"""The four patterns of codes side by side: one short training each, then speech in and out.

    python -c "from almtok.recipes.multitask.patterns import main; main()" \
        --tokens runs/demo/tokens --held-out runs/demo/tokens --codec checkpoints/mini/codec \
        --test runs/demo/lessons/manifest.jsonl:test --grammar runs/demo/lessons/grammar.jsgf \
        --out runs/patterns

Every training and every evaluation is a process of its own, so that its peak memory is its own.
What is done is not done again.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from almtok.core.files import write_json, write_text

from . import recipe

PATTERNS = ("depth", "delay", "parallel", "flat")
# A row of `flat` is one code: the same examples take so many more positions.
_LONGER = {"flat": 2.3}


@dataclass(frozen=True)
class Outcome:
    """What one pattern came to."""

    pattern: str
    text_loss: float  # nats per id, held-out transcripts
    code_losses: tuple[float, ...]  # nats per code, by layer, held-out speech
    asr_wer: float
    tts_wer: float  # heard by its own ASR
    judged_wer: float | None  # heard by the independent recogniser
    step_seconds: float  # of training
    tts_rtf: float  # seconds of computing per second of speech, the codec's decoding included
    training_mb: float
    speaking_mb: float

    def cells(self) -> list[str]:
        """A row of the table."""
        codes = " / ".join(f"{loss:.2f}" for loss in self.code_losses)
        return [
            self.pattern, f"{self.text_loss:.2f}", codes, f"{100 * self.asr_wer:.0f}",
            f"{100 * self.tts_wer:.0f}",
            "" if self.judged_wer is None else f"{100 * self.judged_wer:.0f}",
            f"{self.step_seconds:.2f}", f"{self.tts_rtf:.3f}",
            f"{self.training_mb:.0f}", f"{self.speaking_mb:.0f}",
        ]  # fmt: skip


HEAD = (
    "pattern", "text, nats", "codes 1 / 2 / 3, nats", "ASR WER %", "TTS WER %, own ASR",
    "TTS WER %, pocketsphinx", "training, s/step", "TTS RTF", "training, peak MB",
    "evaluation, peak MB",
)  # fmt: skip


def study(options: argparse.Namespace) -> list[Outcome]:
    """Train and judge every pattern."""
    return [_outcome(name, options) for name in PATTERNS]


def _outcome(name: str, options: argparse.Namespace) -> Outcome:
    place = Path(options.out, "patterns", name)
    config = recipe.pattern(
        name, options.tokens, options.held_out, options.out, options.codec, steps=options.steps,
        batch_positions=round(options.positions * _LONGER.get(name, 1.0)),
    )  # fmt: skip
    write_json(place / "lm.json", config.to_dict())
    training = _almtok(place / "training.json", "lm", "train", "--config", str(place / "lm.json"))
    judged = _almtok(
        place / "judged.json", "lm", "evaluate", "--checkpoint", str(place / "lm"),
        "--data", *options.test, "--domains", "speech", *_judge(options),
        "--limit", str(options.limit), "--keep-audio", "1", "--out", str(place / "scores"),
    )  # fmt: skip
    lines = [json.loads(line) for line in (place / "lm/metrics.jsonl").read_text().splitlines()]
    held_out = next(line["validation"] for line in reversed(lines) if "validation" in line)
    codes = held_out["tts"]["losses"]
    figures = json.loads((place / "scores/table.json").read_text())["figures"]
    return Outcome(
        pattern=name,
        text_loss=held_out["asr"]["losses"]["text"],
        code_losses=tuple(codes[key] for key in sorted(codes) if key.startswith("audio")),
        asr_wer=_figure(figures, "WER, own ASR on recordings"),
        tts_wer=_figure(figures, "WER, own ASR on its own speech"),
        judged_wer=None if options.grammar is None else _figure(figures, "WER", "made"),
        step_seconds=training["seconds"] / options.steps,
        tts_rtf=_figure(figures, "RTF", task="tts"),
        training_mb=training["mb_peak"],
        speaking_mb=judged["mb_peak"],
    )


def _judge(options: argparse.Namespace) -> list[str]:
    """Nobody but the model itself, unless a grammar says what can be heard."""
    if options.grammar is None:
        return ["--recogniser", "none"]
    return ["--grammar", str(options.grammar), "--cache", str(options.out)]


def _figure(figures: Sequence[Any], name: str, last: str = "", task: str | None = None) -> float:
    """The mean of the figure whose name begins so, and has such a word behind."""
    for figure in figures:
        begins = figure["name"].startswith(name) and last in figure["name"].split(" on ")[-1]
        if begins and task in (None, figure["task"]):
            return float(figure["value"]["mean"])
    raise ValueError(f"the evaluation has no figure {name!r} {last!r}")


def _almtok(facts: Path, *command: str) -> Any:
    """Run one command; its seconds and peak memory are kept, and not measured again."""
    if facts.exists():
        return json.loads(facts.read_text())
    start = time.perf_counter()
    child = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-m", "almtok", *command])
    _, status, usage = os.wait4(child, 0)
    if status:
        raise ValueError(
            f"almtok {' '.join(command[:2])} ended with {os.waitstatus_to_exitcode(status)}"
        )
    kilo = 1e3 if sys.platform == "darwin" else 1.0  # bytes there, kilobytes elsewhere
    said = {
        "seconds": time.perf_counter() - start,
        "mb_peak": usage.ru_maxrss / kilo * 1024 / 1e6,
    }
    write_json(facts, said)
    return said


def table(outcomes: Sequence[Outcome]) -> str:
    """Markdown."""
    rows = [HEAD, ["---", *["---:"] * (len(HEAD) - 1)], *(one.cells() for one in outcomes)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def main(given: Sequence[str] | None = None) -> None:
    """Run the study as the command line asks, see the head of this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--tokens", nargs="+", required=True, metavar="DIR", help="to learn from")
    add("--held-out", nargs="+", required=True, metavar="DIR", help="to measure losses on")
    add("--test", nargs="+", required=True, metavar="SRC", help="recordings with texts")
    add("--codec", required=True, metavar="DIR")
    add("--out", required=True, metavar="DIR")
    add("--steps", type=int, default=1000, help="of each training (default %(default)s)")
    add("--positions", type=int, default=1024, help="of a step (default %(default)s; flat: 2.3 x)")
    add("--limit", type=int, default=40, help="clips to judge on (default %(default)s)")
    add(
        "--grammar",
        metavar="FILE",
        help="JSGF for the independent recogniser (default: it is not asked)",
    )
    outcomes = study(parser.parse_args(given))
    place = Path(parser.parse_args(given).out, "patterns", "table.md")
    write_text(place, table(outcomes))
    print(place.read_text())
