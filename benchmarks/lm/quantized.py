"""Linear maps with weights of 8 bits, to see what they would gain; the library has none of them.

Letters: `I` inputs, `O` outputs.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn


def to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weight `[O, I]` in steps, int8, and the size of a step for each output, `[O]`."""
    weight = weight.detach().float()
    step = weight.abs().amax(dim=1).clamp_min(1e-8) / 127
    return (weight / step[:, None]).round().to(torch.int8), step


class Int8Linear(nn.Module):
    """Weights of 8 bits, activations as they come: half the bytes of bfloat16."""

    def __init__(self, plain: nn.Linear):
        super().__init__()
        quantized, step = to_int8(plain.weight)
        self.bias = plain.bias
        self.register_buffer("quantized", quantized)
        self.register_buffer("step", step.to(plain.weight.dtype))

    @property
    def num_bytes(self) -> int:
        """Bytes of weights that a call reads."""
        return self.quantized.numel()

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., I]` to `[..., O]`."""
        y = torch._weight_int8pack_mm(x.reshape(-1, x.shape[-1]), self.quantized, self.step)
        y = y.view(*x.shape[:-1], y.shape[-1])
        return y if self.bias is None else y + self.bias


class DynamicInt8Linear(nn.Module):
    """Weights of 8 bits, and activations rounded to 8 bits in every call (oneDNN)."""

    def __init__(self, plain: nn.Linear):
        super().__init__()
        torch.backends.quantized.engine = "onednn"
        quantized, step = to_int8(plain.weight)
        zeros = torch.zeros(len(step), dtype=torch.int64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            whole = torch._make_per_channel_quantized_tensor(quantized, step.double(), zeros, 0)
        bias = None if plain.bias is None else plain.bias.detach().float()
        self.packed = torch.ops.quantized.linear_prepack(whole, bias)
        self.num_bytes = quantized.numel()

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., I]` to `[..., O]`."""
        return torch.ops.quantized.linear_dynamic(x.float(), self.packed).to(x.dtype)


KINDS = {"int8": Int8Linear, "int8 dynamic": DynamicInt8Linear}


# PyTorch's kernel for plain activations reads so many inputs at a time, and beyond the end.
_BLOCK = 32


def quantize(model: nn.Module, kind: str) -> None:
    """Replace the linear maps in a model, but for those whose width the kernel cannot take."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear) and (
                kind == "int8 dynamic" or child.in_features % _BLOCK == 0
            ):
                setattr(module, name, KINDS[kind](child))
