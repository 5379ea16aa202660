"""Causal convolutions that stream: one code path for whole signals and for chunks.

Every module has `step(x, state) -> (y, state)`; a state of None is the start of the signal, and the
offline call is a single step. Features are `[B, T, C]`, so a strided convolution is a reshape
(`stride` samples become channels) and a short convolution at the lower rate, and each convolution
is one matrix product over its taps. This is the same family of functions as SEANet's strided and
transposed convolutions of kernel `2 * stride`, without a pass at the full rate.

Shapes: `B` batch, `T` steps at the layer's rate, `C` input channels, `O` output channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.derived import Derived
from ..core.linear import can_pack, linear, pack, packed_linear


class CausalConv(nn.Module):
    """Causal convolution over time with stride 1.

    Args:
        in_channels: `C`. out_channels: `O`. kernel_size: number of taps. dilation: distance between
        taps, in steps. weight_norm: reparametrise each output channel as gain times direction.
        Without gradients the
            product is computed once and cached.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        dilation: int = 1,
        weight_norm: bool = True,
    ):
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.weight = nn.Parameter(torch.empty(out_channels, kernel_size * in_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.gain = nn.Parameter(torch.ones(out_channels, 1)) if weight_norm else None
        self._fused: Derived[Tensor] = Derived()
        self._packed: Derived[Tensor] = Derived()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights that preserve the variance; biases are zero.

        PyTorch's default initialisation loses two thirds of the variance in each layer and adds as
        much by random biases: after ten layers the biases would dominate the frames.
        """
        nn.init.normal_(self.weight, std=self.weight.shape[1] ** -0.5)
        nn.init.zeros_(self.bias)
        if self.gain is not None:
            with torch.no_grad():
                self.gain.copy_(self.weight.norm(dim=1, keepdim=True))

    @property
    def num_past(self) -> int:
        """Number of past steps that one output needs: the length of the state."""
        return (self.kernel_size - 1) * self.dilation

    def step(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map `[B, T, C]` to `[B, T, O]`, given the last `num_past` inputs before it."""
        steps = x.shape[1]
        if self.num_past == 0:
            return self._map(x), x[:, :0]
        if state is None:
            x = F.pad(x, (0, 0, self.num_past, 0))
        else:
            x = torch.cat([state, x], dim=1)
        # concatenated taps: [B, T, kernel * C]
        taps = [x[:, i * self.dilation :][:, :steps] for i in range(self.kernel_size)]
        return self._map(torch.cat(taps, dim=-1)), x[:, steps:].clone()

    def forward(self, x: Tensor) -> Tensor:
        """Map a whole signal `[B, T, C]` to `[B, T, O]`."""
        return self.step(x, None)[0]

    def _map(self, taps: Tensor) -> Tensor:
        """Map `[B, T, kernel * C]` to `[B, T, O]`."""
        if self.gain is None:
            return linear(taps, self.weight, self.bias)
        sources = self.weight, self.gain
        if can_pack(taps, self.weight):  # caches the packed product only
            packed = self._packed.get(sources, lambda: pack(self._normalized()))
            return packed_linear(taps, packed, self.bias)
        return F.linear(taps, self._fused.get(sources, self._normalized), self.bias)

    def _normalized(self) -> Tensor:
        assert self.gain is not None
        norm = self.weight.norm(dim=1, keepdim=True)
        return self.weight * (self.gain / norm)


# Output and cell `[B, layers, C]` after the last step.
LstmState = tuple[Tensor, Tensor]


class Downsample(nn.Module):
    """Strided causal convolution of kernel `2 * stride`: `[B, T * stride, C]` to `[B, T, O]`."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, *, weight_norm: bool):
        super().__init__()
        self.stride = stride
        self.conv = CausalConv(
            stride * in_channels, out_channels, kernel_size=2, weight_norm=weight_norm
        )

    def step(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Fold `stride` steps into channels and convolve; T is a multiple of `stride`."""
        batch, steps, channels = x.shape
        x = x.reshape(batch, steps // self.stride, self.stride * channels)
        return self.conv.step(x, state)


class Upsample(nn.Module):
    """Transposed causal convolution: `[B, T, C]` to `[B, T * stride, O]`, no look-ahead."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        *,
        weight_norm: bool,
        kernel_size: int = 2,
    ):
        super().__init__()
        self.stride = stride
        self.conv = CausalConv(
            in_channels, stride * out_channels, kernel_size, weight_norm=weight_norm
        )

    def step(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Convolve, then unfold channels into `stride` steps."""
        y, state = self.conv.step(x, state)
        batch, steps, channels = y.shape
        return y.reshape(batch, steps * self.stride, channels // self.stride), state


class ResidualUnit(nn.Module):
    """`x + conv1(elu(conv_k(elu(x))))` with half the channels in between (SEANet)."""

    def __init__(self, channels: int, kernel_size: int, *, weight_norm: bool):
        super().__init__()
        hidden = max(1, channels // 2)
        self.wide = CausalConv(channels, hidden, kernel_size, weight_norm=weight_norm)
        self.narrow = CausalConv(hidden, channels, 1, weight_norm=weight_norm)

    def step(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        """Map `[B, T, C]` to `[B, T, C]`."""
        y, state = self.wide.step(F.elu(x), state)
        y, _ = self.narrow.step(_elu(y), None)
        return x + y, state


class Lstm(nn.Module):
    """`x + lstm(x)` over time, as in EnCodec."""

    def __init__(self, channels: int, num_layers: int):
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, num_layers, batch_first=True)

    def step(self, x: Tensor, state: LstmState | None) -> tuple[Tensor, LstmState]:
        """Map `[B, T, C]` to `[B, T, C]`."""
        before = None if state is None else [part.transpose(0, 1).contiguous() for part in state]
        y, (output, cell) = self.lstm(x, before)
        return x + y, (output.transpose(0, 1), cell.transpose(0, 1))


class Elu(nn.Module):
    """ELU with the interface of a step, after another module of a :class:`Chain`."""

    def step(self, x: Tensor, state: None) -> tuple[Tensor, None]:
        """Map `[B, T, C]` to `[B, T, C]`; there is no state."""
        return _elu(x), None


def _elu(x: Tensor) -> Tensor:
    """ELU, in place where no gradient needs the input."""
    return F.elu(x, inplace=not torch.is_grad_enabled())


class Chain(nn.ModuleList):
    """Sequence of modules with `step`; its state is the list of their states."""

    def step(self, x: Tensor, state: list | None) -> tuple[Tensor, list]:
        """Apply all modules in order."""
        states = state if state is not None else [None] * len(self)
        new_states = []
        for module, before in zip(self, states, strict=True):
            x, after = module.step(x, before)  # type: ignore[operator]
            new_states.append(after)
        return x, new_states
