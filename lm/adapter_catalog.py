"""Adapters in a folder tree: what their files say, without loading the weights or torch."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ..core.files import walk
from ..core.reading import CheckpointError, read_json_object, tensor_shapes

# Of an adapter in peft's format and in almtok's former one; nothing else may be in its folder.
CARD, CONFIG = "adapter.json", "adapter_config.json"
WEIGHTS, FORMER_WEIGHTS = "adapter_model.safetensors", "adapter.safetensors"
_FILES = frozenset((CARD, CONFIG, WEIGHTS, FORMER_WEIGHTS, "README.md"))


@dataclass(frozen=True)
class AdapterFacts:
    """What the files of an adapter say.

    Attributes:
        folder: With the weights.
        base: Fingerprint of the model that it was trained on; None for adapters of peft.
        rank: Of its low-rank updates.
        alpha: Their scale is alpha / rank.
        targets: Layers that are adapted, or a pattern of their names.
        copies: Modules of which it has full copies.
        tasks: That it names; empty: those of the base.
        parameters: Number of its weights.
        megabytes: Size of its weights.
        date: When the weights were written, YYYY-MM-DD.
    """

    folder: Path
    base: str | None
    rank: int
    alpha: float
    targets: tuple[str, ...]
    copies: tuple[str, ...]
    tasks: tuple[str, ...]
    parameters: int
    megabytes: float
    date: str

    def fits(self, fingerprint: str) -> str:
        """``yes`` or ``no`` for a model of a fingerprint; ``unknown`` without one of its own."""
        return "unknown" if self.base is None else "yes" if self.base == fingerprint else "no"


def find_adapters(root: str | os.PathLike[str]) -> list[Path]:
    """Return the folders of adapters below a folder, or itself, sorted.

    Raises:
        OSError: A folder cannot be read.
    """
    return sorted(place for place, _, names in walk(Path(root)) if _is_adapter(names))


def adapter_folder(place: str | os.PathLike[str]) -> Path:
    """Return the folder of an adapter: the given one, or ``adapter/`` in that of a training run.

    Raises:
        CheckpointError: There is none.
    """
    for path in (Path(place), Path(place, "adapter")):
        if path.is_dir() and _is_adapter(os.listdir(path)):
            return path
    raise CheckpointError(f"{place} holds no adapter: {CONFIG} is missing")


def read_facts(folder: Path) -> AdapterFacts:
    """Read the files of an adapter; the weights are not loaded.

    Raises:
        CheckpointError: A file is missing or damaged.
    """
    try:
        card = read_json_object(folder / CARD) if (folder / CARD).is_file() else {}
        current = (folder / CONFIG).is_file()
        config = read_json_object(folder / CONFIG) if current else card["settings"]
        weights = folder / (WEIGHTS if current else FORMER_WEIGHTS)
        sizes = [math.prod(shape) for shape in tensor_shapes(weights)]
        status = weights.stat()
        rank = int(config["r"] if current else config["rank"])
        alpha = config.get("lora_alpha", config.get("alpha"))
        return AdapterFacts(
            folder=folder,
            base=card.get("base"),
            rank=rank,
            alpha=float(2 * rank if alpha is None else alpha),
            targets=_names(config.get("target_modules", config.get("targets"))),
            copies=_names(config.get("modules_to_save")),
            tasks=_names(card.get("tasks")),
            parameters=sum(sizes),
            megabytes=status.st_size / 1e6,
            date=datetime.fromtimestamp(status.st_mtime).strftime("%Y-%m-%d"),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, OSError | ValueError):
            raise CheckpointError(f"{folder}: {error}") from error
        raise CheckpointError(f"{folder} describes no adapter: {error}") from error


def check_removable(folder: Path) -> None:
    """Check that a folder holds an adapter and nothing else.

    Raises:
        ValueError: It is no folder, holds no adapter, or holds other files.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise ValueError(f"{folder} must be the folder of an adapter, and no link or file")
    names = os.listdir(folder)
    if not _is_adapter(names):
        inside = find_adapters(folder)
        hint = f"; did you mean {inside[0]}?" if inside else ""
        raise ValueError(f"{folder} is not the folder of an adapter: it is not removed{hint}")
    folders = {name for name in names if (folder / name).is_dir()}
    if others := sorted((set(names) - _FILES) | folders):
        raise ValueError(
            f"{folder} holds other files than an adapter ({', '.join(others[:3])}): it is not"
            " removed"
        )


def to_json(facts: AdapterFacts) -> str:
    """Return the facts as JSON of several lines."""
    values = {**vars(facts), "folder": str(facts.folder)}
    return json.dumps(values, indent=1, ensure_ascii=False)


def _is_adapter(names: list[str]) -> bool:
    found = set(names)
    return {CONFIG, WEIGHTS} <= found or {CARD, FORMER_WEIGHTS} <= found


def _names(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(sorted(map(str, value)))
