"""Weights of 4 bits: a step of the model reads a third of bfloat16's bytes, on a CPU.

Every 32 weights of an output have a smallest value and a step size of their own (asymmetric
rounding by groups, as GPTQ and AWQ store weights; here each weight goes to its nearest level).
Rows are not rounded: they are bfloat16, as activations between the maps are.

Letters: `I` inputs, `O` outputs, `G` groups.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .quantized import QuantizedLinear

_GROUP = 32  # weights: the smallest that the kernel knows, and nearest to the plain ones
_LEVELS = 15
_MIDDLE = 8  # the level that stands for a group's offset
_BLOCK = 16  # outputs that the kernel computes together


class Int4Linear(QuantizedLinear):
    """A linear map with weights of 4 bits."""

    bits = 4 + 32 / _GROUP  # a step size and an offset of 16 bits each for a group
    compiles = True

    @classmethod
    def can_take(cls, plain: nn.Linear) -> bool:
        """Whether its inputs are whole groups."""
        return plain.in_features % _GROUP == 0

    @staticmethod
    def pack(weight: Tensor) -> Any:
        """A weight `[O, I]`, float32: its levels, and the grid `[G, O, 2]` of its groups."""
        weight = F.pad(weight, (0, 0, 0, -len(weight) % _BLOCK))
        groups = weight.unflatten(1, (-1, _GROUP))  # [O, G, 32]
        low, high = groups.amin(dim=-1), groups.amax(dim=-1)
        # Rounded as the kernel keeps them, so that levels are the nearest on the grid it has.
        step = ((high - low) / _LEVELS).clamp_min(1e-8).bfloat16()
        offset = (low + _MIDDLE * step.float()).bfloat16()
        levels = (groups - offset.float()[..., None]) / step.float()[..., None] + _MIDDLE
        levels = levels.round().clamp(0, _LEVELS).int().flatten(1)
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(levels, 1)
        return packed, torch.stack([step, offset], dim=-1).transpose(0, 1).contiguous()

    def map(self, x: Tensor) -> Tensor:
        """`[..., I]` to `[..., O]`, bfloat16, without the bias."""
        levels, grid = self._packed
        rows = x.to(torch.bfloat16).reshape(-1, self.in_features).contiguous()
        y = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, levels, _GROUP, grid)
        return y[:, : self.out_features].unflatten(0, x.shape[:-1])
