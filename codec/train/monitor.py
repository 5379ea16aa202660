"""What a person sees of a run: progress, metrics.jsonl, TensorBoard, alarms, skipped steps.

One process writes (the first); the others only list the crops of their bad steps.
"""

import dataclasses
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ...core.data import SegmentBatch
from ...core.training.run_folder import open_board, open_metrics
from ..losses.spectrum import mel_magnitude
from .alarms import TrainingAlarms
from .state import TrainState
from .update import StepReport
from .validation import Validation


class Monitor:
    """The eyes of one run.

    Args:
        state: The run, at the step it starts or goes on from.
        run: Run folder.
    """

    def __init__(self, state: TrainState, run: Path) -> None:
        self.state = state
        self.run = run
        self.config = state.config
        self.alarms = TrainingAlarms(config=state.config)
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._since = time.monotonic()
        self._steps = 0
        main = state.accelerator.is_main_process
        self._metrics = open_metrics(run, state.step) if main else None
        self._board = open_board(run, state.step) if main and self.config.tensorboard else None
        self._bar = tqdm(
            total=self.config.steps,
            initial=state.step,
            desc=f"stage {self.config.stage}" if self.config.stage != "adapt" else "adapt",
            unit="step",
            disable=not (main and self.config.progress),
            mininterval=0.5 if sys.stderr.isatty() else 30.0,  # a log file wants fewer lines
        )

    def after_step(self, report: StepReport, batches: Sequence[SegmentBatch]) -> None:
        """Take in one step; write a line every ``log_every`` steps."""
        self._steps += 1
        if report.problem is not None:
            self._dump(report, batches)
        else:
            for name, value in report.losses.items():
                self._sums[name] = self._sums[name] + value if name in self._sums else value
                self._counts[name] = self._counts.get(name, 0) + 1
        if self.state.step % self.config.log_every == 0 or self.state.step == self.config.steps:
            self._log(report)
        self._bar.update(1)

    def validated(self, validation: Validation) -> None:
        """Write a validation to all places."""
        record = {"mel": validation.mel, "time": validation.time}
        self._write({"step": self.state.step, "validation": record})
        scores = ", ".join(f"{name} {value:.3f}" for name, value in validation.mel.items())
        self.say(f"step {self.state.step}: held-out mel distance {scores}")
        if self._board is None:
            return
        for kind, values in record.items():
            for name, value in values.items():
                self._board.add_scalar(f"validation/{kind}/{name}", value, self.state.step)
        rate = self.state.model.config.sample_rate
        for number, (target, sample) in enumerate(
            zip(validation.targets, validation.samples, strict=True)
        ):
            for name, wav in (("target", target), ("reconstruction", sample)):
                self._board.add_audio(
                    f"clip{number}/{name}", wav.clamp(-1, 1), self.state.step, sample_rate=rate
                )
            self._board.add_image(
                f"clip{number}/target_above_reconstruction",
                spectrogram_image([target, sample], rate),
                self.state.step,
                dataformats="HW",
            )

    def say(self, message: str) -> None:
        """Print above the progress bar, once over all processes."""
        if self.state.accelerator.is_main_process:
            tqdm.write(message, file=sys.stderr)

    def close(self) -> None:
        """Flush and close everything."""
        self._bar.close()
        if self._metrics is not None:
            self._metrics.close()
        if self._board is not None:
            self._board.close()

    def _log(self, report: StepReport) -> None:
        names = sorted(self._sums)
        losses: dict[str, float] = {}
        if names:
            means = torch.stack([self._sums[n].float() / self._counts[n] for n in names])
            # Every process comes here at the same step with the same names.
            means = self.state.accelerator.reduce(means, reduction="mean")
            losses = dict(zip(names, means.tolist(), strict=True))
        now = time.monotonic()
        crops = self._steps * self.config.batch_size
        rate = crops * self.config.segment_seconds / max(1e-9, now - self._since)
        self._sums, self._counts, self._steps, self._since = {}, {}, 0, now
        if self._metrics is None:
            return
        codebooks = []
        if self.config.stage == "2":
            codebooks = [
                {k: v for k, v in dataclasses.asdict(layer).items() if v is not None}
                for layer in self.state.model.quantizer.usage()
            ]
        self._write(
            {
                "step": self.state.step,
                "losses": losses,
                "gradient_norms": report.norms,
                "lr": self.config.lr * report.draw.lr_scale,
                "frames_per_query": report.draw.frames_per_query,
                "codebooks": codebooks,
                "skipped": self.state.skipped,
                "audio_seconds_per_second": round(rate, 2),
            }
        )
        self._show_scalars(losses, report, codebooks, rate)
        shown = {name: f"{losses[name]:.3f}" for name in ("mel", "adversarial") if name in losses}
        self._bar.set_postfix(**shown, audio=f"{rate:.0f}s/s", refresh=False)
        for alarm in self.alarms.check(self.state.step, losses, codebooks):
            self.say(f"ALARM at step {self.state.step}: {alarm}")
            self._write({"step": self.state.step, "alarm": alarm})
            if self._board is not None:
                self._board.add_text("alarm", alarm, self.state.step)

    def _show_scalars(
        self,
        losses: Mapping[str, float],
        report: StepReport,
        codebooks: Sequence[Mapping[str, float]],
        rate: float,
    ) -> None:
        if self._board is None:
            return
        scalars = {f"loss/{name}": value for name, value in losses.items()}
        scalars |= {f"gradient_norm/{name}": value for name, value in report.norms.items()}
        for number, layer in enumerate(codebooks, start=1):
            scalars |= {f"codebook{number}/{name}": value for name, value in layer.items()}
        scalars["run/lr"] = self.config.lr * report.draw.lr_scale
        scalars["run/audio_seconds_per_second"] = rate
        scalars["run/skipped"] = self.state.skipped
        for name, value in scalars.items():
            self._board.add_scalar(name, value, self.state.step)

    def _dump(self, report: StepReport, batches: Sequence[SegmentBatch]) -> None:
        """Say that a step was skipped, and write which crops were in it."""
        rank = self.state.accelerator.process_index
        path = self.run / "skipped" / f"step-{report.step:08d}.process-{rank}.json"
        path.parent.mkdir(exist_ok=True)
        record = {
            "step": report.step,
            "problem": report.problem,
            "gradient_norms": {name: repr(norm) for name, norm in report.norms.items()},
            "losses": {name: repr(float(value)) for name, value in report.losses.items()},
            "crops": [
                {"ids": list(ids), "domain": domain, "finite": bool(torch.isfinite(wav).all())}
                for batch in batches
                for ids, domain, wav in zip(batch.ids, batch.domains, batch.wav, strict=True)
            ],
        }
        path.write_text(json.dumps(record, indent=1), encoding="utf-8")
        self.say(f"step {report.step} skipped: {report.problem}; its crops are listed in {path}")
        if self._metrics is not None:
            self._write({"step": report.step + 1, "skipped_because": report.problem})

    def _write(self, record: Mapping[str, Any]) -> None:
        if self._metrics is not None:
            self._metrics.write(json.dumps(record) + "\n")
            self._metrics.flush()


def spectrogram_image(wavs: Sequence[Tensor], sample_rate: int) -> Tensor:
    """Log-mel spectrograms ``[S]`` one above the other as one grey image ``[H, W]`` in 0..1."""
    pictures = []
    for wav in wavs:
        mel = mel_magnitude(
            wav[None], sample_rate=sample_rate, n_fft=1024, hop_length=256, n_mels=96
        )[0]  # [L, M]
        decibels = 20 * (mel + 1e-5).log10()
        pictures.append(((decibels + 80) / 100).clamp(0, 1).T.flip(0))  # low tones below
    line = torch.ones(2, pictures[0].shape[1])
    parts = [part for picture in pictures for part in (picture, line)][:-1]
    return torch.cat(parts)
