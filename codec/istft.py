"""Vocoder of ConvNeXt blocks at the frame rate and an inverse STFT (Vocos, Siuzdak 2023).

    frames [B,T,D] -> convolution, ConvNeXt blocks [B,T,E] -> spectra [B,T,F] -> overlap-add -> wav

Nothing runs at the sample rate but the overlap-add. The network predicts log magnitudes and angles
of each frame's spectrum; an angle enters by its cosine and sine, so it needs no unwrapping.
Not part of the paper: ours (D).

Vocos is not causal. Here the window of frame t begins with the samples of frame t and extends over
those of the following frames, so the waveform of a frame depends on no later frame.

The inverse DFT is a matrix product in float32: it needs no complex numbers, which not every device
has, and at this size costs less than a ConvNeXt block.

Shapes: `B` batch, `T` frames, `D` width, `E` inner width, `F` frequency bins, `N` window samples.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.linear import Linear, linear_gelu
from .config import ALMTokenizerConfig
from .conv import CausalConv, Chain
from .streaming import StreamingModule
from .vocoder import overlap_add

KERNEL_SIZE = 7
_FFN_RATIO = 3
_LOUDEST = 4.0  # log magnitude, in units of an orthonormal DFT


@dataclass(frozen=True)
class IstftState:
    """State between two steps of a stream."""

    layers: list  # of the convolutions
    tails: Tensor  # [B, N / hop - 1, N], windows of the last frames, see overlap_add


class IstftVocoder(StreamingModule):
    """Predicts the spectrum of each frame from it and earlier ones; causal, no look-ahead."""

    def __init__(self, config: ALMTokenizerConfig):
        super().__init__()
        self.hop_length = config.hop_length
        self.n_fft = config.istft_hops * config.hop_length
        width, depth = config.istft_width or config.hidden_size, config.istft_layers
        first = CausalConv(config.hidden_size, width, KERNEL_SIZE, weight_norm=False)
        self.layers = Chain([first, *(ConvNextBlock(width, 1 / depth) for _ in range(depth))])
        self.norm = nn.LayerNorm(width)
        self.output = Linear(width, self.n_fft + 2)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Start with angles that differ from bin to bin: equal ones are a click in each frame."""
        self.output.bias[self.n_fft // 2 + 1 :].uniform_(-math.pi, math.pi)

    @torch.no_grad()
    def initialize(self, wav: Tensor) -> None:
        """Initialize with the mean spectrum of `[B, 1, S]`."""
        window = torch.hann_window(self.n_fft, device=wav.device)
        window /= window.square().mean().sqrt()
        frames = wav.float().unfold(-1, self.n_fft, self.n_fft) * window
        spectrum = torch.fft.rfft(frames, norm="ortho").abs()
        bins = self.n_fft // 2 + 1
        self.output.weight[:bins].mul_(0.1)
        self.output.bias[:bins] = (spectrum + 1e-4).log().flatten(0, -2).mean(dim=0)

    def step(self, x: Tensor, state: IstftState | None) -> tuple[Tensor, IstftState]:
        """Map frames `[B, T, D]` to a waveform `[B, 1, T * hop]`."""
        hidden, layers = self.layers.step(x, None if state is None else state.layers)
        windows = self.synthesize(self.output(self.norm(hidden).to(hidden.dtype)))
        if state is None:
            past = self.n_fft // self.hop_length - 1
            tails = windows.new_zeros(windows.shape[0], past, self.n_fft)
        else:
            tails = state.tails
        wav, tails = overlap_add(windows, tails, self.hop_length)
        return wav, IstftState(layers, tails)

    def synthesize(self, output: Tensor) -> Tensor:
        """Windowed waveforms `[B, T, N]` of log magnitudes and angles `[B, T, 2 * F]`, float32."""
        with nullcontext() if output.is_meta else torch.autocast(output.device.type, enabled=False):
            log_magnitude, angle = output.float().chunk(2, dim=-1)
            magnitude = log_magnitude.clamp(max=_LOUDEST).exp()
            parts = torch.cat([magnitude * angle.cos(), magnitude * angle.sin()], dim=-1)
            return parts @ _inverse_dft(self.n_fft, self.hop_length, output.device)


class ConvNextBlock(nn.Module):
    """Causal depthwise convolution, LayerNorm, feed-forward, residual (ConvNeXt, Liu 2022)."""

    def __init__(self, width: int, scale: float):
        super().__init__()
        self.taps = nn.Parameter(torch.randn(KERNEL_SIZE, width) * KERNEL_SIZE**-0.5)
        self.bias = nn.Parameter(torch.zeros(width))
        self.norm = nn.LayerNorm(width)
        self.ffn_in = Linear(width, _FFN_RATIO * width)
        self.ffn_out = Linear(_FFN_RATIO * width, width)
        self.scale = nn.Parameter(torch.full((width,), scale))

    def step(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map `[B, T, E]` to `[B, T, E]`, given the last six inputs before it."""
        steps, past = x.shape[1], KERNEL_SIZE - 1
        padded = F.pad(x, (0, 0, past, 0)) if state is None else torch.cat([state, x], dim=1)
        y = self.bias.to(x.dtype)
        for place, tap in enumerate(self.taps.to(x.dtype)):
            y = torch.addcmul(y, padded[:, place : place + steps], tap)
        y = self.norm(y).to(x.dtype)
        y = self.ffn_out(linear_gelu(self.ffn_in, y))
        return torch.addcmul(x, self.scale.to(x.dtype), y.to(x.dtype)), padded[:, steps:].clone()


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # training rejects inference tensors
def _inverse_dft(n_fft: int, hop_length: int, device: torch.device) -> Tensor:
    """Matrix `[2 * F, N]` from real and imaginary parts to samples under a Hann window.

    The windows of all frames add up to one at each sample.
    """
    unit = np.eye(n_fft // 2 + 1)
    samples = np.fft.irfft(np.concatenate([unit, 1j * unit]), n_fft, norm="ortho")
    n = np.arange(n_fft)
    window = (1 - np.cos(2 * np.pi * n / n_fft)) * hop_length / n_fft
    return torch.from_numpy((samples * window).astype(np.float32)).to(device)
