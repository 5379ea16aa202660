"""Adapters beside a model, each for one task: `FOLDER/adapters/TASK/`.

A model of many tasks does each a little worse than one that does nothing else. Where a checkpoint
brings an adapter for a task, that task is run with it: by a copy of the model into which the
adapter was merged, made at its first use, so that no task pays for another's adapter.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ...lm.lora import load_adapter, merge_adapter
from ...lm.model import AudioLM
from ...lm.quantized import KINDS, quantize
from ..base import get_task

FOLDER = "adapters"


@dataclass
class Experts:
    """Models of single tasks.

    Args:
        base: Folder of the model that the adapters were trained on.
        places: Folder of the adapter by task.
        device: As of the bundle.
        dtype: Of the weights, or of what lies between quantized maps.
        kind: As of the bundle: "int8" and "int4" are quantized.
    """

    base: Path
    places: dict[str, Path]
    device: torch.device
    dtype: torch.dtype
    kind: str = "auto"
    _models: dict[str, AudioLM] = field(default_factory=dict)

    @classmethod
    def beside(
        cls, root: Path, base: Path, *, device: torch.device, dtype: torch.dtype, kind: str
    ) -> Experts:
        """Those of a checkpoint's folder.

        Raises:
            ValueError: a folder of an adapter is not called after a task.
        """
        places = {get_task(place.name).name: place for place in _folders(root / FOLDER)}
        return cls(base, places, device, dtype, kind)

    def find(self, task: str) -> AudioLM | None:
        """The model for a task, or None where the model of all tasks does it.

        Raises:
            ValueError: the adapter was made for another model.
        """
        if task not in self.places:
            return None
        if task not in self._models:
            self._models[task] = self._load(self.places[task])
        return self._models[task]

    def save_adapters(self, root: Path) -> None:
        """Copy the adapters into a checkpoint's folder, as they are."""
        for task, place in self.places.items():
            shutil.copytree(place, root / FOLDER / task, dirs_exist_ok=True)

    def _load(self, adapter: Path) -> AudioLM:
        # Merged in float32: in half precision a small change would be lost.
        lm = AudioLM.from_pretrained(self.base, dtype=torch.float32)
        merge_adapter(load_adapter(lm, adapter))
        lm = lm.to(self.dtype).eval().to(self.device)
        if self.kind in KINDS:
            quantize(lm, kind=self.kind)
        return lm


def _folders(place: Path) -> Iterable[Path]:
    return sorted(one for one in place.iterdir() if one.is_dir()) if place.is_dir() else ()
