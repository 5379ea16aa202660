"""Whisper's encoder as a frozen teacher of speech, differentiable in the waveform.

Not in the paper, whose teacher of speech is wav2vec 2.0 (paper.md 3, D).

Shapes: `B` clips, `S` samples, `F` frames of 10 ms, `M` mel bands, `N` frames of 20 ms, `L` layers,
`P` width of the encoder, `V = L P`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import WhisperFeatureExtractor, WhisperModel

from ..core.loading import load_float32
from ..core.reading import reading

WHISPER_RATE = 16_000
FRAME_RATE = 50  # feature vectors per second
# Silence after a clip, in features (half a second). Whisper is trained on clips of 30 s that end in
# silence; without any, the features of a short clip differ more from those (docs/priors.md).
_SILENCE = 25


class WhisperFeatures(nn.Module):
    """Hidden states of Whisper's encoder for clips that are not padded to 30 s.

    The log-mel spectrum is that of ``WhisperFeatureExtractor``, computed at any rate: a window of
    25 ms has a bin every 40 Hz at all rates, so that a codec's output needs no resampling.

    Args:
        model: Whisper, of which the encoder is used.
        layers: Layers, from 1 (0 is the input of the first; the last has its final norm); empty:
            the one at two thirds of the depth, which tells phones best (docs/priors.md).
        sample_rate: Of the clips, in Hz.

    Raises:
        ValueError: There is no such layer, or a frame at this rate is no whole number of samples.
    """

    window: Tensor
    filters: Tensor

    def __init__(
        self, model: WhisperModel, *, layers: Sequence[int] = (), sample_rate: int = WHISPER_RATE
    ):
        super().__init__()
        config = model.config
        depth = config.encoder_layers
        if any(not 0 <= layer <= depth for layer in layers):
            raise ValueError(f"layers must lie in 0..{depth}, got {list(layers)}")
        if sample_rate < WHISPER_RATE or sample_rate % 400:
            raise ValueError(
                f"sample_rate must be a multiple of 400 Hz and at least {WHISPER_RATE},"
                f" got {sample_rate}"
            )
        self.layers = tuple(layers) or (round(2 / 3 * depth),)
        self.encoder = model.encoder
        self.width, self.dim = config.d_model, config.d_model * len(self.layers)
        self.sample_rate, self.hop_length = sample_rate, sample_rate // FRAME_RATE
        self.max_samples = (config.max_source_positions - _SILENCE) * self.hop_length
        filters = WhisperFeatureExtractor(
            feature_size=config.num_mel_bins
        ).mel_filters.T  # [M, 201]
        self.register_buffer("filters", torch.tensor(filters, dtype=torch.float32))
        self.register_buffer("window", torch.hann_window(sample_rate // 40))
        self.eval().requires_grad_(False)

    @classmethod
    def from_pretrained(
        cls, checkpoint: str, *, layers: Sequence[int] = (), sample_rate: int = WHISPER_RATE
    ) -> Self:
        """Load a checkpoint of Whisper in float32; no code is run.

        Args:
            checkpoint: Hub id or folder.
            layers: As in the constructor.
            sample_rate: As in the constructor.

        Raises:
            ValueError: It is not a Whisper model, lacks weights, or has no such layer.
            OSError: There is no such folder or hub id.
        """
        with reading(checkpoint):
            model = load_float32(WhisperModel, checkpoint, "whisper", unused=("decoder.",))
            return cls(model, layers=layers, sample_rate=sample_rate)

    def train(self, mode: bool = True) -> Self:
        """Do nothing: the module stays in evaluation mode."""
        return super().train(False)

    def log_mel(self, wav: Tensor) -> Tensor:
        """Return the input `[B, M, F]` of the encoder for waveforms `[B, S]`.

        Silence is added up to a whole number of features, and half a second more.
        """
        n_fft, hop = len(self.window), self.hop_length // 2
        frames = 2 * (-(-wav.shape[-1] // self.hop_length) + _SILENCE)
        wav = F.pad(wav.float(), (0, frames * hop - wav.shape[-1] + n_fft // 2))
        wav = F.pad(wav[:, None], (n_fft // 2, 0), mode="reflect")[:, 0]
        spectrum = torch.stft(
            wav, n_fft, hop, window=self.window, center=False, return_complex=True
        )[..., :frames]
        spectrum = spectrum[:, : self.filters.shape[1]] * (WHISPER_RATE / self.sample_rate)
        power = spectrum.real.square() + spectrum.imag.square()
        log_mel = (self.filters @ power).clamp_min(1e-10).log10()  # [B, M, F]
        floor = log_mel.detach().amax(dim=(1, 2), keepdim=True) - 8.0
        return (torch.maximum(log_mel, floor) + 4.0) / 4.0

    def features(self, wav: Tensor) -> Tensor:
        """Return the features `[B, N, V]` of waveforms `[B, 1, S]`: those of all layers."""
        return self(wav[:, 0]).transpose(1, 2).flatten(2)

    def forward(self, wav: Tensor) -> Tensor:
        """Return the hidden states `[B, L, N, P]` of waveforms `[B, S]`, in float32.

        `N` is `S / hop_length`, rounded up.

        Raises:
            ValueError: The clips are longer than the positions of the encoder.
        """
        if wav.shape[-1] > self.max_samples:
            raise ValueError(
                f"clips must have at most {self.max_samples / self.sample_rate:g} s,"
                f" got {wav.shape[-1] / self.sample_rate:g}"
            )
        if not len(wav):  # an FFT refuses it
            frames = -(-wav.shape[-1] // self.hop_length)
            return wav.sum() + wav.new_zeros(0, len(self.layers), frames, self.width)
        encoder = self.encoder
        with torch.autocast(wav.device.type, enabled=False):
            x = F.gelu(encoder.conv1(self.log_mel(wav)))
            x = F.gelu(encoder.conv2(x)).transpose(1, 2)
            x = x + encoder.embed_positions.weight[: x.shape[1]]
            states = [x]
            for layer in encoder.layers[: max(self.layers)]:
                states.append(layer(states[-1], None))
            if len(states) > len(encoder.layers):
                states[-1] = encoder.layer_norm(states[-1])
            stacked = torch.stack([states[layer] for layer in self.layers], dim=1)
        return stacked[:, :, : stacked.shape[2] - _SILENCE]
