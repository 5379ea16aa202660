"""Weights of few bits for generation on a CPU: what all kinds have in common, and the exchange.

A step of generation reads every weight once, so it takes as long as reading takes.

    quantize(lm, kind="int4")        once, after adapters were put on; then only generation is left

Letters: `I` inputs, `O` outputs.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..core.runtime import native_bfloat16
from .fused_linear import LinearGroup, linear_groups

KINDS = ("int8", "int4")


def between(kind: str) -> torch.dtype:
    """The precision of what lies between maps of this kind, and of the codec's sound.

    The kernel of 4 bits takes and gives bfloat16; where that is emulated, all else is float32.
    """
    return torch.bfloat16 if kind == "int4" and native_bfloat16("cpu") else torch.float32


class QuantizedLinear(nn.Module):
    """A linear map with weights of few bits, packed for the processor: for inference only."""

    bits: ClassVar[float]  # that are read for each weight
    compiles: ClassVar[bool] = False  # whether PyTorch's compiler knows the kernel

    def __init__(self, plain: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.bias = None if plain.bias is None else nn.Parameter(plain.bias.detach().float())
        self._packed = self.pack(plain.weight.detach().float())

    @classmethod
    def can_take(cls, plain: nn.Linear) -> bool:
        """Whether its kernel can compute this map."""
        return True

    @staticmethod
    @abstractmethod
    def pack(weight: Tensor) -> Any:
        """A weight `[O, I]`, float32, as the kernel wants it."""

    @abstractmethod
    def map(self, x: Tensor) -> Tensor:
        """`[..., I]` to `[..., O]`, in whatever precision, without the bias."""

    @property
    def num_bytes(self) -> int:
        """Bytes that a call reads for its weights."""
        return round(self.in_features * self.out_features * self.bits / 8)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., I]` to `[..., O]`, in the precision of `x`."""
        y = self.map(x)
        return (y if self.bias is None else y + self.bias).to(x.dtype)

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        raise ValueError(
            "weights of few bits are for generation and are not saved: save before quantize"
        )

    def extra_repr(self) -> str:
        """Sizes."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class QuantizedPart(nn.Module):
    """One of several maps of the same input, which are computed as one."""

    def __init__(self, plain: nn.Linear, number: int, joint: LinearGroup, whole: QuantizedLinear):
        super().__init__()
        self.in_features, self.out_features = plain.in_features, plain.out_features
        self.num_bytes = whole.num_bytes * plain.out_features // whole.out_features
        self.compiles = whole.compiles
        # Not a module of this one: all parts have it in common.
        self.__dict__["together"] = (number, joint, whole)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., I]` to this map's outputs, in the precision of `x`."""
        number, joint, whole = self.__dict__["together"]
        return joint.part(number, x, whole)

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.__dict__["together"][2]._save_to_state_dict(*args, **kwargs)


_QUANTIZED = (QuantizedLinear, QuantizedPart)


def quantize(*models: nn.Module, kind: str = "int8") -> None:
    """Replace linear maps in models by such with weights of few bits, for generation on a CPU.

    Matrices of LoRA stay as they are: they are small, and their rounding would cost what they
    learned.

    Args:
        models: They are changed.
        kind: "int8", or "int4", which reads half as much and is coarser.

    Raises:
        ValueError: this processor has no kernel for it, or weights lie on another device.
    """
    from .int4 import Int4Linear
    from .int8 import Int8Linear

    if kind not in KINDS:
        raise ValueError(f"expected one of {', '.join(KINDS)}; came {kind!r}")
    if kind == "int8" and "fbgemm" not in torch.backends.quantized.supported_engines:
        raise ValueError(
            "int8 weights need an x86 processor (PyTorch's engine fbgemm is not here): use auto, "
            "float32, bfloat16 or int4"
        )
    make: type[QuantizedLinear] = Int8Linear if kind == "int8" else Int4Linear
    for model in models:
        _check_place(model, kind)
        _quantize_groups(model, make)
        for path, module in list(model.named_modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Linear) and ".lora_" not in f".{path}.{name}":
                    if make.can_take(child):
                        setattr(module, name, make(child))


def is_quantized(model: nn.Module) -> bool:
    """Whether a model has weights of few bits."""
    return any(isinstance(module, _QUANTIZED) for module in model.modules())


def can_compile(model: nn.Module) -> bool:
    """Whether PyTorch's compiler knows all its kernels: it does not know that of 8 bits."""
    return all(m.compiles for m in model.modules() if isinstance(m, _QUANTIZED))


def _check_place(model: nn.Module, kind: str) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.weight.device.type != "cpu":
            raise ValueError(
                f"{kind} weights are for a CPU; these are on {module.weight.device}: use bfloat16 "
                f"there, or device cpu"
            )


def _quantize_groups(model: nn.Module, make: type[QuantizedLinear]) -> None:
    """Maps of the same input get one matrix: rounded by outputs, so it is that of each."""
    for module, names in list(linear_groups(model)):
        maps = [getattr(module, name) for name in names]
        whole = nn.Linear(maps[0].in_features, 1, bias=maps[0].bias is not None)
        whole.weight = nn.Parameter(torch.cat([one.weight.detach() for one in maps]))
        if whole.bias is not None:
            whole.bias = nn.Parameter(torch.cat([one.bias.detach() for one in maps]))
        whole.out_features = len(whole.weight)
        if not make.can_take(whole):
            continue
        joint, packed = LinearGroup([one.out_features for one in maps]), make(whole)
        for number, (name, one) in enumerate(zip(names, maps, strict=True)):
            setattr(module, name, QuantizedPart(one, number, joint, packed))
