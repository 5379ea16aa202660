"""Outputs of a command: files, standard output, and the log from which a batch is resumed."""

from __future__ import annotations

import json
import logging
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...core.audio import AUDIO_SUFFIXES
from ...core.files import write_text
from ...core.pcm import pcm, wav_header
from ...core.results_log import JOURNAL, ResultsLog

logger = logging.getLogger(__name__)

# Suffixes with which --out names a file and not a folder.
_FILE_SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".mp3"})


class Destination(ABC):
    """Where the outputs of a command go; a folder has a log of what is finished."""

    def __init__(self, folder: Path | None) -> None:
        self.log = None if folder is None else ResultsLog(folder / JOURNAL)

    @abstractmethod
    def file(self, name: str) -> Path:
        """The file of an output."""

    def finished(self, name: str, keys: Mapping[str, str]) -> bool:
        """Whether the log has this output under its key, and its file exists."""
        logged = self.log is not None and self.log.get(name, keys[name]) is not None
        return logged and self.file(name).exists()

    def entry(self, name: str) -> dict[str, Any]:
        """The logged entry of an output, without the key; empty if there is none."""
        logged = {} if self.log is None else self.log.entries.get(name, {})
        return {field: value for field, value in logged.items() if field != "key"}

    def add(self, name: str, keys: Mapping[str, str], entry: Mapping[str, Any]) -> None:
        """Log an output, or an error."""
        if self.log is not None:
            self.log.add(name, keys[name], entry)


class AudioDestination(Destination):
    """`--out` of audio: a file, a folder, or standard output."""

    def __init__(self, out: str | None, count: int, suffix: str, *, as_json: bool = False) -> None:
        """Interpret `--out`.

        Args:
            out: value of the option.
            count: number of outputs.
            suffix: format of files in a folder, such as "wav".
            as_json: whether standard output is taken by ``--json``.

        Raises:
            ValueError: if it is missing, in a format that cannot be written, or a single file for
                several outputs.
        """
        if out is None:
            raise ValueError("--out is missing: a file (.wav .flac .ogg), a folder, or -")
        if out == "-" and as_json:
            raise ValueError("--out - and --json both write to standard output: give --out a file")
        if Path(out).suffix.lower() in AUDIO_SUFFIXES - _FILE_SUFFIXES:
            raise ValueError(
                f"--out {out}: this format is read, not written; write "
                f"{', '.join(sorted(_FILE_SUFFIXES))}"
            )
        self.stdout = out == "-"
        self.path = Path(out)
        suffix_of_out = "" if self._is_folder(out) else self.path.suffix.lower()
        if suffix_of_out not in {"", *_FILE_SUFFIXES}:
            raise ValueError(
                f"--out {out}: unknown format {suffix_of_out}; write "
                f"{', '.join(sorted(_FILE_SUFFIXES))}, or end the name of a new folder with /"
            )
        self.is_file = not self.stdout and suffix_of_out in _FILE_SUFFIXES
        self.suffix = suffix
        if count > 1 and (self.is_file or self.stdout):
            raise ValueError(
                f"--out {out} is one file, and there are {count} results: give a folder"
            )
        super().__init__(None if self.is_file or self.stdout else self.path)

    @staticmethod
    def _is_folder(out: str) -> bool:
        return out.endswith(("/", os.sep)) or Path(out).is_dir() or Path(out).name in (".", "..")

    def file(self, name: str) -> Path:
        """The file of an output."""
        return self.path if self.is_file else self.path / f"{name}.{self.suffix}"

    def write(self, name: str, audio: Any) -> str:
        """Write a GeneratedAudio; return the path, or "-"."""
        if self.stdout:
            sys.stdout.buffer.write(wav_header(audio.sample_rate, audio.wav.numel()))
            sys.stdout.buffer.write(pcm(audio.wav))
            sys.stdout.buffer.flush()
            return "-"
        path = self.file(name)
        audio.save(path)
        return str(path)


class TextDestination(Destination):
    """`--out` of text: a folder with a file for each input, or standard output."""

    def __init__(self, folder: Path | None, form: str) -> None:
        """Interpret `--out`.

        Args:
            folder: value of the option.
            form: "text", "json", or the suffix of another format of text.
        """
        super().__init__(folder)
        self.folder, self.form = folder, form

    def file(self, name: str) -> Path:
        """The file of an output."""
        assert self.folder is not None
        return self.folder / f"{name}.{'txt' if self.form == 'text' else self.form}"

    def write(self, name: str, text: str, entry: Mapping[str, Any]) -> None:
        """Write a text, or its entry as JSON; nothing without a folder."""
        if self.folder is not None:
            is_json = self.form == "json"
            shown = json.dumps(entry, ensure_ascii=False, indent=1) if is_json else text
            write_text(self.file(name), shown + "\n")


def print_status(line: str) -> None:
    """Log a line on standard error, unless ``--quiet``; standard output is for results."""
    logger.info(line)


def print_problem(line: str) -> None:
    """Log a line on standard error that says what failed, with ``--quiet`` too."""
    logger.error(line)
