"""Folder of a training run: lock, configuration, log, tracker."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from ..files import recover_folder, replaced_folder, write_json, write_text
from ..reading import read_json_object, reading
from .checkpoint import newest_checkpoint
from .config import RunConfig
from .tracker import open_tracker

METRICS = "metrics.jsonl"


def init_run_dir(run: Path, config: RunConfig, *, write: bool = True) -> None:
    """Write the configuration to a new run folder, or compare it with that of an existing run.

    Args:
        run: Run folder.
        config: Configuration of the run.
        write: Whether this process writes.

    Raises:
        ValueError: The folder belongs to another configuration.
    """
    path = run / "config.json"
    # A run that was refused before its first step leaves only config.json and the lock.
    if path.exists() and any(not f.name.startswith((".", path.name)) for f in run.iterdir()):
        with reading(path):
            before = type(config).from_dict(read_json_object(path))
        differences = before.differences(config)
        if differences:
            raise ValueError(
                f"{run} has a run with another configuration ({'; '.join(differences)}):"
                " choose another --out, or remove it"
            )
    elif newest_checkpoint(run) is not None:
        raise ValueError(f"{run} has checkpoints but no config.json: choose another --out")
    if write:
        write_json(path, config.to_dict())


def open_metrics(run: Path, step: int) -> IO[str]:
    """Open the log, truncated to the step from which the run resumes."""
    path = run / METRICS
    if path.exists():
        lines = []
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                if json.loads(line)["step"] <= step:
                    lines.append(line)
            except (ValueError, KeyError, TypeError):
                continue  # an incomplete line after a crash
        write_text(path, "".join(f"{line}\n" for line in lines))
    run.mkdir(parents=True, exist_ok=True)
    return path.open("a", encoding="utf-8")


@contextmanager
def replaced_export(folder: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces an exported model if the block raises no exception.

    Temporary folders of killed exports are removed, so the run folder must be locked.
    """
    recover_folder(folder)
    for kind in ("tmp", "old"):
        for path in folder.parent.glob(f"{folder.name}.{kind}-*"):
            shutil.rmtree(path, ignore_errors=True)
    with replaced_folder(folder) as temporary:
        yield temporary


class Monitor:
    """Writes the metrics of a run in its first process; does nothing in the others.

    Attributes:
        tracker: Where curves and samples are shown, or None.
    """

    def __init__(self, config: RunConfig, step: int, *, name: str, main: bool = True) -> None:
        """Open the log, truncated to the step where the run starts or resumes.

        Args:
            config: Configuration of the run.
            step: Steps done before.
            name: Shown before the progress bar.
            main: Whether this is the first process.
        """
        self.config, self.folder, self.main = config, Path(config.out), main
        self.tracker = None
        if main:
            self.tracker = open_tracker(config.tracker, self.folder, step, config.to_dict())
        self._metrics = open_metrics(self.folder, step) if main else None
        self._since = time.monotonic()
        self._bar = tqdm(
            total=config.steps,
            initial=step,
            desc=name,
            unit="step",
            disable=not (main and config.progress),
            mininterval=0.5 if sys.stderr.isatty() else 30.0,  # fewer lines in a log file
        )

    def advance(self) -> None:
        """Count one step."""
        self._bar.update(1)

    def seconds(self) -> float:
        """Return the seconds since the last call, at least 1e-9."""
        before, self._since = self._since, time.monotonic()
        return max(1e-9, self._since - before)

    def show(self, **values: str) -> None:
        """Show values after the progress bar."""
        self._bar.set_postfix(**values, refresh=False)

    def write(self, record: Mapping[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        if self._metrics is not None:
            self._metrics.write(json.dumps(record) + "\n")
            self._metrics.flush()

    def scalars(self, values: Mapping[str, float], step: int, prefix: str = "") -> None:
        """Show scalars in the tracker."""
        if self.tracker is not None:
            named = {f"{prefix}{name}": value for name, value in values.items()}
            self.tracker.scalars(named, step)

    def say(self, message: str) -> None:
        """Print a line above the progress bar."""
        if self.main:
            tqdm.write(message, file=sys.stderr)

    def close(self) -> None:
        """Flush and close the files."""
        self._bar.close()
        if self._metrics is not None:
            self._metrics.close()
        if self.tracker is not None:
            self.tracker.close()
