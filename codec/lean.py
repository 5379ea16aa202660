"""Import transformers without what a model that only runs never uses.

transformers' base classes import, for sharded training, FP8 kernels and losses of image models,
`torch.distributed.tensor`, `torch._dynamo`, sympy, scipy and accelerate: more than two thirds of
what `almtok tts` has to do before its first sound. While transformers is imported here,

- packages that it can do without look as if they were not installed,
- torch looks like one of its builds without `torch.distributed`,
- two modules of torch are stand-ins: their decorators leave functions as they are, and their
  classes have no instances.

Then all is as before, so that whoever needs the real modules later can import them. transformers
itself goes on without them: for a process that does nothing but run one model (`__main__.py`).
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

OPTIONAL = ("accelerate", "scipy", "torchaudio")
# What almtok's models are made of; modules of transformers that import the heavy ones.
WANTED = (
    "transformers.modeling_utils",
    "transformers.processing_utils",
    "transformers.models.llama.modeling_llama",
)
_WRAPPED = "torch._dynamo._trace_wrapped_higher_order_op"


def import_transformers() -> bool:
    """Import what our models need of it, nothing heavy; False if that has not been done.

    It is not done where transformers is already imported. Where a version of it does not stand
    this, it is imported as ever by those who need it.
    """
    if "transformers" in sys.modules:
        return False
    with _no_collection():
        import torch

        with _stand_ins(torch):
            try:
                for name in WANTED:
                    import_module(name)
            except Exception:  # whatever: without us it may go well
                for name in [name for name in sys.modules if name.split(".")[0] == "transformers"]:
                    del sys.modules[name]
                return False
    return True


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """No search for garbage: imports make little, and each search looks at all that they made."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def _stand_ins(torch: Any) -> Iterator[None]:
    """The modules of this file's first words, for as long as this lasts."""
    modules: dict[str, ModuleType | None] = dict.fromkeys(OPTIONAL)  # None: cannot be imported
    modules["torch._dynamo"] = _Decorators("torch._dynamo")
    modules[_WRAPPED] = wrapped = ModuleType(_WRAPPED)
    wrapped.TransformGetItemToIndex = _real_transform  # type: ignore[attr-defined]
    modules["torch.nn.attention.flex_attention"] = _Classes("torch.nn.attention.flex_attention")
    modules = {name: module for name, module in modules.items() if name not in sys.modules}
    distributed, is_available = torch.distributed, torch.distributed.is_available
    sys.modules.update(modules)  # type: ignore[arg-type]
    distributed.is_available = lambda: False
    try:
        yield
    finally:
        distributed.is_available = is_available
        for name in modules:
            del sys.modules[name]


class _Decorators(ModuleType):
    """Whose functions are decorators that do nothing."""

    __path__: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _as_it_is


class _Classes(ModuleType):
    """Whose names are classes that nothing is an instance of."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def _as_it_is(function: Any = None, *_: Any, **__: Any) -> Any:
    return _as_it_is if function is None else function


def _real_transform(*args: Any, **kwargs: Any) -> Any:
    return import_module(_WRAPPED).TransformGetItemToIndex(*args, **kwargs)
