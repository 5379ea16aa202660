"""The interface of judges, and what they have in common: weights, versions, missing packages."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..audio import Waveform, resample

RATE = 16_000  # Hz, of all judges


@dataclass(frozen=True)
class JudgedAudio:
    """Audio to judge."""

    wav: Any  # samples [S]
    sample_rate: int
    language: str = ""  # code; "" is the judge's default

    def at_rate(self) -> Waveform:
        """Return the samples [S] at 16 kHz."""
        samples = np.asarray(self.wav, np.float32).ravel()
        return np.ascontiguousarray(resample(samples, self.sample_rate, RATE), np.float32)


class Judge(ABC):
    """A model that evaluates audio.

    Attributes:
        role: what it does, the same for judges that replace each other.
        name: all that its results depend on: model, weights and settings.
        details: versions of packages.
    """

    role: str
    name: str
    details: str = ""

    @property
    def pinned(self) -> str:
        """Name and details, for tables."""
        return f"{self.name}; {self.details}" if self.details else self.name

    @abstractmethod
    def judge_all(self, clips: Sequence[JudgedAudio]) -> list[dict[str, Any]]:
        """Return the findings for each clip, as JSON values."""


def package_folder(package: str, distribution: str, advice: str = "") -> Path:
    """Folder of an installed package, which is not imported.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            f"the judge {package} needs the package {distribution}, which is not installed: "
            f"pip install 'almtok[judges]'{advice}",
            name=package,
        )
    return Path(spec.origin).parent


def version_of(distribution: str) -> str:
    """``NAME VERSION`` of an installed distribution."""
    try:
        return f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        return f"{distribution} of unknown version"


def weights_stamp(files: Sequence[Path]) -> str:
    """First 12 digits of the SHA-256 of files, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(files):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()[:12]


def pretrained_name(place: str, model: Any) -> str:
    """Name of a pretrained model with its revision on the hub or the hash of its weights.

    Args:
        place: folder or hub id.
        model: model of transformers that was loaded from it.
    """
    folder = Path(place)
    if folder.is_dir():
        files = [*folder.glob("*.safetensors"), *folder.glob("*.bin")]
        return f"{folder.resolve().name} (weights {weights_stamp(files)})"
    return f"{place} (revision {str(model.config._commit_hash)[:12]})"
