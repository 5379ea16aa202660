"""Weights of 8 or 4 bits for generation on a CPU.

A step of generation reads every weight once and takes about as long as that reading, so smaller
weights make it faster.

    quantize(lm, kind="int4")        # last: adapters cannot be added or merged afterwards

`int8`: each output has its own step size (as in LLM.int8(), Dettmers et al. 2022), and each input
row, too, so that a row's result does not depend on the rest of the batch. Activations are float32.
Needs an x86 processor.

`int4`: every 32 weights of an output have an offset and a step size of their own (asymmetric
rounding by groups, as GPTQ and AWQ store weights; here each weight is rounded to the nearest
level). Activations are bfloat16.

Shapes: `I` inputs, `O` outputs, `G` groups.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.runtime import native_bfloat16
from .inference import LinearGroup, linear_groups

KINDS = ("int8", "int4")

_INT8_ENGINE = "fbgemm"  # PyTorch's kernels for x86; fastest with VNNI
_INT8_LEVELS = 127  # of each sign
# Without VNNI the kernel adds pairs of products in 16 bits: the input gets one bit less.
_ROW_LEVELS = _INT8_LEVELS if torch.cpu._is_vnni_supported() else _INT8_LEVELS // 2

_INT4_GROUP = 32  # weights; the smallest group that the kernel supports, hence the most accurate
_INT4_LEVELS = 15
_INT4_ZERO = 8  # the level that stands for a group's offset
_INT4_BLOCK = 16  # the kernel needs a multiple of this number of outputs


def activation_dtype(kind: str) -> torch.dtype:
    """The precision of everything but the quantized layers, and of the codec's decoder.

    The 4-bit kernel reads and writes bfloat16; where bfloat16 is emulated, the rest is float32.
    """
    return torch.bfloat16 if kind == "int4" and native_bfloat16("cpu") else torch.float32


class QuantizedLinear(nn.Module):
    """Base class of linear layers with packed, quantized weights; for inference only."""

    bits: ClassVar[float]  # read for each weight
    compiles: ClassVar[bool] = False  # whether torch.compile supports the kernel

    def __init__(self, linear: nn.Linear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = None if linear.bias is None else nn.Parameter(linear.bias.detach().float())
        self._packed = self.pack(linear.weight.detach().float())

    @classmethod
    def supports(cls, linear: nn.Linear) -> bool:
        """Whether the kernel supports a layer of this shape."""
        return True

    @staticmethod
    @abstractmethod
    def pack(weight: Tensor) -> Any:
        """Quantize a float32 weight `[O, I]` and pack it for the kernel."""

    @abstractmethod
    def matmul(self, x: Tensor) -> Tensor:
        """Map `[..., I]` to `[..., O]` without the bias, in the kernel's precision."""

    @property
    def num_bytes(self) -> int:
        """Bytes of weights that a call reads."""
        return round(self.in_features * self.out_features * self.bits / 8)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., I]` to `[..., O]`, in the precision of `x`."""
        y = self.matmul(x)
        return (y if self.bias is None else y + self.bias).to(x.dtype)

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        raise ValueError("quantized weights cannot be saved: save before quantize()")

    def extra_repr(self) -> str:
        """Return the sizes."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


class Int8Linear(QuantizedLinear):
    """A linear layer with weights and inputs of 8 bits."""

    bits = 8

    @staticmethod
    def pack(weight: Tensor) -> Any:
        """Quantize a float32 weight `[O, I]`, with a step size for each output."""
        step = weight.abs().amax(dim=1).clamp_min(1e-8) / _INT8_LEVELS
        levels = (weight / step[:, None]).round().to(torch.int8)
        zeros = torch.zeros(len(step), dtype=torch.int64)
        engine = torch.backends.quantized.engine
        torch.backends.quantized.engine = _INT8_ENGINE  # packing selects the kernel
        try:
            with warnings.catch_warnings():  # about the prototype status of quantized tensors
                warnings.simplefilter("ignore")
                tensor = torch._make_per_channel_quantized_tensor(levels, step.double(), zeros, 0)
                return torch.ops.quantized.linear_prepack(tensor, None)
        finally:
            torch.backends.quantized.engine = engine

    def matmul(self, x: Tensor) -> Tensor:
        """Map `[..., I]` to `[..., O]`, float32, without the bias."""
        rows = x.float()
        largest = torch.linalg.vector_norm(rows, torch.inf, dim=-1, keepdim=True).clamp_min_(1e-8)
        # The kernel rounds inputs to a fixed grid: every row is scaled to fill it.
        y = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            rows / largest, 1 / _ROW_LEVELS, _ROW_LEVELS + 1, self._packed
        )
        return y * largest


class Int4Linear(QuantizedLinear):
    """A linear layer with weights of 4 bits."""

    bits = 4 + 32 / _INT4_GROUP  # each group has a step size and an offset of 16 bits
    compiles = True

    @classmethod
    def supports(cls, linear: nn.Linear) -> bool:
        """Whether the inputs are whole groups."""
        return linear.in_features % _INT4_GROUP == 0

    @staticmethod
    def pack(weight: Tensor) -> Any:
        """Quantize a float32 weight `[O, I]`: packed levels, and the groups' grids `[G, O, 2]`."""
        weight = F.pad(weight, (0, 0, 0, -len(weight) % _INT4_BLOCK))
        groups = weight.unflatten(1, (-1, _INT4_GROUP))  # [O, G, 32]
        low, high = groups.amin(dim=-1), groups.amax(dim=-1)
        # The kernel keeps the grid in bfloat16: round it first, then find the nearest levels.
        step = ((high - low) / _INT4_LEVELS).clamp_min(1e-8).bfloat16()
        offset = (low + _INT4_ZERO * step.float()).bfloat16()
        levels = (groups - offset.float()[..., None]) / step.float()[..., None] + _INT4_ZERO
        levels = levels.round().clamp(0, _INT4_LEVELS).int().flatten(1)
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(levels, 1)
        return packed, torch.stack([step, offset], dim=-1).transpose(0, 1).contiguous()

    def matmul(self, x: Tensor) -> Tensor:
        """Map `[..., I]` to `[..., O]`, bfloat16, without the bias."""
        levels, grid = self._packed
        rows = x.to(torch.bfloat16).reshape(-1, self.in_features).contiguous()
        y = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, levels, _INT4_GROUP, grid)
        return y[:, : self.out_features].unflatten(0, x.shape[:-1])


class QuantizedPart(nn.Module):
    """One of several layers with the same input, whose quantized weights are one matrix."""

    def __init__(self, linear: nn.Linear, index: int, group: LinearGroup, whole: QuantizedLinear):
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.num_bytes = whole.num_bytes * linear.out_features // whole.out_features
        self.compiles = whole.compiles
        # Bypasses module registration: all parts share these.
        self.__dict__["_shared"] = (index, group, whole)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., I]` to the outputs of this layer, in the precision of `x`."""
        index, group, whole = self.__dict__["_shared"]
        return group.part(index, x, whole)

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.__dict__["_shared"][2]._save_to_state_dict(*args, **kwargs)


_QUANTIZED = (QuantizedLinear, QuantizedPart)


def quantize(*models: nn.Module, kind: str = "int8") -> None:
    """Quantize the linear layers of models in place, for generation on a CPU.

    LoRA matrices are not quantized: they are small, and rounding would cost accuracy.

    Args:
        models: are changed.
        kind: "int8", or "int4", which reads half as many bytes and is less accurate.

    Raises:
        ValueError: for another kind; if the processor has no kernel for it, or the weights are on
            another device.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    if kind == "int8" and _INT8_ENGINE not in torch.backends.quantized.supported_engines:
        raise ValueError(
            "int8 weights need an x86 processor (PyTorch's engine fbgemm is not here): use auto, "
            "float32, bfloat16 or int4"
        )
    linear_class: type[QuantizedLinear] = Int8Linear if kind == "int8" else Int4Linear
    for model in models:
        _check_device(model, kind)
        _quantize_groups(model, linear_class)
        for path, module in list(model.named_modules()):
            for name, child in list(module.named_children()):
                if isinstance(child, nn.Linear) and ".lora_" not in f".{path}.{name}":
                    if linear_class.supports(child):
                        setattr(module, name, linear_class(child))


def is_quantized(model: nn.Module) -> bool:
    """Whether :func:`quantize` has changed a model."""
    return any(isinstance(module, _QUANTIZED) for module in model.modules())


def can_compile(model: nn.Module) -> bool:
    """Whether torch.compile supports all layers; it does not support those of 8 bits."""
    return all(module.compiles for module in model.modules() if isinstance(module, _QUANTIZED))


def _check_device(model: nn.Module, kind: str) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear) and module.weight.device.type != "cpu":
            raise ValueError(
                f"{kind} weights are for a CPU; these are on {module.weight.device}: use bfloat16 "
                f"there, or device cpu"
            )


def _quantize_groups(model: nn.Module, linear_class: type[QuantizedLinear]) -> None:
    """Quantize layers with the same input as one matrix; each output is rounded by itself."""
    for module, names in list(linear_groups(model)):
        layers = [getattr(module, name) for name in names]
        whole = nn.Linear(layers[0].in_features, 1, bias=layers[0].bias is not None)
        whole.weight = nn.Parameter(torch.cat([layer.weight.detach() for layer in layers]))
        if whole.bias is not None:
            whole.bias = nn.Parameter(torch.cat([layer.bias.detach() for layer in layers]))
        whole.out_features = len(whole.weight)
        if not linear_class.supports(whole):
            continue
        group = LinearGroup([layer.out_features for layer in layers])
        packed = linear_class(whole)
        for index, (name, layer) in enumerate(zip(names, layers, strict=True)):
            setattr(module, name, QuantizedPart(layer, index, group, packed))
