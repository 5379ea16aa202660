"""Phoneme classifier: a waveform to log-probabilities of phones for each frame of the codec.

Shapes: `B` batch, `S` samples, `T` frames, `M` mel bands, `P` phones, `W` width.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...core.field_types import check_fields
from ...core.reading import field, reading
from ...core.size_limit import SizeLimit
from ..losses.spectrum import mel_magnitude
from ..priors.files import load_tensors, save_tensors
from .config import PHONES, PhonemeClassifierConfig

_FLOOR = 1e-4  # magnitudes below this are silence
_KIND, _OLD_KIND = "almtok-phonemes", "almtok-listener"


class PhonemeClassifier(nn.Module):
    """Convolutional network on log-mel spectra with a receptive field of a third of a second.

    Example:
        >>> classifier = PhonemeClassifier(PhonemeClassifierConfig(width=32))
        >>> classifier.target_log_posteriors(torch.randn(1, 1, 24_000)).shape
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
        """Number of phone classes P."""
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
        """Hidden states `[B, W, T]` of the last layer for features `[B, T, M]`."""
        x = self.enter(0.5 * (features.transpose(1, 2) + 6.0))  # to about unit variance
        for layer in self.layers:
            x = x + layer(x)
        return self.leave[0](x)

    def forward(self, features: Tensor) -> Tensor:
        """Logits `[B, T, P]` of features `[B, T, M]`."""
        return self.leave[1](self.states(features)).transpose(1, 2)

    def log_posteriors(self, wav: Tensor) -> Tensor:
        """Log-probabilities `[B, T, P]` of waveforms `[B, 1, S]`."""
        return F.log_softmax(self(self.features(wav)).float(), dim=-1)

    @torch.no_grad()
    def target_log_posteriors(self, wav: Tensor) -> Tensor:
        """Log-probabilities `[B, T, P]` of waveforms `[B, 1, S]`, without gradients."""
        return self.log_posteriors(wav)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file."""
        config = dataclasses.asdict(self.config)
        metadata = {"kind": _KIND, "phones": list(PHONES), "config": config}
        save_tensors(Path(path), dict(self.state_dict()), metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PhonemeClassifier:
        """Read a file of :meth:`save`; the classifier is in evaluation mode and frozen.

        Raises:
            ValueError: The file is not a phoneme classifier, or has another set of phones.
        """
        tensors, metadata = load_tensors(Path(path))
        if metadata.get("kind") not in (_KIND, _OLD_KIND) or metadata.get("phones") != list(PHONES):
            raise ValueError(
                f"{path} is not a phoneme classifier of this version: train one with"
                " 'almtok codec phonemes'"
            )
        with reading(path), SizeLimit.of_files([Path(path)]):
            values = field(metadata, "config", dict, path)
            values["dilations"] = tuple(field(values, "dilations", list, path))
            config = PhonemeClassifierConfig(**values)
            check_fields(config)
            classifier = cls(config)
            classifier.load_state_dict(tensors)
        return classifier.eval().requires_grad_(False)
