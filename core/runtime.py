"""Where and how precisely to compute: the one place that decides what ``auto`` means.

| device            | training                  | weights for inference         |
|-------------------|---------------------------|-------------------------------|
| CUDA, sm80 and on | bf16 autocast, TF32       | bfloat16                      |
| CUDA before sm80  | fp16 autocast, loss scale | float16                       |
| XPU               | bf16 autocast             | bfloat16                      |
| MPS               | fp32                      | float32                       |
| CPU, native bf16  | bf16 autocast             | bfloat16 from 50 M parameters |
| any other CPU     | fp32                      | float32                       |

A CPU has bfloat16 natively if it multiplies bfloat16 matrices in hardware (x86: AVX512_BF16 or
AMX_BF16; ARM: the `bf16` feature). Elsewhere PyTorch emulates it, about 20 to 80 times slower than
float32. Outside of training, codes of the codec are always computed in float32.

An explicit choice is obeyed. If it is emulated on the device, a warning of one line says so.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from .choices import AUTO, PRECISIONS, check_device_name
from .choices import DTYPES as DTYPE_NAMES
from .cores import available_cores

logger = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Below this a CPU model is as fast in float32, which gives the same result on every processor.
SMALL_MODEL = 50_000_000  # parameters


@dataclass(frozen=True)
class Runtime:
    """A device and a precision of training that were chosen for it."""

    device: torch.device
    precision: str  # fp32, bf16 or fp16

    @property
    def dtype(self) -> torch.dtype:
        """The precision of matrix products under autocast."""
        return DTYPES[self.precision]

    @property
    def needs_loss_scale(self) -> bool:
        """Whether gradients would underflow without a scaled loss."""
        return self.precision == "fp16"

    def autocast(self, enabled: bool = True) -> torch.autocast:
        """A context in which matrix products have the chosen precision."""
        half = torch.bfloat16 if self.precision == "fp32" else self.dtype  # fp32: switched off
        return torch.autocast(self.device.type, half, enabled and self.precision != "fp32")

    def __str__(self) -> str:
        return f"{self.device.type}, {self.precision}"


def choose_runtime(device: str = AUTO, precision: str = AUTO) -> Runtime:
    """Choose the device and precision of a training.

    Args:
        device: One of ``DEVICES``.
        precision: One of ``PRECISIONS``.

    Raises:
        ValueError: The device does not exist here, or a name is unknown.
    """
    found = find_device(device)
    return Runtime(found, choose_precision(precision, found))


@contextmanager
def training_products(device: torch.device) -> Iterator[None]:
    """Multiply float32 matrices in TF32 inside the block, on a GPU that has it.

    The setting is global in PyTorch, so it is put back: outside of training, codes and scores are
    computed in full float32.
    """
    if device.type != "cuda" or not native_bfloat16(device):
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def find_device(asked: str | torch.device = AUTO) -> torch.device:
    """Return the device that a name means; ``auto`` is an accelerator if there is one.

    A `torch.device` is returned as it is. Of several GPUs each process of `torchrun` gets its own.
    On a CPU this also keeps PyTorch from starting more threads than the process may use.

    Raises:
        ValueError: The device does not exist here, or its name is unknown.
    """
    if isinstance(asked, torch.device):
        return asked
    name = asked
    if name == AUTO:
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        name = "cpu" if accelerator is None else accelerator.type
    else:
        check_device_name(name)
    kind, _, number = name.partition(":")
    if kind != "cpu" and asked != AUTO and not _is_available(kind, int(number or 0)):
        raise ValueError(
            f"device {name!r} is not available here: {_why_not(kind)}; --device auto takes"
            f" {find_device(AUTO).type!r}"
        )
    if kind == "cpu":
        use_available_cores()
    elif not number and "LOCAL_RANK" in os.environ and kind != "mps":
        name = f"{kind}:{os.environ['LOCAL_RANK']}"
    return torch.device(name)


def choose_precision(asked: str, device: torch.device) -> str:
    """Return ``fp32``, ``bf16`` or ``fp16`` for a training on this device.

    Raises:
        ValueError: The name is unknown.
    """
    if asked not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {asked!r}")
    if asked != AUTO:
        _warn_if_emulated(asked, device)
        return asked
    if device.type == "cuda":
        return "bf16" if native_bfloat16(device) else "fp16"
    if device.type == "mps":  # bfloat16 exists there, but saves no time at these sizes
        return "fp32"
    return "bf16" if native_bfloat16(device) else "fp32"


def choose_dtype(asked: str, device: torch.device, folder: Path) -> torch.dtype:
    """Return the precision of a model's weights for inference.

    Args:
        asked: ``auto``, or the name of a floating point type of PyTorch.
        device: Where the model runs.
        folder: Where the model's safetensors files are.

    Raises:
        ValueError: The name is unknown.
    """
    if asked == AUTO:
        if device.type == "cpu" and num_parameters(folder) < SMALL_MODEL:
            return torch.float32
        return DTYPES[choose_precision(AUTO, device)]
    if asked not in DTYPE_NAMES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPE_NAMES)}, got {asked!r}")
    dtype = getattr(torch, asked)
    _warn_if_emulated(next(name for name, one in DTYPES.items() if one == dtype), device)
    return dtype


def num_parameters(folder: Path) -> int:
    """Count the numbers in a folder's safetensors files, by their headers."""
    from safetensors import safe_open

    count = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as file:
            count += sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())
    return count


def native_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware.

    Environment variables that make a processor plainer (``ONEDNN_MAX_CPU_ISA``,
    ``ATEN_CPU_CAPABILITY``) are respected.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return device.type == "xpu"
    if not torch.backends.mkldnn.is_available():  # PyTorch's own products are emulated
        return False
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2"):  # perhaps by the variable
        return False
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        # oneDNN supports bfloat16 on every AVX-512 processor, but emulates it on the older ones.
        limited = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _WITHOUT_BFLOAT16
        has = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return has and not limited
    return True  # ARM: oneDNN has asked for the `bf16` feature


# Values of ONEDNN_MAX_CPU_ISA below AVX512_CORE_BF16.
_WITHOUT_BFLOAT16 = (
    *("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2"),
    *("AVX512_CORE", "AVX512_CORE_VNNI"),
)


def use_available_cores() -> None:
    """Keep PyTorch from starting more threads than this process has cores.

    PyTorch counts the machine's cores; in a container with a share of them the threads would wait
    for each other. ``OMP_NUM_THREADS`` is obeyed.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    cores = available_cores()
    if torch.get_num_threads() > cores:
        torch.set_num_threads(cores)


def choose_workers(device: torch.device, precision: str) -> int:
    """Return how many processes load the data of a training.

    One process makes batches while the model computes. On two cores in native bfloat16 there is
    none: the model uses both cores, and a worker delays every step (docs/machines.md).
    """
    return int(device.type != "cpu" or precision == "fp32" or available_cores() > 2)


def slow_fused_attention(device: torch.device, precision: str) -> bool:
    """Whether attention in training is faster by plain operations than by PyTorch's fused kernel.

    So it is on a CPU in bfloat16: the fused kernel's backward pass takes several times as long.
    """
    return device.type == "cpu" and precision != "fp32"


def _warn_if_emulated(precision: str, device: torch.device) -> None:
    if device.type == "cpu" and precision == "fp16":
        logger.warning("fp16 is emulated on a CPU and slow; --precision auto is faster")
    elif precision == "bf16" and device.type in ("cpu", "cuda") and not native_bfloat16(device):
        logger.warning(
            "bf16 is emulated on this %s, 20 to 80 times slower than fp32; auto takes %s",
            device.type, choose_precision(AUTO, device),
        )  # fmt: skip


def _is_available(kind: str, number: int) -> bool:
    if kind == "mps":
        return torch.backends.mps.is_available()
    module = getattr(torch, kind)
    return bool(module.is_available()) and number < module.device_count()


def _why_not(kind: str) -> str:
    if kind == "cuda" and torch.version.cuda is None and torch.version.hip is None:
        return f"PyTorch {torch.__version__} was built without CUDA"
    if kind == "cuda":
        count = torch.cuda.device_count()
        return f"{count} CUDA devices were found" if count else "no GPU or no driver was found"
    return f"PyTorch finds no {kind} device"
