"""Metrics of a training run: losses, accuracies, samples, skipped steps.

Shapes: `B` batch, `L` rows, `K` codebooks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ...codec.tokens import AudioTokens
from ...core.report.pictures import code_pixels, spectrogram_pixels
from ...core.training.run_folder import Monitor
from ..config import AudioLMConfig
from ..loss import audio_weights
from ..output import AudioLMOutput
from ..sequences import IGNORED
from .config import LMTrainingConfig

if TYPE_CHECKING:
    from .validation import ValidationSample


@dataclass(frozen=True)
class MeterReading:
    """Means over all targets since the meter was cleared."""

    loss: float  # weighted over the streams, as it is trained
    losses: dict[str, float]  # by stream: text, audio_1 .. audio_K; those with targets; ctc
    accuracies: dict[str, float]  # by the same names
    targets: int

    def record(self) -> dict[str, object]:
        """Return JSON values."""
        return {
            "loss": self.loss,
            "losses": self.losses,
            "accuracies": self.accuracies,
            "targets": self.targets,
        }


class Meter:
    """Sums losses and hits over batches, steps and processes; only reading waits for the device."""

    def __init__(self, config: AudioLMConfig, device: torch.device) -> None:
        self._names = ["text", *(f"audio_{k + 1}" for k in range(config.num_codebooks))]
        weights = [config.text_weight, *audio_weights(config)]
        self._weights = torch.tensor(weights, dtype=torch.float64)
        self._ctc_weight = config.ctc_weight
        self._device = device
        self.clear()

    def clear(self) -> None:
        """Set all sums to zero."""
        # float32 on the device (no float64 on some): summed over a few steps only.
        self._sums = torch.zeros(3, len(self._names), device=self._device)  # loss, hits, count
        self._ctc = torch.zeros(2, device=self._device)  # loss, count

    def add(self, outputs: AudioLMOutput, labels: Tensor, weight: float = 1.0) -> None:
        """Add a batch.

        Args:
            outputs: Outputs of the model, with losses.
            labels: `[B, L, 1+K]`.
            weight: 0 leaves the batch out.
        """
        assert outputs.losses is not None and outputs.accuracies is not None
        counts = (labels[:, 1:] != IGNORED).sum(dim=(0, 1)).to(self._device) * weight  # [1+K]
        means = torch.stack([outputs.losses[name].float() for name in self._names])
        hits = torch.stack([outputs.accuracies[name].float() for name in self._names])
        self._sums += torch.stack([means * counts, hits * counts, counts])
        if outputs.ctc is not None:
            ctc = torch.stack([outputs.ctc.total.detach().float(), outputs.ctc.count.float()])
            self._ctc += ctc * weight

    def merge(self, other: Meter) -> None:
        """Add the sums of another meter."""
        self._sums += other._sums
        self._ctc += other._ctc

    def read(self, add_up: Callable[[Tensor], Tensor]) -> MeterReading:
        """Return the means.

        Args:
            add_up: Sum of a tensor over the processes.
        """
        sums = add_up(self._sums).cpu().double()
        total, hits, count = sums
        present = [n for n in range(len(self._names)) if count[n] > 0]
        targets = float(count.sum())
        ctc_loss, ctc_count = add_up(self._ctc).tolist()
        whole = float((self._weights * total).sum()) + self._ctc_weight * ctc_loss
        ctc = {"ctc": ctc_loss / ctc_count} if ctc_count else {}
        return MeterReading(
            loss=whole / max(1.0, targets),
            losses={self._names[n]: float(total[n] / count[n]) for n in present} | ctc,
            accuracies={self._names[n]: float(hits[n] / count[n]) for n in present},
            targets=round(targets),
        )


class LMMonitor(Monitor):
    """Reports a run of the language model."""

    def __init__(
        self,
        config: LMTrainingConfig,
        step: int,
        *,
        codec: Any = None,
        main: bool = True,
    ) -> None:
        """Open the log.

        Args:
            config: Configuration of the run.
            step: Step where it starts or resumes.
            codec: Decodes samples, or None.
            main: Whether this is the first process.
        """
        super().__init__(config, step, name="adapter" if config.lora_rank else "lm", main=main)
        self._codec = codec
        self._originals_shown = step > 0

    def log(
        self, step: int, reading: MeterReading, *, lr: float, gradient_norm: float, skipped: int
    ) -> None:
        """Write the means since the last line."""
        rate = reading.targets / self.seconds()
        self.write(
            {
                "step": step,
                **reading.record(),
                "lr": lr,
                "gradient_norm": gradient_norm if math.isfinite(gradient_norm) else None,
                "skipped": skipped,
                "targets_per_second": round(rate, 1),
            }
        )
        self._show_reading("", reading, step)
        run = {"lr": lr, "gradient_norm": gradient_norm, "skipped": skipped}
        self.scalars({**run, "targets_per_second": rate}, step, "run/")
        self.show(loss=f"{reading.loss:.3f}", targets=f"{rate:.0f}/s")

    def validated(
        self, step: int, readings: Mapping[str, MeterReading], samples: Sequence[ValidationSample]
    ) -> None:
        """Write a validation and its samples."""
        self.write({"step": step, "validation": {t: r.record() for t, r in readings.items()}})
        losses = ", ".join(f"{task} {reading.loss:.3f}" for task, reading in readings.items())
        self.say(f"step {step}: held-out loss {losses}")
        for task, reading in readings.items():
            self._show_reading(f"validation/{task}/", reading, step)
        for sample in samples:
            self._show_sample(sample, step)
        self._originals_shown = True
        if self.tracker is not None:
            self.tracker.flush()
        self.seconds()  # validation does not count as training time

    def skipped(self, step: int, norm: float, problem: str) -> None:
        """Report a skipped step."""
        self.write({"step": step + 1, "skipped_because": f"gradient norm {norm}"})
        self.say(f"step {step} skipped: {problem}")

    def _show_reading(self, prefix: str, reading: MeterReading, step: int) -> None:
        self.scalars({"loss": reading.loss}, step, prefix)
        self.scalars(reading.losses, step, f"{prefix}loss/")
        self.scalars(reading.accuracies, step, f"{prefix}accuracy/")

    def _show_sample(self, sample: ValidationSample, step: int) -> None:
        """Show a sample in the tracker, with its original the first time."""
        if self.tracker is None:
            return
        place = f"{sample.task}/{sample.number}"
        if isinstance(sample.target, str):
            text = f"original: {sample.target}\n\nmodel: {sample.made}"
            self.tracker.text(place, text, step)
            return
        pairs = [("model", sample.made)]
        if not self._originals_shown:
            pairs.append(("original", sample.target))
        for name, codes in pairs:
            assert isinstance(codes, Tensor)
            if codes.shape[1]:
                self.tracker.image(f"{place}/{name}_codes", code_pixels(codes), step)
            wav = None
            if self._codec is not None:
                wav = waveform(self._codec, codes, sample.frames_per_query)
            if wav is not None:
                rate = self._codec.sample_rate
                self.tracker.audio(f"{place}/{name}", wav, rate, step)
                pixels = spectrogram_pixels([wav], rate)
                self.tracker.image(f"{place}/{name}_spectrogram", pixels, step)


def waveform(codec: Any, codes: Tensor, frames_per_query: int) -> Tensor | None:
    """Decode codes `[K, Q]` to samples `[S]`; None without queries."""
    if not codes.shape[1]:
        return None
    samples = codes.shape[1] * frames_per_query * codec.config.hop_length
    tokens = AudioTokens(codes, frames_per_query, samples, codec.sample_rate, codec.fingerprint)
    with torch.no_grad():
        return codec.detokenize(tokens).cpu()
