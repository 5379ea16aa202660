"""Weights of 8 bits: a step of the model reads a quarter of float32's bytes, on a CPU.

Each output of a linear map has its own step size (as in LLM.int8(), Dettmers et al. 2022), and so
has each row that comes in. A row's result is therefore a matter of that row alone: batched and
single generation stay equal. Activations are float32 between the maps.

Letters: `I` inputs, `O` outputs.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor

from .quantized import QuantizedLinear

_ENGINE = "fbgemm"  # x86 processors; the fastest of PyTorch's, by far with VNNI
_LEVELS = 127  # of a sign
# Without VNNI the kernel adds pairs of products in 16 bits: rows then get a bit less.
_ROW_LEVELS = _LEVELS if torch.cpu._is_vnni_supported() else _LEVELS // 2


class Int8Linear(QuantizedLinear):
    """A linear map with weights and rows of 8 bits."""

    bits = 8

    @staticmethod
    def pack(weight: Tensor) -> Any:
        """A weight `[O, I]`, float32, with a step size for each output."""
        step = weight.abs().amax(dim=1).clamp_min(1e-8) / _LEVELS
        whole = (weight / step[:, None]).round().to(torch.int8)
        engine, zeros = torch.backends.quantized.engine, torch.zeros(len(step), dtype=torch.int64)
        torch.backends.quantized.engine = _ENGINE  # the kernel is chosen when weights are packed
        try:
            with warnings.catch_warnings():  # a prototype's warning about its own name
                warnings.simplefilter("ignore")
                tensor = torch._make_per_channel_quantized_tensor(whole, step.double(), zeros, 0)
                return torch.ops.quantized.linear_prepack(tensor, None)
        finally:
            torch.backends.quantized.engine = engine

    def map(self, x: Tensor) -> Tensor:
        """`[..., I]` to `[..., O]`, float32, without the bias."""
        rows = x.float()
        largest = torch.linalg.vector_norm(rows, torch.inf, dim=-1, keepdim=True).clamp_min_(1e-8)
        # The kernel rounds to one fixed grid; scaled by its largest value, every row fills it.
        y = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            rows / largest, 1 / _ROW_LEVELS, _ROW_LEVELS + 1, self._packed
        )
        return y * largest
