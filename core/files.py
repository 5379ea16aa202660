"""Atomic writes by renaming, and append-only JSON Lines files."""

from __future__ import annotations

import contextlib
import ctypes
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

LOCK_FILE = ".lock"


@contextmanager
def lock_run_dir(run: Path, name: str = LOCK_FILE) -> Iterator[None]:
    """Lock the run folder inside this block: two runs in it would overwrite each other's files.

    The system releases the lock when the process ends in any way. Of the processes of one run only
    the first takes it. Where files cannot be locked (Windows) nothing is locked.

    Args:
        run: The folder; made if it is missing.
        name: Of the lock file.

    Raises:
        ValueError: Another process is working in the folder.
    """
    run.mkdir(parents=True, exist_ok=True)
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(run / name, "a+", encoding="utf-8") as file:
        try:
            # Not flock: data loading processes would inherit it and outlive a killed parent.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.seek(0)
            raise ValueError(
                f"process {file.read().strip() or 'unknown'} is working in {run}:"
                " wait for it, stop it, or choose another --out"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a file atomically; missing folders are created."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a UTF-8 file atomically; missing folders are created."""
    write_bytes(path, text.encode())


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write JSON with an indent of one, atomically."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def cut_name(name: str, limit: int = 200) -> str:
    """Cut a file name to ``limit`` bytes of UTF-8; a cut name ends with a hash of the whole.

    File systems allow 255 bytes, including suffixes.

    Example:
        >>> cut_name("a talk"), cut_name("ä" * 300, 20)
        ('a talk', 'äääää-17295679')
    """
    encoded = os.fsencode(name)
    if len(encoded) <= limit:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:8]
    return f"{encoded[: limit - 9].decode(errors='ignore')}-{digest}"


def file_name(name: str) -> str:
    """A file name without folders for an id, at most 120 bytes; different ids get different names.

    Example:
        >>> file_name("a-1.wav"), file_name("a/1.wav"), file_name("a 1.wav")
        ('a-1.wav', 'a_1.wav-dc5778f7', 'a_1.wav-262133dd')
    """
    safe = "".join(char if char.isalnum() or char in "._-+@" else "_" for char in name).lstrip(".")
    if safe == name and name and len(name.encode()) <= 100:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe.encode()[:100].decode(errors='ignore') or '_'}-{digest}"


@contextlib.contextmanager
def replaced_file(place: Path) -> Iterator[BinaryIO]:
    """Yield a file that replaces ``place`` if the block raises no exception.

    It is written beside the old one, and is on the disk before it gets the name.
    """
    new = place.with_name(f"{place.name}.tmp-{os.getpid()}")
    try:
        with open(new, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, place)
    finally:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)


@contextlib.contextmanager
def replaced_folder(place: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces ``place`` if the block raises no exception.

    The new folder is written beside the old one. A crash at any moment leaves the old or the new
    one in ``place``; where the system cannot exchange two folders (not on Linux), perhaps beside
    it, from where the next call of this function or of :func:`recover_folder` brings it back.
    """
    recover_folder(place)
    new = place.with_name(f"{place.name}.tmp-{os.getpid()}")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        yield new
        swap_in(new, place)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def swap_in(new: Path, place: Path) -> None:
    """Put a complete folder in place of another, which is deleted last."""
    for path in (*new.rglob("*"), new):
        sync(path)
    if not place.exists():
        new.replace(place)
    elif _exchange(new, place):
        shutil.rmtree(new, ignore_errors=True)
    else:
        old = place.with_name(f"{place.name}.old-{os.getpid()}")
        shutil.rmtree(old, ignore_errors=True)
        place.replace(old)
        try:
            new.replace(place)
        except OSError:
            old.replace(place)
            raise
        shutil.rmtree(old, ignore_errors=True)
    sync(place.parent)


def recover_folder(place: Path) -> None:
    """Bring back a folder that a crash between two renames of :func:`swap_in` left aside."""
    if place.exists() or not place.parent.is_dir():
        return
    aside = sorted(place.parent.glob(f"{glob.escape(place.name)}.old-*"), key=_modified)
    if aside:
        aside[-1].replace(place)


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file or folder a second place, by hard links where the file system has them."""
    if source.is_dir() and not source.is_symlink():
        shutil.copytree(source, target, symlinks=True, copy_function=_link_file)
    else:
        _link_file(source, target)


def _link_file(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def sync(path: Path) -> None:
    """Write a file or the entries of a folder to the disk, where the system can."""
    with contextlib.suppress(PermissionError):  # folders on Windows
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step of the file system; False where that is not possible."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # not Linux
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(rename(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0)


def _modified(path: Path) -> float:
    return path.stat().st_mtime


def append_json_line(path: Path, value: Any) -> None:
    """Append a line to a JSON Lines file; it is on disk when this returns."""
    with open(path, "ab") as file:
        file.write(json.dumps(value, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def complete_lines(path: Path, *, repair: bool = True) -> list[bytes]:
    """Read the complete lines of a file that a killed process may have left incomplete.

    Args:
        path: The file.
        repair: Remove an incomplete last line from the file, so that lines can be appended.
    """
    content = path.read_bytes()
    complete = content[: content.rfind(b"\n") + 1]
    if repair and len(complete) < len(content):
        os.truncate(path, len(complete))
    return complete.splitlines()


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """Yield each folder below a folder, its folders and its files, as ``os.walk`` does.

    Hidden files and folders are left out. Links to folders are followed; a folder that is reached
    twice is yielded once, so that loops end. Folders removed from the list are not entered.

    Raises:
        OSError: A folder cannot be read.
    """
    seen: set[tuple[int, int]] = set()
    for root, folders, names in os.walk(folder, followlinks=True, onerror=_raise):
        place, status = Path(root), os.stat(root)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        visible = (name for name in folders if not name.startswith("."))
        folders[:] = sorted(visible, key=lambda name: (os.path.islink(place / name), name))
        yield place, folders, sorted(name for name in names if not name.startswith("."))


def files_below(folder: Path, suffixes: Collection[str]) -> list[Path]:
    """The files of some suffixes (in lower case) below a folder, sorted; see :func:`walk`."""
    return sorted(
        place / name
        for place, _, names in walk(folder)
        for name in names
        if os.path.splitext(name)[1].lower() in suffixes
    )


def _raise(error: OSError) -> None:
    raise error
