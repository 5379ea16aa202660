"""Reports of a run: progress bar with the remaining time, metrics.jsonl, TensorBoard."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from .config import RunConfig
from .run_folder import open_board, open_metrics


class Monitor:
    """Writes the metrics of a run in its first process; does nothing in the others.

    Attributes:
        board: TensorBoard writer, or None.
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
        self.board = open_board(self.folder, step) if main and config.tensorboard else None
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
        """Write scalars to TensorBoard."""
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(f"{prefix}{name}", value, step)

    def say(self, message: str) -> None:
        """Print a line above the progress bar."""
        if self.main:
            tqdm.write(message, file=sys.stderr)

    def close(self) -> None:
        """Flush and close the files."""
        self._bar.close()
        if self._metrics is not None:
            self._metrics.close()
        if self.board is not None:
            self.board.close()
