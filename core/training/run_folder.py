"""The folder of a training run: whose it is, its log, its TensorBoard."""

import json
import os
from pathlib import Path
from typing import IO, Any

from ..files import write_json, write_text
from .checkpoint import newest_checkpoint
from .config import RunConfig

METRICS = "metrics.jsonl"


def init_run_dir(run: Path, config: RunConfig, *, write: bool = True) -> None:
    """Write the configuration into a new run folder, or make sure that it is the same run.

    Args:
        run: the folder.
        config: of the run.
        write: of several processes one does.

    Raises:
        ValueError: the folder holds another run.
    """
    path = run / "config.json"
    if path.exists():
        differences = type(config).from_json(path).differences(config)
        if differences:
            raise ValueError(
                f"{run} holds a run with another configuration ({'; '.join(differences)}):"
                " choose another --out, or remove it"
            )
    elif newest_checkpoint(run) is not None:
        raise ValueError(f"{run} holds checkpoints but no config.json: choose another --out")
    if write:
        write_json(path, config.to_dict())


def open_metrics(run: Path, step: int) -> IO[str]:
    """The log, cut back to the step of the checkpoint that the run goes on from."""
    path = run / METRICS
    if path.exists():
        kept = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line)
            except (ValueError, KeyError):
                continue  # the line that a crash cut off
        write_text(path, "".join(f"{line}\n" for line in kept))
    return path.open("a", encoding="utf-8")


def open_board(run: Path, step: int) -> Any:
    """A TensorBoard writer, or None where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(os.fspath(run / "tensorboard"), purge_step=step or None)
