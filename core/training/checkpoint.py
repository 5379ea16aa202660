"""Checkpoints: safetensors and JSON files in one folder per step.

A checkpoint is written to a temporary folder, synced to the disk and renamed, so a crash never
leaves an incomplete checkpoint or damages older ones. Pickle is not used.
"""

import errno
import json
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

STATE_FILE = "state.json"
FORMAT = 1


class CheckpointError(OSError):
    """A checkpoint could not be written or read."""


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
        files = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))["files"]
        return all((folder / name).stat().st_size == size for name, size in files.items())
    except (OSError, ValueError, KeyError):
        return False


def complete_checkpoints(run: Path) -> list[Path]:
    """Return the complete checkpoints of a run folder, oldest first."""
    names = (run / "checkpoints").glob("step-*")
    found = [p for p in names if re.fullmatch(r"step-\d+", p.name) and is_complete(p)]
    return sorted(found, key=lambda path: int(path.name.split("-")[1]))


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
        sizes = {p.name: p.stat().st_size for p in sorted(temporary.iterdir())}
        text = json.dumps({"format": FORMAT, "step": step, "files": sizes, **state}, indent=1)
        (temporary / STATE_FILE).write_text(text, encoding="utf-8")
        for path in (*temporary.iterdir(), temporary):
            _sync(path)
        if folder.exists():  # the same step saved twice, or an incomplete folder
            shutil.rmtree(folder)
        os.replace(temporary, folder)
        _sync(folder.parent)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(_describe(error, run, step)) from error
    for old in complete_checkpoints(run)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read a complete checkpoint.

    Raises:
        CheckpointError: The folder is missing, incomplete or of another format.
    """
    if not is_complete(folder):
        raise CheckpointError(
            f"{folder} is not a complete checkpoint (missing or incomplete files)"
        )
    state = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
    if state["format"] != FORMAT:
        raise CheckpointError(
            f"checkpoint format of {folder} must be {FORMAT}, got {state['format']}"
        )
    stems = [Path(name).stem for name in state["files"] if name.endswith(".safetensors")]
    tensors = {stem: load_file(folder / f"{stem}.safetensors") for stem in stems}
    return Checkpoint(step=state["step"], tensors=tensors, state=state)


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


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_temporary_folders(parent: Path) -> None:
    for path in parent.glob(".tmp-step-*"):
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
