"""WebDataset: tar files whose members ``KEY.wav``, ``KEY.txt``, ``KEY.json`` are one sample."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..audio import AUDIO_SUFFIXES, AudioError
from ..reading import reading
from .columns import SourceReport, lower_names

_BLOCK = 512  # bytes of a tar header; it is directly before the data of its member
_LONGEST_TEXT = 1 << 20  # bytes


def read_samples(
    path: Path, report: SourceReport
) -> Iterator[tuple[str, str, int, dict[str, Any]]]:
    """Yield the place, the key, the row and the columns of each sample with audio.

    The row is the place of the audio in the file, for :func:`read_member`. ``KEY.json`` holds
    columns, ``KEY.txt`` the column ``text``; other members are counted as not read.

    Args:
        path: An uncompressed tar file.
        report: Counts other members, and samples without audio.

    Raises:
        ValueError: It is no tar file, is compressed, or a member cannot be parsed; the message
            names the member.
    """
    with reading(path), open(path, "rb") as raw:
        if raw.read(2) == b"\x1f\x8b":
            raise ValueError(f"{path} is compressed, which allows no random access: gunzip it")
    key = ""
    sample: dict[str, Any] = {}
    with reading(path), tarfile.open(path, "r:") as tar:
        for member in tar:
            if not member.isfile() or os.path.basename(member.name).startswith("."):
                continue
            stem, suffix = _split_name(member.name)
            if stem != key:
                yield from _sample(path, key, sample, report)
                key, sample = stem, {}
            _add(tar, member, f".{suffix.lower()}", f"{path} member {member.name}", sample, report)
        yield from _sample(path, key, sample, report)


def read_member(path: str, row: int) -> bytes:
    """Read the audio of a sample.

    Raises:
        AudioError: The file is missing, or has no member at this place.
    """
    try:
        with open(path, "rb") as file:
            file.seek(row)
            size = tarfile.TarInfo.frombuf(file.read(_BLOCK), "utf-8", "surrogateescape").size
            data = file.read(size)
    except FileNotFoundError as error:
        raise AudioError("missing", f"{path} ({error.strerror})") from error
    except (OSError, tarfile.TarError) as error:
        raise AudioError("corrupt", f"{path} at byte {row}: {error}") from error
    if len(data) < size:
        raise AudioError("truncated", f"{path} ends within a member of {size} bytes")
    return data


def _split_name(name: str) -> tuple[str, str]:
    """Key and suffix: WebDataset cuts a name at the first dot behind its folder."""
    folder, _, base = name.rpartition("/")
    stem, _, suffix = base.partition(".")
    return (f"{folder}/{stem}" if folder else stem), suffix


def _add(
    tar: tarfile.TarFile,
    member: tarfile.TarInfo,
    suffix: str,
    where: str,
    sample: dict[str, Any],
    report: SourceReport,
) -> None:
    if suffix in AUDIO_SUFFIXES:
        if "row" in sample:
            raise ValueError(f"{where}: the sample has two audio files")
        sample["row"] = member.offset_data - _BLOCK
        return
    if suffix not in (".txt", ".json") or member.size > _LONGEST_TEXT:
        report.unread[suffix] += 1
        return
    file = tar.extractfile(member)
    assert file is not None
    with reading(where):
        text = file.read().decode("utf-8")
        if suffix == ".txt":
            sample["text"] = {"text": " ".join(text.split())}
            return
        columns = json.loads(text)
    if not isinstance(columns, dict):
        raise ValueError(f"{where}: expected a JSON object, got {text[:40]!r}")
    sample["json"] = dict(zip(lower_names(columns, where), columns.values(), strict=True))


def _sample(
    path: Path, key: str, sample: dict[str, Any], report: SourceReport
) -> Iterator[tuple[str, str, int, dict[str, Any]]]:
    if "row" in sample:
        columns = {**sample.get("json", {}), **sample.get("text", {})}
        yield f"{path} sample {key}", key, sample["row"], columns
    elif sample:
        report.unread["samples without audio"] += 1
