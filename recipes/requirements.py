"""What a run needs of the machine: a folder that can be written, disk space, installed extras."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from .run import Stage

_CODEC_MB_PER_HOUR = 173.0  # decoded audio of a codec training, 24 kHz
_TOKENS_MB_PER_HOUR = 0.3
_BYTES_PER_WEIGHT = 16  # of a checkpoint with its optimizer, and the model beside it
_SPARE_MB = 50.0


def check_folder(out: Path) -> None:
    """Check that the output folder exists or can be made, and can be written.

    Raises:
        ValueError: It cannot.
    """
    place = _nearest(out)
    if not place.is_dir():
        raise ValueError(f"--out {out}: {place} is a file, expected a folder")
    if not os.access(place, os.W_OK | os.X_OK):
        raise ValueError(f"--out {out}: no permission to write in {place}")


def check_disk(out: Path, stages: Sequence[Stage], hours: float, weights: int) -> None:
    """Check that there is space for checkpoints, decoded audio and tokens.

    Args:
        out: Output folder.
        stages: That will run.
        hours: Of audio; 0 if it is not known.
        weights: Of the largest model that is trained.

    Raises:
        ValueError: There is too little.
    """
    codec = any(stage.command[:2] == ("codec", "train") for stage in stages)
    per_hour = _CODEC_MB_PER_HOUR if codec else _TOKENS_MB_PER_HOUR
    needed = _SPARE_MB + hours * per_hour + weights * _BYTES_PER_WEIGHT / 1e6
    free = shutil.disk_usage(_nearest(out)).free / 1e6
    if free < needed:
        raise ValueError(
            f"--out {out}: {free / 1e3:.2f} GB of disk are free, about {needed / 1e3:.2f} GB are"
            f" needed (audio of {hours:.2g} h, checkpoints)"
        )


def check_extras(stage: Stage) -> None:
    """Check that what an evaluation imports is installed.

    Raises:
        ValueError: It is not; the message names the extra.
    """
    missing = [name for name in _imports(stage.command) if not _is_installed(name)]
    if missing:
        raise ValueError(f"needs {', '.join(missing)}, not installed: pip install 'almtok[eval]'")


def _imports(command: Sequence[str]) -> list[str]:
    words = list(command)
    if words[:2] not in (["lm", "evaluate"], ["codec", "evaluate"]):
        return []
    needed = ["matplotlib", "PIL"] if "--html" in words else []
    speaks = "--domains" not in words or "speech" in words
    if words[0] == "codec":
        needed += ["pesq", "pystoi"]
        speaks = "--recognizer" in words
    recognizer = words[words.index("--recognizer") + 1] if "--recognizer" in words else ""
    if speaks and recognizer != "none":
        needed.append("jiwer")
        if recognizer in ("", "pocketsphinx") and "--no-generate" not in words:
            needed.append("pocketsphinx")
    elif speaks and words[0] == "lm":
        needed.append("jiwer")
    return needed


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _nearest(place: Path) -> Path:
    """The place, or the first folder above it that exists."""
    place = place.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    return place
