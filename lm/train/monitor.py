"""What a person sees of a run: progress, metrics.jsonl, TensorBoard, skipped steps.

One process writes, the first.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from ...core.training.run_folder import open_board, open_metrics
from .config import LMTrainingConfig
from .meter import MeterReading
from .validation import ValidationSample, code_map, waveform


class Monitor:
    """The eyes of one run.

    Args:
        config: of the run.
        step: that it starts or goes on from.
        codebook_size: codes of a codebook, for pictures.
        codec: to hear samples, or None.
    """

    def __init__(
        self, config: LMTrainingConfig, step: int, codebook_size: int, codec: Any = None
    ) -> None:
        self.run, self.config = Path(config.out), config
        self._size, self._codec = codebook_size, codec
        self._metrics = open_metrics(self.run, step)
        self._board = open_board(self.run, step) if config.tensorboard else None
        self._since, self._heard_once = time.monotonic(), step > 0
        self._bar = tqdm(
            total=config.steps,
            initial=step,
            desc="adapter" if config.lora_rank else "lm",
            unit="step",
            disable=not config.progress,
            mininterval=0.5 if sys.stderr.isatty() else 30.0,  # a log file wants fewer lines
        )

    def advance(self) -> None:
        """One step is done."""
        self._bar.update(1)

    def log(
        self, step: int, reading: MeterReading, *, lr: float, gradient_norm: float, skipped: int
    ) -> None:
        """Write what was learned since the last line."""
        now = time.monotonic()
        rate = reading.targets / max(1e-9, now - self._since)
        self._since = now
        self._write(
            {
                "step": step,
                **reading.record(),
                "lr": lr,
                "gradient_norm": gradient_norm if math.isfinite(gradient_norm) else None,
                "skipped": skipped,
                "targets_per_second": round(rate, 1),
            }
        )
        self._scalars("", reading, step)
        extra = {"run/lr": lr, "run/gradient_norm": gradient_norm, "run/skipped": skipped}
        for name, value in {**extra, "run/targets_per_second": rate}.items():
            if self._board is not None:
                self._board.add_scalar(name, value, step)
        self._bar.set_postfix(loss=f"{reading.loss:.3f}", targets=f"{rate:.0f}/s", refresh=False)

    def validated(
        self, step: int, readings: Mapping[str, MeterReading], samples: Sequence[ValidationSample]
    ) -> None:
        """Write a validation to all places."""
        record = {task: reading.record() for task, reading in readings.items()}
        self._write({"step": step, "validation": record})
        losses = ", ".join(f"{task} {reading.loss:.3f}" for task, reading in readings.items())
        self.say(f"step {step}: held-out loss {losses}")
        for task, reading in readings.items():
            self._scalars(f"validation/{task}/", reading, step)
        for heard in samples:
            self._show(heard, step)
        self._heard_once = True
        if self._board is not None:
            self._board.flush()
        self._since = time.monotonic()  # validation is not training time

    def skipped(self, step: int, norm: float, losses: Sequence[float]) -> None:
        """Say that a step was dropped."""
        self._write({"step": step + 1, "skipped_because": f"gradient norm {norm}"})
        found = ", ".join(f"{loss:.4g}" for loss in losses)
        self.say(f"step {step} skipped: its gradient is {norm}; losses of its batches: {found}")

    def say(self, message: str) -> None:
        """Print above the progress bar."""
        tqdm.write(message, file=sys.stderr)

    def close(self) -> None:
        """Flush and close everything."""
        self._bar.close()
        self._metrics.close()
        if self._board is not None:
            self._board.close()

    def _scalars(self, prefix: str, reading: MeterReading, step: int) -> None:
        if self._board is None:
            return
        self._board.add_scalar(f"{prefix}loss", reading.loss, step)
        for kind, values in (("loss", reading.losses), ("accuracy", reading.accuracies)):
            for name, value in values.items():
                self._board.add_scalar(f"{prefix}{kind}/{name}", value, step)

    def _show(self, heard: ValidationSample, step: int) -> None:
        """A sample; the originals only once."""
        if self._board is None:
            return
        place = f"{heard.task}/{heard.number}"
        if isinstance(heard.target, str):
            text = f"original: {heard.target}\n\nmodel: {heard.made}"
            self._board.add_text(place, text, step)
            return
        pairs = [("model", heard.made)]
        if not self._heard_once:
            pairs.append(("original", heard.target))
        for name, codes in pairs:
            assert isinstance(codes, Tensor)
            if codes.shape[1]:
                image = code_map(codes, self._size)
                self._board.add_image(f"{place}/{name}_codes", image, step, dataformats="HW")
            wav = None
            if self._codec is not None:
                wav = waveform(self._codec, codes, heard.frames_per_query)
            if wav is not None:
                self._board.add_audio(
                    f"{place}/{name}", wav.clamp(-1, 1), step, sample_rate=self._codec.sample_rate
                )

    def _write(self, record: Mapping[str, Any]) -> None:
        self._metrics.write(json.dumps(record) + "\n")
        self._metrics.flush()
