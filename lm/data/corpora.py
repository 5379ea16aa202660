"""Corpora as folders of text files: Kaldi, LJSpeech, transcripts beside the audio."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...core.audio import AUDIO_SUFFIXES
from ...core.data.sources import Entry, Source, normal_split
from .recordings import Recording

# Beside a.wav; the first that exists. LibriTTS has .normalized.txt beside .original.txt.
_TEXT_SUFFIXES = (".normalized.txt", ".txt", ".lab")


def is_kaldi(folder: Path) -> bool:
    """Whether the folder is a Kaldi data folder."""
    return (folder / "wav.scp").is_file()


def kaldi_recordings(folder: Path, source: Source) -> Iterator[Recording]:
    """Recordings of a Kaldi data folder, one per utterance.

    Raises:
        ValueError: A line of ``wav.scp`` is a command: pipes are not run, they could be anything.
    """
    files = _kaldi_table(folder / "wav.scp")
    for name, place in files.items():
        if place.endswith("|"):
            raise ValueError(
                f"{folder / 'wav.scp'}: {name} is a command ({place[:40]}...), expected a file:"
                " commands are not run; write its output to a file first"
            )
    texts = _kaldi_table(folder / "text")
    speakers = _kaldi_table(folder / "utt2spk")
    languages = _kaldi_table(folder / "utt2lang")
    segments = _kaldi_segments(folder / "segments") or {name: (name, 0.0, None) for name in files}
    for name, (file, start, seconds) in segments.items():
        if file not in files:
            raise ValueError(f"{folder / 'segments'}: {name} is cut from {file}, not in wav.scp")
        path = folder / files[file]  # an absolute name stays what it is
        entry = Entry(
            id=name,
            path=str(path),
            domain=source.domain or "speech",
            text=texts.get(name, ""),
            speaker=speakers.get(name, ""),
            language=languages.get(name, ""),
            stamp=_stamp(path),
        )
        yield Recording(entry, normal_split(source.split or _split_named(folder)), start, seconds)


def is_ljspeech(folder: Path) -> bool:
    """Whether the folder has a ``metadata.csv`` of lines with bars, and no header of columns."""
    path = folder / "metadata.csv"
    if not path.is_file():
        return False
    with open(path, encoding="utf-8-sig") as file:
        return "|" in file.readline()


def ljspeech_recordings(folder: Path, source: Source) -> Iterator[Recording]:
    """Recordings of ``metadata.csv``: ``id|text`` or ``id|text|normalised text``; no quoting.

    The normalised text is taken where there is one. Audio is looked for in ``wavs/``, then beside.
    """
    with open(folder / "metadata.csv", encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            cells = [cell.strip() for cell in line.rstrip("\n").split("|")]
            if len(cells) < 2:
                raise ValueError(
                    f"{folder / 'metadata.csv'} line {number}: expected id|text, got {line[:40]!r}"
                )
            path = _ljspeech_audio(folder, cells[0])
            entry = Entry(
                id=cells[0],
                path=str(path),
                domain=source.domain or "speech",
                text=next((cell for cell in reversed(cells[1:3]) if cell), ""),
                stamp=_stamp(path),
            )
            yield Recording(entry, normal_split(source.split))


def text_beside(audio: Path, tables: dict[Path, dict[str, str]]) -> str:
    """The text that lies beside an audio file, or ''.

    Args:
        audio: The audio file.
        tables: Transcripts read so far, by folder; filled here.
    """
    for suffix in _TEXT_SUFFIXES:
        path = audio.with_suffix(suffix)
        if path.is_file():
            return " ".join(path.read_text(encoding="utf-8-sig", errors="replace").split())
    folder = audio.parent
    if folder not in tables:
        tables[folder] = {}
        for table in sorted(folder.glob("*.trans.txt")):
            tables[folder].update(_kaldi_table(table))
    return tables[folder].get(audio.stem, "")


def _ljspeech_audio(folder: Path, name: str) -> Path:
    suffixes = ("",) if Path(name).suffix.lower() in AUDIO_SUFFIXES else (".wav", ".flac", ".ogg")
    places = [folder / place / f"{name}{end}" for place in ("wavs", "") for end in suffixes]
    return next((path for path in places if path.is_file()), places[0])


def _kaldi_table(path: Path) -> dict[str, str]:
    """Lines ``key rest of the line``; an absent file is an empty table."""
    if not path.is_file():
        return {}
    table: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        key, _, rest = line.strip().partition(" ")
        if "\t" in key:
            key, _, rest = line.strip().partition("\t")
        if key:
            table[key] = rest.strip()
    return table


def _kaldi_segments(path: Path) -> dict[str, tuple[str, float, float | None]]:
    segments: dict[str, tuple[str, float, float | None]] = {}
    for name, rest in _kaldi_table(path).items():
        cells = rest.split()
        try:
            file, start, end = cells[0], float(cells[1]), float(cells[2])
        except (IndexError, ValueError):
            raise ValueError(
                f"{path}: expected 'utterance recording start end', got {name} {rest!r}"
            ) from None
        if not 0 <= start or not (end < 0 or start < end):
            raise ValueError(f"{path}: {name} goes from {start} to {end} s")
        segments[name] = (file, start, None if end < 0 else end - start)  # -1: to the end
    return segments


def _split_named(folder: Path) -> str:
    word = folder.name.lower().replace("-", "_").split("_")[0]
    return word if normal_split(word) in ("train", "valid", "test") else ""


def _stamp(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "missing"
    return f"{status.st_size}-{status.st_mtime_ns}"
