"""The listener: a waveform to log-probabilities of phones, one row for each frame of the codec.

Letters: `B` batch, `S` samples, `T` frames, `M` mel bands, `P` phones, `W` width.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..losses.spectrum import mel_magnitude
from ..priors.files import load_tensors, save_tensors
from .config import PHONES, PhonemeClassifierConfig

_FLOOR = 1e-4  # magnitudes below this are silence
_KIND = "almtok-listener"


class PhonemeClassifier(nn.Module):
    """Convolutions over a log-mel spectrum; sees a third of a second around each frame.

    Example:
        >>> listener = Listener(ListenerConfig(width=32))
        >>> listener.hear(torch.randn(1, 1, 24_000)).shape
        torch.Size([1, 75, 41])
    """

    def __init__(self, config: PhonemeClassifierConfig):
        super().__init__()
        self.config = config
        width = config.width
        self.enter = nn.Conv1d(config.num_bands, width, 5, padding=2)
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(1, width),
                nn.Conv1d(width, width, 5, padding=2 * dilation, dilation=dilation),
                nn.GELU(),
                nn.Conv1d(width, width, 1),
            )
            for dilation in config.dilations
        )
        self.leave = nn.Sequential(nn.GroupNorm(1, width), nn.Conv1d(width, len(PHONES), 1))

    @property
    def num_phones(self) -> int:
        """Phones P that it tells apart."""
        return len(PHONES)

    def features(self, wav: Tensor) -> Tensor:
        """Log-mel spectrum `[B, T, M]` of `[B, 1, S]`, `T = S // hop_length`."""
        mel = mel_magnitude(
            wav,
            sample_rate=self.config.sample_rate,
            n_fft=4 * self.config.hop_length,
            hop_length=self.config.hop_length,
            n_mels=self.config.num_bands,
        )
        return mel[:, : wav.shape[-1] // self.config.hop_length].clamp_min(_FLOOR).log()

    def states(self, features: Tensor) -> Tensor:
        """What it knows before it names phones, `[B, W, T]`, of features `[B, T, M]`."""
        x = self.enter(0.5 * (features.transpose(1, 2) + 6.0))  # about one unit wide
        for layer in self.layers:
            x = x + layer(x)
        return self.leave[0](x)

    def forward(self, features: Tensor) -> Tensor:
        """Logits `[B, T, P]` of features `[B, T, M]`."""
        return self.leave[1](self.states(features)).transpose(1, 2)

    def listen(self, wav: Tensor) -> Tensor:
        """Log-probabilities `[B, T, P]` of waveforms `[B, 1, S]`."""
        return F.log_softmax(self(self.features(wav)).float(), dim=-1)

    @torch.no_grad()
    def hear(self, wav: Tensor) -> Tensor:
        """The same, without gradients."""
        return self.listen(wav)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file."""
        about = {"kind": _KIND, "phones": list(PHONES), "config": dataclasses.asdict(self.config)}
        save_tensors(Path(path), dict(self.state_dict()), about)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PhonemeClassifier:
        """Read what :meth:`save` wrote, in evaluation mode and frozen.

        Raises:
            ValueError: the file holds something else, or knows other phones.
        """
        tensors, about = load_tensors(Path(path))
        if about.get("kind") != _KIND or about.get("phones") != list(PHONES):
            raise ValueError(
                f"{path} is no listener of this almtok: make one by 'almtok codec phonemes'"
            )
        values = about["config"]
        values["dilations"] = tuple(values["dilations"])
        listener = cls(PhonemeClassifierConfig(**values))
        listener.load_state_dict(tensors)
        return listener.eval().requires_grad_(False)
