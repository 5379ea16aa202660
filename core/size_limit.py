"""A bound on the memory of a model while it is built from a configuration."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .reading import tensor_shapes

# Allowed beside the weights of the files: buffers that are not saved, such as attention masks.
_SPARE_NUMBERS = 2**26
_SPARE_TENSORS = 10_000


class SizeLimit(TorchDispatchMode):
    """Refuses to make larger or more new tensors than a model may have, before they are allocated.

    Args:
        numbers: Elements of all tensors that are made inside the block.
        tensors: Number of these tensors.
        what: What the limit follows from, for the error.
    """

    def __init__(self, numbers: int, tensors: int, what: str) -> None:
        super().__init__()
        self._numbers, self._tensors, self._what = numbers, tensors, what

    @classmethod
    def of_files(cls, paths: Iterable[Path]) -> SizeLimit:
        """Limits for a model whose weights are these safetensors files.

        Without files (a hub id) the memory of the machine is the limit.
        """
        shapes = [shape for path in paths for shape in tensor_shapes(path)]
        if not shapes:
            return cls.of_machine()
        stored = sum(math.prod(shape) for shape in shapes)
        return cls(
            4 * stored + _SPARE_NUMBERS,
            4 * len(shapes) + _SPARE_TENSORS,
            f"the files hold {stored} weights in {len(shapes)} tensors",
        )

    @classmethod
    def of_machine(cls) -> SizeLimit:
        """Limits for a new model: float32 weights that fit into the machine's memory."""
        size = memory_bytes()
        return cls(size // 4, 2**16, f"this machine has {size / 2**30:.1f} GiB of memory")

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """False keeps torch from importing its compiler, which takes seconds."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Count what a factory such as `torch.empty` is about to make."""
        shape = args[0] if args and isinstance(args[0], list | tuple) else None
        if func.overloadpacket is torch.ops.aten.arange:
            shape = [int(max(abs(number) for number in args))]
        if shape is not None and all(type(length) is int for length in shape):
            self._numbers -= math.prod(shape)
            self._tensors -= 1
            if self._numbers < 0 or self._tensors < 0:
                raise ValueError(
                    "the configuration describes a model that is too large (at a tensor of shape"
                    f" {list(shape)}): {self._what}"
                )
        return func(*args, **(kwargs or {}))


def memory_bytes() -> int:
    """Memory of the machine in bytes; 16 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 16 * 2**30
