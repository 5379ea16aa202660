"""Write the readings of a plan: audio files and a manifest. A stopped run goes on.

The manifest has one line per reading, in the order of their numbers, and is appended to as they are
made: it is readable at any time, and its last line says where a stopped run goes on.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import json
import os
import threading
from collections.abc import Generator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...core.audio import AudioError, resample, write_audio
from ...core.files import complete_lines, lock_run_dir, write_json
from ...core.levels import measure_levels, normalize_loudness
from ...core.reading import UnreadableFile, describe, parse_json_object, read_json_object
from ...core.training.interrupt import Interrupt, ignore_signals
from .backends import Backend
from .checks import check_reading
from .plan import MOST_ATTEMPTS, Plan
from .texts import spoken_form

MANIFEST, LEFT_OUT, OPTIONS = "manifest.jsonl", "left_out.jsonl", "synthesis.json"
RATE = 24_000  # Hz
FORMATS = ("flac", "opus", "ogg", "wav")
_FILES_PER_FOLDER = 1000
_AHEAD = 4  # readings that wait per worker
# Readings in a row that fail before a run ends: the model, not the texts, is wrong then.
_MOST_FAILURES = 50


@dataclass(frozen=True)
class ReadingWriter:
    """Writes single readings; pickled for worker processes.

    Attributes:
        backend: What speaks.
        plan: What is read.
        out: Folder of the corpus.
        language: Of the texts.
        format: Of ``FORMATS``.
        level: Active speech level, -60 to 0 dBFS.
        licence: In the manifest.

    Raises:
        ValueError: The level is another.
    """

    backend: Backend
    plan: Plan
    out: Path
    language: str = "en"
    format: str = "flac"
    level: float = -23.0
    licence: str = ""

    def __post_init__(self) -> None:
        if not -60 <= self.level <= 0:
            raise ValueError(f"level must be between -60 and 0 dBFS, got {self.level:g}")

    def write(self, number: int) -> dict[str, Any]:
        """Write the audio of one reading and return its row of the manifest.

        Returns:
            The row, and under ``failures`` the reasons of attempts that were implausible; only
            ``id``, ``text`` and ``failures`` if all were.

        Raises:
            UnreadableFile: A file of the model is damaged.
        """
        failures: list[str] = []
        for attempt in range(MOST_ATTEMPTS):
            try:
                return {**self._attempt(number, attempt), "failures": failures}
            except AudioError as error:
                failures.append(error.reason)
            except UnreadableFile:
                raise
            except (ValueError, RuntimeError) as error:
                failures.append(describe(error)[:200])
        reading = self.plan.reading(number)
        return {"id": reading.id, "text": reading.text, "failures": failures}

    def _attempt(self, number: int, attempt: int) -> dict[str, Any]:
        reading = self.plan.reading(number, attempt)
        spoken = spoken_form(reading.text, self.language)
        wav, rate = self.backend.speak(spoken, reading.voice.recipe, reading.speed, reading.seed)
        check_reading(wav, rate, spoken, reading.speed)
        wav = resample(wav, rate, RATE)
        wav = normalize_loudness(self.level, wav, measure_levels(wav, RATE).active_dbfs)
        folder = f"audio/{number // _FILES_PER_FOLDER:04d}"
        path = f"{folder}/{reading.id}.{self.format}"
        write_audio(self.out / path, wav, RATE)
        return {
            "id": reading.id,
            "audio": path,
            "text": reading.text,
            "text_normalized": spoken,
            "speaker": reading.voice.name,
            "gender": "",
            "language": self.language,
            **self.backend.describe(reading.voice.recipe),
            "domain": "speech",
            "split": "train",
            "duration": round(len(wav) / RATE, 3),
            "synthesizer": self.backend.name,
            "voice": reading.voice.recipe,
            "speed": reading.speed,
            "seed": reading.seed,
            "licence": self.licence or self.backend.licence,
        }


@dataclass
class Tally:
    """What a corpus has so far."""

    readings: int = 0
    seconds: float = 0.0
    left_out: int = 0
    finished: bool = False  # all that was asked for is there
    failures: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    failed_in_a_row: int = 0

    def add(self, row: dict[str, Any]) -> None:
        """Count a reading by its row."""
        complete = "audio" in row
        self.failures.update(row["failures"])
        self.readings += complete
        self.left_out += not complete
        self.seconds += row.get("duration", 0.0)
        self.failed_in_a_row = 0 if complete else self.failed_in_a_row + 1

    @property
    def next_number(self) -> int:
        """Number of the reading to make next."""
        return self.readings + self.left_out

    def text(self) -> str:
        """Readings, hours and failures in one line."""
        line = f"{self.readings} readings, {self.seconds / 3600:.3f} h"
        if self.left_out:
            line += f"; {self.left_out} left out, see {LEFT_OUT}"
        if self.failures:
            common = self.failures.most_common(5)
            counts = ", ".join(f"{count} {reason}" for reason, count in common)
            line += f"; failed attempts in this run: {counts}"
        return line


def synthesize(
    writer: ReadingWriter,
    *,
    count: int | None = None,
    hours: float | None = None,
    workers: int = 1,
    overwrite: bool = False,
    progress: bool = True,
) -> Tally:
    """Make readings until there are so many, or so many hours of them.

    Args:
        writer: What is read by whom, and where it is written.
        count: Readings to try, left out ones included; default without `hours`: one per text.
        hours: Hours of audio.
        workers: Processes; their number does not change the result.
        overwrite: Delete what the folder holds of another plan.
        progress: Show a progress bar.

    Returns:
        What the folder holds now, also if the run was stopped early by a signal.

    Raises:
        ValueError: The folder holds another corpus, or another process works in it; all readings
            or fifty in a row fail.
    """
    if count is None and hours is None:
        count = len(writer.plan.texts)
    writer.out.mkdir(parents=True, exist_ok=True)
    with lock_run_dir(writer.out), Interrupt() as interrupt:
        _claim(writer, overwrite)
        tally = _resume(writer.out)

        def wanted() -> bool:
            more = count is None or tally.next_number < count
            return more and (hours is None or tally.seconds < 3600 * hours)

        with (
            open(writer.out / MANIFEST, "ab") as manifest,
            open(writer.out / LEFT_OUT, "ab") as left_out,
            _bar(tally, count, hours, progress) as bar,
            contextlib.closing(_made(writer, tally.next_number, count, workers, interrupt)) as made,
        ):
            while wanted() and (row := next(made, None)) is not None:
                tally.add(row)
                _append(manifest if "audio" in row else left_out, row)
                bar.set_postfix_str(f"{tally.seconds / 3600:.3f} h")
                bar.update(row.get("duration", 0.0) if count is None else 1)
                if tally.failed_in_a_row >= _MOST_FAILURES:
                    raise ValueError(
                        f"{_MOST_FAILURES} readings in a row failed, the last {row['text'][:40]!r}:"
                        f" {row['failures'][-1]}"
                    )
        _remove_others(writer.out, tally.next_number)
        tally.finished = not wanted()
        if tally.finished and not tally.readings:
            raise ValueError(f"{writer.out} has no audio: {tally.text()}")
    return tally


def _bar(tally: Tally, count: int | None, hours: float | None, progress: bool) -> Any:
    total: float = count if count is not None else 3600 * (hours or 0)
    initial = tally.next_number if count is not None else tally.seconds
    unit = "reading" if count is not None else " s"
    return tqdm(
        total=total, initial=initial, desc="synthesize", unit=unit, disable=not progress,
        bar_format="{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}",
    )  # fmt: skip


def _append(file: Any, row: dict[str, Any]) -> None:
    if not row["failures"]:
        row = {name: value for name, value in row.items() if name != "failures"}
    file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
    file.flush()


def _claim(writer: ReadingWriter, overwrite: bool) -> None:
    """Refuse or clear a folder that holds readings of another plan."""
    backend = writer.backend
    options = {
        "plan": writer.plan.digest(),
        "synthesizer": backend.name,
        "texts": len(writer.plan.texts),
        "voices": len(writer.plan.voices),
        "seed": writer.plan.seed,
        "speed": list(writer.plan.speed),
        "language": writer.language,
        "format": writer.format,
        "level": writer.level,
        "licence": writer.licence or backend.licence,
    }
    path = writer.out / OPTIONS
    if path.is_file():
        before = read_json_object(path)
        other = [name for name, value in options.items() if before.get(name) != value]
        if not other:
            return
        if not overwrite:
            raise ValueError(
                f"{writer.out} holds readings of other texts or options"
                f" (different: {', '.join(other)}); choose another --out, or --overwrite it"
            )
        for name in (MANIFEST, LEFT_OUT):
            (writer.out / name).unlink(missing_ok=True)
        _remove_others(writer.out, 0)
    elif (writer.out / MANIFEST).exists():
        raise ValueError(f"{writer.out} holds a manifest that is not ours; choose another --out")
    write_json(path, options)


def _resume(out: Path) -> Tally:
    """Count the readings of an interrupted run and remove unfinished lines and files."""
    tally = Tally()
    rows: dict[str, list[dict[str, Any]]] = {}
    for name in (MANIFEST, LEFT_OUT):
        lines = complete_lines(out / name) if (out / name).exists() else []
        rows[name] = [parse_json_object(line, out / name, n + 1) for n, line in enumerate(lines)]
    tally.readings, tally.left_out = len(rows[MANIFEST]), len(rows[LEFT_OUT])
    tally.seconds = sum(float(row["duration"]) for row in rows[MANIFEST])
    _remove_others(out, tally.next_number)
    return tally


def _remove_others(out: Path, end: int) -> None:
    """Delete audio that was made ahead, from a number on, and temporary files."""
    for path in out.glob("audio/*/reading-*"):
        number = path.name.split(".")[0].rpartition("-")[2]
        if ".tmp-" in path.name or int(number) >= end:
            path.unlink()


def _made(
    writer: ReadingWriter, first: int, count: int | None, workers: int, interrupt: Interrupt
) -> Generator[dict[str, Any], None, None]:
    """Yield rows in the order of their numbers until a signal arrives."""
    numbers = itertools.count(first) if count is None else iter(range(first, count))
    if workers <= 1:
        for number in numbers:
            if interrupt.signal is not None:
                return
            yield writer.write(number)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (writer,))
    waiting: collections.deque[Future[dict[str, Any]]] = collections.deque()
    try:
        while True:
            while len(waiting) < _AHEAD * workers and interrupt.signal is None:
                following = next(numbers, None)
                if following is None:
                    break
                waiting.append(pool.submit(_write, following))
            if not waiting:
                return
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise OSError(
            "a worker process ended unexpectedly (killed for memory?); the same command goes on,"
            " with fewer --workers if memory is short"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_WRITER: list[ReadingWriter] = []  # of this worker process


def _start_worker(writer: ReadingWriter) -> None:
    ignore_signals(0)
    parent = parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    _WRITER.append(writer)


def _write(number: int) -> dict[str, Any]:
    return _WRITER[0].write(number)
