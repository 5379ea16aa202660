"""Adapters on disk, in peft's format; folders of almtok's former format are read, too.

adapter_config.json         peft's LoraConfig
adapter_model.safetensors   LoRA matrices; full copies of audio embeddings and heads
adapter.json                tasks, and the fingerprint of the base: peft does not read it
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ..core.files import write_bytes, write_json
from ..core.reading import CheckpointError
from .adapter_catalog import CARD, CONFIG, FORMER_WEIGHTS, WEIGHTS
from .lora_settings import LoraSettings, check_limits

if TYPE_CHECKING:
    from .model import AudioLM

_PREFIX = "base_model.model."  # of all names in peft's files

# Fields of LoraConfig that may differ from their defaults: others need more than the matrices, or
# change the base.
_FIELDS = frozenset(
    "task_type peft_type auto_mapping peft_version base_model_name_or_path revision inference_mode"
    " r lora_alpha lora_dropout target_modules exclude_modules modules_to_save rank_pattern"
    " alpha_pattern use_rslora use_dora fan_in_fan_out layers_to_transform layers_pattern"
    " init_lora_weights runtime_config".split()
)
_LOW_RANK = re.compile(r"(.+?)(?:\.parametrizations\.weight\.0)?\.low_rank_([AB])(\.\w+)?")


@dataclass(frozen=True)
class StoredAdapter:
    """An adapter as it is on disk."""

    file: Path  # of the weights
    config: Any  # peft's LoraConfig
    weights: dict[str, Tensor]
    base: str | None  # fingerprint; None: not known
    tasks: list[str]  # empty: those of the base

    def fitted(self, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights by the names of the model, all of the expected shapes.

        Raises:
            CheckpointError: if names or shapes differ, or a value is not finite.
        """
        weights = {name.removeprefix(_PREFIX): value for name, value in self.weights.items()}
        weights = from_low_rank(weights, expected)
        if odd := sorted(expected.keys() ^ weights.keys()):
            names = ", ".join(odd[:3])
            raise CheckpointError(f"{self.file} does not fit its configuration: {names}")
        for name, value in weights.items():
            if value.shape != expected[name].shape:
                raise CheckpointError(
                    f"{self.file}: {name} has shape {list(value.shape)}, expected"
                    f" {list(expected[name].shape)}"
                )
            if not (value.is_floating_point() and value.float().isfinite().all()):
                raise CheckpointError(f"{self.file}: {name} has values that are not finite floats")
        return weights


def write_adapter(
    folder: Path, config: Any, weights: Mapping[str, Tensor], *, base: str, tasks: list[str]
) -> None:
    """Write the three files, each atomically."""
    values = {_PREFIX + name: v.detach().cpu().contiguous() for name, v in weights.items()}
    write_bytes(folder / WEIGHTS, save(values, metadata={"format": "pt"}))
    fields = {**config.to_dict(), "inference_mode": True}
    plain = {key: sorted(v) if isinstance(v, set) else v for key, v in fields.items()}
    write_json(folder / CONFIG, plain)
    write_json(folder / CARD, {"format": 2, "base": base, "tasks": tasks})


def read_adapter(folder: str | os.PathLike[str], lm: AudioLM) -> StoredAdapter:
    """Read an adapter.

    Args:
        folder: of the adapter, or a training run's.
        lm: its base, without adapters; the weights are not used.

    Raises:
        CheckpointError: if there is none, or a file is damaged, has values outside the limits or
            uses what is not supported.
    """
    for path in (Path(folder), Path(folder, "adapter")):
        if (path / CONFIG).is_file() or (path / CARD).is_file():
            break
    else:
        raise CheckpointError(f"{folder} holds no adapter: {CONFIG} is missing")
    card = _read_json(path / CARD) if (path / CARD).is_file() else {}
    tasks, version = card.get("tasks", []), card.get("format", 2)
    if version not in (1, 2):
        raise CheckpointError(f"{path / CARD} has format {version}, this reads 1 and 2")
    slots = lm.config.num_task_slots
    if not (isinstance(tasks, list) and {type(task) for task in tasks} <= {str}):
        raise CheckpointError(f"tasks in {path / CARD} must be a list of names, got {tasks!r}")
    if len(set(tasks)) < len(tasks) or len(tasks) > slots:
        raise CheckpointError(f"{path / CARD} must name up to {slots} different tasks, got {tasks}")
    if version == 1:
        file, source = path / FORMER_WEIGHTS, path / CARD
    else:
        file, source = path / WEIGHTS, path / CONFIG
    try:
        config = _former_config(card, lm) if version == 1 else _config(_read_json(source))
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"{source} describes no adapter: {error}") from error
    try:
        weights = load_file(file)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    return StoredAdapter(file, config, weights, card.get("base"), tasks)


def from_low_rank(
    values: Mapping[str, Tensor], names: Container[str], adapter: str = ""
) -> dict[str, Tensor]:
    """Rename low-rank updates of the former format to peft's matrices.

    peft multiplies the two matrices of an embedding in the other order, transposed.

    Args:
        values: weights, or states of an optimizer (with the name of the state at the end).
        names: of the parameters that are expected.
        adapter: name of the adapter in them, after a dot.
    """
    renamed = {}
    for key, value in values.items():
        if match := _LOW_RANK.fullmatch(key):
            layer, matrix, rest = match[1], match[2], match[3] or ""
            key = f"{layer}.lora_{matrix}{adapter}.weight"
            if key not in names:
                key = f"{layer}.lora_embedding_{'B' if matrix == 'A' else 'A'}{adapter}"
                value = value.T.contiguous() if value.ndim == 2 else value
            key += rest
        renamed[key] = value
    return renamed


def _read_json(file: Path) -> dict[str, Any]:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{file} must hold an object, got {type(value).__name__}")
    return value


def _config(values: dict[str, Any]) -> Any:
    from peft import LoraConfig

    if values.get("peft_type") != "LORA":
        raise ValueError(f"peft_type must be LORA, got {values.get('peft_type')!r}")
    patterns = [values.get(name) or {} for name in ("rank_pattern", "alpha_pattern")]
    check_limits(
        [values.get("r", 8), *patterns[0].values()],
        [values.get("lora_alpha", 8), *patterns[1].values()],
    )
    plain = LoraConfig()
    fields = {field.name for field in dataclasses.fields(plain)}
    config = LoraConfig(**{name: value for name, value in values.items() if name in fields})
    odd = [name for name in fields - _FIELDS if getattr(config, name) != getattr(plain, name)]
    odd += [name for name, value in values.items() if name not in fields and value]
    if config.init_lora_weights not in (True, False, "gaussian"):
        odd.append("init_lora_weights")  # it changes the base
    if odd:
        raise ValueError(f"not supported: {', '.join(sorted(odd))}")
    config.inference_mode = False
    return config


def _former_config(card: dict[str, Any], lm: AudioLM) -> Any:
    values = card["settings"]
    return LoraSettings(**{**values, "targets": tuple(values["targets"])}).to_peft(lm)
