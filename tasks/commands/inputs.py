"""What a command is given: texts, lines of a batch, audio files, standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FIELDS = frozenset({"id", "text", "voice", "voice_text", "seed"})


@dataclass(frozen=True)
class TextItem:
    """One text to make audio of."""

    id: str  # name of the file in a folder
    text: str
    seed: int
    voice: str | None = None
    voice_text: str | None = None


@dataclass(frozen=True)
class AudioItem:
    """One audio to listen to."""

    id: str
    source: Any  # a path, or bytes


def text_items(
    texts: Sequence[str],
    batch: Path | None,
    *,
    seed: int,
    voice: str | None = None,
    voice_text: str | None = None,
) -> list[TextItem]:
    """Items of a command line: texts, .txt files, `-`, or a batch; item i has `seed + i`.

    Raises:
        ValueError: if there is nothing, both, or a line that is not understood.
    """
    if bool(texts) == (batch is not None):
        raise ValueError("give texts (or - for standard input), or --batch FILE")
    if voice_text is not None and voice is None:
        raise ValueError("--voice-text came without --voice, to which it belongs")
    lines = _read_batch(batch) if batch is not None else [_given(text) for text in texts]
    width = max(4, len(str(len(lines))))
    items = []
    for number, line in enumerate(lines):
        own = line.get("voice")
        items.append(
            TextItem(
                id=safe_name(str(line.get("id") or f"{number + 1:0{width}d}")),
                text=line["text"],
                seed=int(line.get("seed", seed + number)),
                voice=own if own is not None else voice,
                voice_text=line.get("voice_text") if own is not None else voice_text,
            )
        )
    _refuse_twins([item.id for item in items])
    return items


def audio_items(given: Sequence[str]) -> list[AudioItem]:
    """Audio and token files, those inside folders, and `-`.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a folder holds none, or two files have one name.
    """
    from ...core.audio import AUDIO_SUFFIXES

    suffixes = AUDIO_SUFFIXES | {".safetensors"}
    items: list[AudioItem] = []
    for name in given:
        path = Path(name)
        if name == "-":
            items.append(AudioItem("stdin", sys.stdin.buffer.read()))
        elif path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes)
            if not inside:
                raise ValueError(f"{path} holds no audio and no token file")
            items += [AudioItem(file.stem, file) for file in inside]
        elif path.exists():
            items.append(AudioItem(path.stem, path))
        else:
            raise FileNotFoundError(2, "No such file or directory", str(path))
    _refuse_twins([item.id for item in items])
    return items


def load_audio(item: AudioItem) -> Any:
    """What a task takes: tokens of a token file, else the path or the bytes."""
    if isinstance(item.source, Path) and item.source.suffix.lower() == ".safetensors":
        from ...codec.tokens import AudioTokens

        return AudioTokens.load(item.source)
    return item.source


def _given(text: str) -> dict[str, Any]:
    if text == "-":
        return {"id": "stdin", "text": sys.stdin.read()}
    path = Path(text)
    if path.suffix.lower() == ".txt" and len(text) < 4096:
        if not path.is_file():
            raise FileNotFoundError(2, "No such file or directory", text)
        return {"id": path.stem, "text": path.read_text(encoding="utf-8-sig", errors="replace")}
    return {"text": text}


def _read_batch(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    if path.suffix.lower() != ".jsonl":
        found: list[dict[str, Any]] = [{"text": line} for line in lines if line.strip()]
    else:
        found = [
            _json_line(line, f"{path}, line {number}")
            for number, line in enumerate(lines, start=1)
            if line.strip()
        ]
    if not found:
        raise ValueError(f"{path} has no text in it")
    return found


def _json_line(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where} is no JSON: {error}") from error
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise ValueError(f'{where}: expected {{"text": "...", ...}}; came {line[:80]}')
    if strange := sorted(set(row) - _FIELDS):
        raise ValueError(
            f"{where}: unknown {', '.join(strange)}; known are {', '.join(sorted(_FIELDS))}"
        )
    return row


def safe_name(name: str) -> str:
    """An id as a file name: no folders, nothing hidden."""
    safe = "".join(char if char.isalnum() or char in "._-+@" else "_" for char in name)
    return safe.lstrip(".")[:120] or "_"


def _refuse_twins(names: Sequence[str]) -> None:
    twins = sorted({name for name in names if names.count(name) > 1})
    if twins:
        raise ValueError(f"two inputs would both be written as {twins[0]!r}: give them other names")
