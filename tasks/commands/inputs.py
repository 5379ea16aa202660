"""Inputs of a command: texts, batch files, audio files, standard input."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.files import cut_name, files_below
from ...core.reading import describe, read_lines
from ...core.results_log import key_of, stamp

_TABLES = frozenset({".json", ".csv", ".tsv", ".parquet"})
_KINDS: dict[str, tuple[type, ...]] = {"seed": (int,), "id": (str, int)}  # else a text
_VOICE = ("voice", "reference", "reference_text")
_FIELDS = frozenset({"id", "text", "voice", "reference", "reference_text", "seed"})


@dataclass(frozen=True)
class TextItem:
    """A text to speak, or a description.

    Attributes:
        id: name of the output file in a folder.
        text: the text.
        seed: of sampling.
        voice: name of a voice of the model.
        reference: path of a recording whose voice is to be imitated.
        reference_text: its transcript.
    """

    id: str
    text: str
    seed: int
    voice: str | None = None
    reference: str | None = None
    reference_text: str | None = None


@dataclass(frozen=True)
class AudioItem:
    """An audio file, or the bytes of one.

    Attributes:
        id: name of the output file in a folder.
        source: a path or bytes.
    """

    id: str
    source: Path | bytes

    @property
    def stamp(self) -> str:
        """Hash that changes when the file does."""
        if isinstance(self.source, bytes):
            return key_of(self.source.hex())
        try:
            return stamp(self.source)
        except OSError:
            return "missing"  # an error of this item, when it is read


def text_items(
    texts: Sequence[str],
    batch: Path | None,
    *,
    seed: int,
    voice: str | None = None,
    reference: str | None = None,
    reference_text: str | None = None,
) -> list[TextItem]:
    """Items of texts, .txt files and `-`, or of a batch file; item i has `seed + i`.

    Raises:
        ValueError: if neither or both are given, or a line of the batch is malformed.
        FileNotFoundError: if a file is missing.
    """
    if bool(texts) == (batch is not None):
        raise ValueError("give texts (or - for standard input), or --batch FILE")
    if reference_text is not None and reference is None:
        raise ValueError("--reference-text needs --reference")
    if voice is not None and reference is not None:
        raise ValueError("give --voice (a name) or --reference (a recording), not both")
    lines = _read_batch(batch) if batch is not None else [_given(text) for text in texts]
    width = max(4, len(str(len(lines))))
    items = []
    for number, line in enumerate(lines):
        own = {name: line[name] for name in _VOICE if name in line}
        spoken = own or {"voice": voice, "reference": reference, "reference_text": reference_text}
        items.append(
            TextItem(
                id=safe_name(str(line.get("id", "")) or f"{number + 1:0{width}d}"),
                text=line["text"],
                seed=int(line.get("seed", seed + number)),
                **spoken,
            )
        )
    _refuse_duplicates([item.id for item in items])
    return items


def audio_items(names: Sequence[str], *, written: bool = True) -> list[AudioItem]:
    """Items of audio and token files, of all such files in folders, and of `-`.

    Args:
        names: the arguments of a command.
        written: whether a file is written for each; else files of the same name are told apart by
            their paths.

    Raises:
        FileNotFoundError: if a file is missing.
        ValueError: if a folder holds none, or two outputs would have the same name.
    """
    from ...core.audio import AUDIO_SUFFIXES

    suffixes = AUDIO_SUFFIXES | {".safetensors"}
    items: list[AudioItem] = []
    for name in names:
        path = Path(name)
        if name == "-":
            items.append(AudioItem("stdin", sys.stdin.buffer.read()))
        elif path.is_dir():
            inside = files_below(path, suffixes)
            if not inside:
                raise ValueError(f"{path} holds no audio and no token file")
            items += [AudioItem(cut_name(file.stem), file) for file in inside]
        elif path.exists():
            items.append(AudioItem(cut_name(path.stem), path))
        else:
            raise FileNotFoundError(2, "No such file or directory", str(path))
    if written:
        _refuse_duplicates([item.id for item in items])
        return items
    counts = Counter(item.id for item in items)
    return [
        item if counts[item.id] == 1 else AudioItem(str(item.source), item.source) for item in items
    ]


def load_audio(item: AudioItem) -> Any:
    """Input of a pipeline: the tokens of a token file, else the path or the bytes."""
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
        return {"id": path.stem, "text": "".join(line for _, line in read_lines(path))}
    if path.suffix and os.path.isfile(text):
        raise ValueError(
            f"{text} is a file: texts are read from .txt, --batch or - (standard input)"
        )
    return {"text": text}


def _read_batch(path: Path) -> list[dict[str, Any]]:
    if path.suffix.lower() in _TABLES:
        raise ValueError(f"{path}: a batch is a .txt with a text per line, or a .jsonl")
    lines = [(number, line.rstrip("\r\n")) for number, line in read_lines(path) if line.strip()]
    if path.suffix.lower() != ".jsonl":
        found: list[dict[str, Any]] = [{"text": line} for _, line in lines]
    else:
        found = [_json_line(line, f"{path}, line {number}") for number, line in lines]
    if not found:
        raise ValueError(f"{path} has no text in it")
    return found


def _json_line(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not JSON: {describe(error)}") from error
    if not isinstance(row, dict) or not isinstance(row.get("text"), str):
        raise ValueError(f'{where}: a line must be {{"text": "...", ...}}, got {line[:80]}')
    if unknown := sorted(set(row) - _FIELDS):
        raise ValueError(
            f"{where}: unknown {', '.join(unknown)}; known are {', '.join(sorted(_FIELDS))}"
        )
    for name, value in row.items():
        kinds: tuple[type, ...] = _KINDS.get(name, (str,))
        if value is not None and (not isinstance(value, kinds) or isinstance(value, bool)):
            expected = {"seed": "a whole number", "id": "a text or a whole number"}
            raise ValueError(
                f"{where}: {name} must be {expected.get(name, 'a text')}, got {value!r}"
            )
        if isinstance(value, str) and not value.isascii() and _has_surrogates(value):
            raise ValueError(f"{where}: {name} has half of a surrogate pair, expected Unicode")
    if abs(row.get("seed") or 0) >= 1 << 63:
        raise ValueError(f"{where}: seed must lie in -2**63 to 2**63, got {row['seed']}")
    if row.get("reference_text") is not None and row.get("reference") is None:
        raise ValueError(f"{where}: reference_text needs reference")
    if row.get("voice") is not None and row.get("reference") is not None:
        raise ValueError(f"{where}: give voice (a name) or reference (a recording), not both")
    return {name: value for name, value in row.items() if value is not None}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        raise ValueError(f"a field occurs twice among {', '.join(name for name, _ in pairs)}")
    return row


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


def safe_name(name: str) -> str:
    """Make an id a file name without folders that is not hidden."""
    safe = "".join(char if char.isalnum() or char in "._-+@" else "_" for char in name)
    return cut_name(safe.lstrip("."), 120) or "_"


def _refuse_duplicates(names: Sequence[str]) -> None:
    duplicates = sorted(name for name, count in Counter(names).items() if count > 1)
    if duplicates:
        raise ValueError(
            f"two inputs would both be written as {duplicates[0]!r}: give them other names"
        )
