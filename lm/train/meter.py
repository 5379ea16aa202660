"""Losses and accuracies by stream, summed exactly over batches, steps and processes.

Letters: `B` batch, `L` rows, `K` codebooks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..config import AudioLMConfig
from ..loss import audio_weights
from ..model import AudioLMOutput
from ..sequences import IGNORED


@dataclass(frozen=True)
class MeterReading:
    """Means over all targets that were met."""

    loss: float  # weighted over the streams, as it is trained
    losses: dict[str, float]  # by stream: text, audio_1 .. audio_K; those with targets; ctc
    accuracies: dict[str, float]  # by the same names
    targets: int

    def record(self) -> dict[str, object]:
        """For JSON."""
        return {
            "loss": self.loss,
            "losses": self.losses,
            "accuracies": self.accuracies,
            "targets": self.targets,
        }


class Meter:
    """Adds up what a model said of its batches; nothing waits for the device until it is read."""

    def __init__(self, config: AudioLMConfig, device: torch.device) -> None:
        self._names = ["text", *(f"audio_{k + 1}" for k in range(config.num_codebooks))]
        weights = [config.text_weight, *audio_weights(config)]
        self._weights = torch.tensor(weights, dtype=torch.float64)
        self._ctc_weight = config.ctc_weight
        self._device = device
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        # float32 on the device (no float64 on some): summed over a few steps only.
        self._sums = torch.zeros(3, len(self._names), device=self._device)  # loss, hits, count
        self._heard = torch.zeros(2, device=self._device)  # CTC: loss, count

    def add(self, outputs: AudioLMOutput, labels: Tensor, weight: float = 1.0) -> None:
        """Take in a batch.

        Args:
            outputs: of the model, with losses.
            labels: `[B, L, 1+K]`.
            weight: 0 leaves the batch out.
        """
        assert outputs.losses is not None and outputs.accuracies is not None
        counts = (labels[:, 1:] != IGNORED).sum(dim=(0, 1)).to(self._device) * weight  # [1+K]
        means = torch.stack([outputs.losses[name].float() for name in self._names])
        hits = torch.stack([outputs.accuracies[name].float() for name in self._names])
        self._sums += torch.stack([means * counts, hits * counts, counts])
        if outputs.heard is not None:
            self._heard += outputs.heard.float() * weight

    def merge(self, other: Meter) -> None:
        """Take in all that another meter has."""
        self._sums += other._sums
        self._heard += other._heard

    def read(self, add_up: Callable[[Tensor], Tensor]) -> MeterReading:
        """Say the means.

        Args:
            add_up: sum of a tensor over the processes.
        """
        sums = add_up(self._sums).cpu().double()
        total, hits, count = sums
        known = [n for n in range(len(self._names)) if count[n] > 0]
        targets = float(count.sum())
        heard, spelled = add_up(self._heard).tolist()
        whole = float((self._weights * total).sum()) + self._ctc_weight * heard
        ctc = {"ctc": heard / spelled} if spelled else {}
        return MeterReading(
            loss=whole / max(1.0, targets),
            losses={self._names[n]: float(total[n] / count[n]) for n in known} | ctc,
            accuracies={self._names[n]: float(hits[n] / count[n]) for n in known},
            targets=round(targets),
        )
