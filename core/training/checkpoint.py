"""Checkpoints: safetensors and JSON files in one folder per step.

A checkpoint is written to a temporary folder, synced to the disk and renamed, so a crash never
leaves an incomplete checkpoint or damages older ones. Pickle is not used.
"""

import errno
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..files import swap_in
from ..reading import CheckpointError, read_json_object, reading

logger = logging.getLogger(__name__)

STATE_FILE = "state.json"
FORMAT = 2
_WITHOUT_DIGESTS = 1  # format of earlier versions, which is still read


class DamagedCheckpoint(CheckpointError):
    """A file of a checkpoint cannot be read, or is not what was written."""


@dataclass(frozen=True)
class Checkpoint:
    """Contents of a checkpoint."""

    step: int  # optimiser steps done
    tensors: dict[str, dict[str, Tensor]]  # by file stem, then by name
    state: dict[str, Any]  # JSON: config, counters


def folder_of(run: Path, step: int) -> Path:
    """Return the folder of the checkpoint of a step."""
    return run / "checkpoints" / f"step-{step:08d}"


def is_complete(folder: Path) -> bool:
    """Whether every file that the checkpoint's state lists exists with its full size."""
    try:
        files = read_json_object(folder / STATE_FILE)["files"]
        return all(
            Path(name).name == name and (folder / name).stat().st_size == size
            for name, size in files.items()
        )
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def complete_checkpoints(run: Path) -> list[Path]:
    """Return the complete checkpoints of a run folder, oldest first."""
    found: dict[int, Path] = {}
    for path in sorted((run / "checkpoints").glob("step-*")):
        # A crash while a step is saved again may leave only the older folder, under this name.
        match = re.fullmatch(r"step-(\d+)(\.old-\d+)?", path.name)
        if match and is_complete(path):
            found.setdefault(int(match[1]), path)
    return [found[step] for step in sorted(found)]


def newest_checkpoint(run: Path) -> Path | None:
    """Return the newest complete checkpoint of a run folder, or None."""
    found = complete_checkpoints(run)
    return found[-1] if found else None


def write_checkpoint(
    run: Path,
    step: int,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any],
    keep: int,
) -> Path:
    """Write a checkpoint and delete the oldest ones.

    Args:
        run: Run folder.
        step: Optimiser steps done.
        tensors: Tensors by file stem and name; empty files are not written.
        state: JSON values.
        keep: Number of checkpoints to keep.

    Raises:
        CheckpointError: The disk is full or another error occurred; older checkpoints are kept.
    """
    folder = folder_of(run, step)
    temporary = folder.with_name(f".tmp-{folder.name}-{os.getpid()}")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_temporary_folders(folder.parent)
        temporary.mkdir()
        for stem, group in tensors.items():
            if group:
                save_file(_contiguous(group), temporary / f"{stem}.safetensors")
        files = sorted(temporary.iterdir())
        values = {
            "format": FORMAT,
            "step": step,
            "files": {path.name: path.stat().st_size for path in files},
            "sha256": {path.name: _digest(path) for path in files},
            **state,
        }
        values["sha256"][STATE_FILE] = _digest_state(values)
        (temporary / STATE_FILE).write_text(json.dumps(values, indent=1), encoding="utf-8")
        swap_in(temporary, folder)  # the same step may be saved twice
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(_describe(error, run, step)) from error
    for old in complete_checkpoints(run)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a complete checkpoint, and verify the digests of its files if it has any.

    Raises:
        DamagedCheckpoint: A file is missing, incomplete, or not what was written.
        CheckpointError: It is of another format.
    """
    if not is_complete(folder):
        raise DamagedCheckpoint(f"{folder} is not a complete checkpoint (no or unfinished files)")
    with reading(folder, DamagedCheckpoint):
        state = read_json_object(folder / STATE_FILE)
        form = state["format"]
    if form not in (FORMAT, _WITHOUT_DIGESTS):
        raise CheckpointError(f"checkpoint format of {folder} must be {FORMAT}, got {form}")
    with reading(folder, DamagedCheckpoint):
        digests = state.pop("sha256") if form == FORMAT else {}
        if digests and digests[STATE_FILE] != _digest_state(state):
            raise DamagedCheckpoint(f"{folder / STATE_FILE} is damaged: its digest is another one")
        tensors = {}
        for name in state["files"]:
            if digests and digests[name] != _digest(folder / name):
                raise DamagedCheckpoint(f"{folder / name} is damaged: its digest is another one")
            if name.endswith(".safetensors"):
                tensors[Path(name).stem] = load_file(folder / name)
        return Checkpoint(step=int(state["step"]), tensors=tensors, state=state)


def read_newest(run: Path) -> Checkpoint | None:
    """Read the newest checkpoint of a run folder that is not damaged; None if there is none.

    A damaged one is warned about and passed over.

    Raises:
        DamagedCheckpoint: All are damaged.
        CheckpointError: The newest one is of another format.
    """
    error = None
    for folder in reversed(complete_checkpoints(run)):
        try:
            return read_checkpoint(folder)
        except DamagedCheckpoint as damage:
            logger.warning("%s; the checkpoint before it is taken", damage)
            error = damage
    if error is not None:
        raise DamagedCheckpoint(f"every checkpoint of {run} is damaged: {error}") from error
    return None


def find_source(path: str | os.PathLike[str]) -> Path:
    """Return the folder of the weights of a path: a checkpoint or a saved model.

    For a run folder it is the newest checkpoint, or the exported ``model`` if there is none.

    Raises:
        CheckpointError: There are no weights.
    """
    folder = Path(path)
    if is_complete(folder):
        return folder
    newest = newest_checkpoint(folder)
    if newest is not None:
        return newest
    for candidate in (folder / "model", folder):
        if (candidate / "config.json").is_file() and (candidate / "model.safetensors").is_file():
            return candidate
    found = "a folder without weights" if folder.exists() else "no such folder"
    raise CheckpointError(
        f"initial weights must be a run folder, a checkpoint or a saved model,"
        f" got {folder} ({found})"
    )


def _contiguous(group: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous CPU tensors that share no memory, as safetensors requires."""
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in group.items():
        value = tensor.detach().to("cpu").contiguous()
        if value.numel() and value.data_ptr() in seen:
            value = value.clone()
        seen.add(value.data_ptr())
        tensors[name] = value
    return tensors


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_state(state: Mapping[str, Any]) -> str:
    """Digest of the JSON values of a checkpoint, without the digests."""
    plain = {name: value for name, value in state.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


def _remove_temporary_folders(parent: Path) -> None:
    for path in (*parent.glob(".tmp-step-*"), *parent.glob("step-*.old-*")):
        if path.name.startswith(".") or is_complete(parent / path.name.partition(".")[0]):
            shutil.rmtree(path, ignore_errors=True)


def _describe(error: Exception, run: Path, step: int) -> str:
    """Message for a failed write, with the newest checkpoint."""
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or any(
        text in str(error) for text in ("No space left", "quota", "File too large")
    )
    newest = newest_checkpoint(run)
    rest = f"the newest complete checkpoint is {newest}" if newest else "no older one exists"
    if full:
        free = shutil.disk_usage(run if run.exists() else run.parent).free / 2**20
        return (
            f"disk full while saving step {step} in {run} ({free:.0f} MiB free);"
            f" {rest}: free space and run the same command again"
        )
    return f"cannot save step {step} in {run}: {error}; {rest}"


def tensors_of(module: torch.nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers of a module, including non-persistent buffers."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


@torch.no_grad()
def restore(module: torch.nn.Module, values: Mapping[str, Tensor], what: str) -> None:
    """Copy tensors into a module.

    Raises:
        CheckpointError: Names or shapes differ.
    """
    tensors = tensors_of(module)
    if tensors.keys() != values.keys():
        different = sorted(tensors.keys() ^ values.keys())
        raise CheckpointError(
            f"{what}: names differ from the checkpoint: {', '.join(different[:5])}"
        )
    for name, tensor in tensors.items():
        if tensor.shape != values[name].shape:
            raise CheckpointError(
                f"{what}: {name} must be {list(tensor.shape)}, got {list(values[name].shape)} in"
                " the checkpoint"
            )
        tensor.copy_(values[name])
