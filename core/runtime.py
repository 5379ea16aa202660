"""Choice of device and precision: the meaning of ``auto``.

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

Explicit choices are followed, with a warning if the precision is emulated on the device.
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
from .reading import tensor_shapes

logger = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# Smaller models are as fast in float32 on a CPU, with the same result on every processor.
SMALL_MODEL = 50_000_000  # parameters
# Measured with 7.5 M parameters on two cores: up to 16 rows are as fast with one thread.
SMALL_STEP = 120_000_000  # multiplications


@dataclass(frozen=True)
class Runtime:
    """Device and precision of a training."""

    device: torch.device
    precision: str  # fp32, bf16 or fp16

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of matrix products under autocast."""
        return DTYPES[self.precision]

    @property
    def needs_loss_scale(self) -> bool:
        """Whether gradients would underflow without a scaled loss."""
        return self.precision == "fp16"

    def autocast(self, enabled: bool = True) -> torch.autocast:
        """Context in which matrix products have the chosen precision."""
        dtype = torch.bfloat16 if self.precision == "fp32" else self.dtype  # fp32: disabled
        return torch.autocast(self.device.type, dtype, enabled and self.precision != "fp32")

    def __str__(self) -> str:
        return f"{self.device.type}, {self.precision}"


def choose_runtime(device: str = AUTO, precision: str = AUTO) -> Runtime:
    """Choose the device and precision of a training.

    Args:
        device: One of ``DEVICES``.
        precision: One of ``PRECISIONS``.

    Raises:
        ValueError: The device is not available, or a name is unknown.
    """
    chosen = find_device(device)
    return Runtime(chosen, choose_precision(precision, chosen))


@contextmanager
def training_products(device: torch.device) -> Iterator[None]:
    """Context in which float32 matrix products use TF32 on GPUs that support it.

    The setting of PyTorch is global and is restored: outside of training, codes and scores are
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


def find_device(device: str | torch.device = AUTO) -> torch.device:
    """Return the device of a name; ``auto`` is an accelerator if there is one.

    A `torch.device` is returned unchanged. Each process of `torchrun` has its own GPU. For a CPU
    the number of PyTorch's threads is limited to the available cores.

    Raises:
        ValueError: The device is not available, or its name is unknown.
    """
    if isinstance(device, torch.device):
        return device
    name = device
    if name == AUTO:
        accelerator = torch.accelerator.current_accelerator(check_available=True)
        name = "cpu" if accelerator is None else accelerator.type
    else:
        check_device_name(name)
    kind, _, number = name.partition(":")
    if kind != "cpu" and device != AUTO and not _is_available(kind, int(number or 0)):
        raise ValueError(
            f"device {name!r} is not available: {_unavailable_reason(kind)}; --device auto is"
            f" {find_device(AUTO).type!r}"
        )
    if kind == "cpu":
        use_available_cores()
    elif not number and "LOCAL_RANK" in os.environ and kind != "mps":
        name = f"{kind}:{os.environ['LOCAL_RANK']}"
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> str:
    """Return ``fp32``, ``bf16`` or ``fp16`` for a training on this device.

    Raises:
        ValueError: The name is unknown.
    """
    if name not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {name!r}")
    if name != AUTO:
        _warn_if_emulated(name, device)
        return name
    if device.type == "cuda":
        return "bf16" if native_bfloat16(device) else "fp16"
    if device.type == "mps":  # bfloat16 is supported, but not faster at these sizes
        return "fp32"
    return "bf16" if native_bfloat16(device) else "fp32"


def choose_dtype(name: str, device: torch.device, folder: Path) -> torch.dtype:
    """Return the dtype of a model's weights for inference.

    Args:
        name: ``auto``, or the name of a floating point type of PyTorch.
        device: Of the model.
        folder: Folder of the model's safetensors files.

    Raises:
        ValueError: The name is unknown.
    """
    if name == AUTO:
        if device.type == "cpu" and num_parameters(folder) < SMALL_MODEL:
            return torch.float32
        return DTYPES[choose_precision(AUTO, device)]
    if name not in DTYPE_NAMES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPE_NAMES)}, got {name!r}")
    dtype = getattr(torch, name)
    precision = next(precision for precision, value in DTYPES.items() if value == dtype)
    _warn_if_emulated(precision, device)
    return dtype


def num_parameters(folder: Path) -> int:
    """Count the parameters in the safetensors files of a folder, from their headers."""
    paths = folder.glob("*.safetensors")
    return sum(math.prod(shape) for path in paths for shape in tensor_shapes(path))


def native_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Whether the device multiplies bfloat16 matrices in hardware.

    Environment variables that disable instructions (``ONEDNN_MAX_CPU_ISA``,
    ``ATEN_CPU_CAPABILITY``) are respected.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu":
        return device.type == "xpu"
    if not torch.backends.mkldnn.is_available():  # PyTorch emulates without oneDNN
        return False
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "AVX2"):  # may be set by the variable
        return False
    if torch.backends.cpu.get_cpu_capability() == "AVX512":
        # oneDNN supports bfloat16 on every AVX-512 processor, but emulates it on the older ones.
        limited = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() in _WITHOUT_BFLOAT16
        supported = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return supported and not limited
    return True  # ARM: oneDNN has checked the `bf16` feature


# Values of ONEDNN_MAX_CPU_ISA below AVX512_CORE_BF16.
_WITHOUT_BFLOAT16 = (
    *("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2"),
    *("AVX512_CORE", "AVX512_CORE_VNNI"),
)


def use_available_cores() -> None:
    """Limit the number of PyTorch's threads to the cores of this process.

    PyTorch counts the cores of the machine; in a container with fewer cores, threads would wait for
    each other. ``OMP_NUM_THREADS`` is respected.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    cores = available_cores()
    if torch.get_num_threads() > cores:
        torch.set_num_threads(cores)


@contextmanager
def threads_for(multiplications: float, device: torch.device) -> Iterator[None]:
    """One thread for a small computation on a CPU, all threads for others.

    Steps of a small language model are hundreds of operations of a few microseconds. A second
    thread gains nothing there, and waits for its core if another program uses it.

    Args:
        multiplications: of the computation, such as rows times weights.
        device: where it runs.
    """
    before = torch.get_num_threads()
    if device.type != "cpu" or before == 1 or multiplications > SMALL_STEP:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_workers(device: torch.device, precision: str) -> int:
    """Return the number of data loading processes of a training.

    One process prepares batches while the model computes. With two cores and native bfloat16 there
    is none: the model uses both cores, and a worker delays every step (docs/machines.md).
    """
    return int(device.type != "cpu" or precision == "fp32" or available_cores() > 2)


def slow_fused_attention(device: torch.device, precision: str) -> bool:
    """Whether plain attention operations train faster than PyTorch's fused kernel.

    On a CPU in bfloat16 the backward pass of the fused kernel takes several times as long.
    """
    return device.type == "cpu" and precision != "fp32"


def _warn_if_emulated(precision: str, device: torch.device) -> None:
    if device.type == "cpu" and precision == "fp16":
        logger.warning("fp16 is emulated on a CPU and slow; --precision auto is faster")
    elif precision == "bf16" and device.type in ("cpu", "cuda") and not native_bfloat16(device):
        logger.warning(
            "bf16 is emulated on this %s, 20 to 80 times slower than fp32; auto is %s",
            device.type, choose_precision(AUTO, device),
        )  # fmt: skip


def _is_available(kind: str, number: int) -> bool:
    if kind == "mps":
        return torch.backends.mps.is_available()
    module = getattr(torch, kind)
    return bool(module.is_available()) and number < module.device_count()


def _unavailable_reason(kind: str) -> str:
    if kind == "cuda" and torch.version.cuda is None and torch.version.hip is None:
        return f"PyTorch {torch.__version__} was built without CUDA"
    if kind == "cuda":
        count = torch.cuda.device_count()
        return f"{count} CUDA devices were found" if count else "no GPU or no driver was found"
    return f"PyTorch finds no {kind} device"
