"""Weights of 8 bits: a step of the model reads a quarter of float32's bytes, on a CPU.

A step of generation reads every weight once, so it takes as long as reading takes. Here each output
of a linear map has its own step size (as in LLM.int8(), Dettmers et al. 2022), and so has each row
that comes in. A row's result is therefore a matter of that row alone: batched and single
generation stay equal. Activations are float32 between the maps.

    quantize(lm)        once, after adapters were put on; then only generation is left

Letters: `I` inputs, `O` outputs.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from .joined import Joint, groups

_ENGINE = "fbgemm"  # x86 processors; the fastest of PyTorch's, by far with VNNI
_LEVELS = 127  # of a sign
# Without VNNI the kernel adds pairs of products in 16 bits: rows then get a bit less.
_ROW_LEVELS = _LEVELS if torch.cpu._is_vnni_supported() else _LEVELS // 2


class Int8Linear(nn.Module):
    """A linear map with weights of 8 bits, packed for the processor: for inference only."""

    def __init__(self, plain: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.bias = None if plain.bias is None else nn.Parameter(plain.bias.detach().float())
        self._packed = _pack(plain.weight.detach().float())

    @property
    def num_bytes(self) -> int:
        """Bytes of weights that a call reads."""
        return self.in_features * self.out_features

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., I]` to `[..., O]`, in the precision of `x`."""
        rows = x.float()
        largest = torch.linalg.vector_norm(rows, torch.inf, dim=-1, keepdim=True).clamp_min_(1e-8)
        # The kernel rounds to one fixed grid; scaled by its largest value, every row fills it.
        y = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            rows / largest, 1 / _ROW_LEVELS, _ROW_LEVELS + 1, self._packed
        )
        y = y * largest
        return (y if self.bias is None else y + self.bias).to(x.dtype)

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        raise ValueError("int8 weights are for generation and are not saved: save before quantize")

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class Int8Part(Int8Linear):
    """One of several maps of the same input, which are computed as one."""

    def __init__(self, plain: nn.Linear, number: int, joint: Joint, whole: Int8Linear):
        nn.Module.__init__(self)
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.bias = None if plain.bias is None else nn.Parameter(plain.bias.detach().float())
        # Not modules of this one: all parts have them in common.
        self.__dict__["whole"] = (number, joint, whole)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., I]` to this map's outputs, in the precision of `x`."""
        number, joint, whole = self.__dict__["whole"]
        return joint.part(number, x, whole)


def quantize(*models: nn.Module) -> None:
    """Replace every linear map in models by one with weights of 8 bits, for generation on a CPU.

    Matrices of LoRA stay as they are: they are small, and their rounding would cost what they
    learned.

    Raises:
        ValueError: this processor has no kernel for it, or weights lie on another device.
    """
    if _ENGINE not in torch.backends.quantized.supported_engines:
        raise ValueError("int8 weights need an x86 processor here: use float32 or bfloat16")
    for model in models:
        _check_place(model)
        _quantize_groups(model)
        for path, module in list(model.named_modules()):
            for name, child in list(module.named_children()):
                if not isinstance(child, nn.Linear) or ".lora_" in f".{path}.{name}":
                    continue
                setattr(module, name, Int8Linear(child))


def _check_place(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.weight.device.type != "cpu":
            raise ValueError(
                f"int8 weights are for a CPU; these are on {module.weight.device}: use bfloat16 "
                f"there"
            )


def _quantize_groups(model: nn.Module) -> None:
    """Maps of the same input get one matrix: rounded by outputs, so it is that of each."""
    for module, names in list(groups(model)):
        maps = [getattr(module, name) for name in names]
        whole = nn.Linear(maps[0].in_features, 1, bias=maps[0].bias is not None)
        whole.weight = nn.Parameter(torch.cat([one.weight.detach() for one in maps]))
        if whole.bias is not None:
            whole.bias = nn.Parameter(torch.cat([one.bias.detach() for one in maps]))
        whole.out_features = len(whole.weight)
        joint, packed = Joint([one.out_features for one in maps]), Int8Linear(whole)
        for number, (name, one) in enumerate(zip(names, maps, strict=True)):
            setattr(module, name, Int8Part(one, number, joint, packed))


def is_quantized(model: nn.Module) -> bool:
    """Whether a model has weights of 8 bits."""
    return any(isinstance(module, Int8Linear) for module in model.modules())


def _pack(weight: Tensor) -> Any:
    """A weight `[O, I]`, float32, as the kernel wants it."""
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
