"""Which adapter each row of a batch is computed with.

peft's layers take `adapter_names`, a name for each row. Here the names are a context variable, from
which a hook takes them: they need not pass through the backbone, and other threads do not see them.
Of a module that adapters hold full copies of, each row uses the copy of its adapter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from .layouts import unknown

if TYPE_CHECKING:
    from .model import AudioLM

BASE = "__base__"  # peft's name of no adapter
T = TypeVar("T")

# One name for all rows, or one for each; None: the active adapter.
_names: ContextVar[str | Sequence[str] | None] = ContextVar("adapter_names", default=None)


@contextmanager
def adapter_rows(names: str | Sequence[str] | None) -> Iterator[None]:
    """Compute the batches inside the block with these adapters.

    Args:
        names: of the adapter of all rows, or of each row; None changes nothing.
    """
    token = _names.set(_names.get() if names is None else names)
    try:
        yield
    finally:
        _names.reset(token)


def grouped(names: Iterable[T]) -> dict[T, list[int]]:
    """The places of each name."""
    places: dict[T, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    return places


def checked_names(
    lm: AudioLM, names: str | Sequence[str | None] | None, count: int
) -> list[str | None]:
    """Adapter names of `count` rows; only None, if all rows have the active adapter.

    From the first names on, the model's layers of peft take names from :func:`adapter_rows`.

    Raises:
        ValueError: for another number of names, or the name of no adapter.
    """
    given = [names] * count if names is None or isinstance(names, str) else list(names)
    if len(given) != count:
        raise ValueError(f"adapter_names must hold {count} names, one per row, got {len(given)}")
    known = getattr(lm, "peft_config", {})
    for name in given:
        if name not in (None, BASE, *known):
            raise ValueError(unknown("adapter", str(name), known))
    if all(name is None for name in given):
        return [None] * count
    _hook(lm)
    return [active_name(lm) if name is None else name for name in given]


def active_name(lm: AudioLM) -> str:
    """Name of the active adapter of a model."""
    return getattr(lm.__dict__.get("_adapters"), "active", None) or BASE


def _hook(lm: AudioLM) -> None:
    """Let the layers of peft take names; whole parts are called by :func:`by_adapter`."""
    from peft.tuners.lora import LoraLayer
    from peft.utils import AuxiliaryTrainingWrapper

    for path, module in lm.named_modules():
        if module in (lm.embedding, lm.heads) or _name_rows in module._forward_pre_hooks.values():
            continue
        copied: Any = isinstance(module, AuxiliaryTrainingWrapper) and module.original_module
        if copied and any(True for _ in copied.children()):
            raise ValueError(
                f"adapter_names support full copies of embedding, heads and single layers, got a"
                f" copy of {path}"
            )
        if copied or isinstance(module, LoraLayer):
            module.register_forward_pre_hook(_name_rows, with_kwargs=True)


def _name_rows(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Forward pre-hook: give a layer the names of its rows."""
    names = None if torch.compiler.is_compiling() else _names.get()
    if names is None:
        return None
    rows = [names] * len(args[0]) if isinstance(names, str) else list(names)
    copies = getattr(module, "modules_to_save", rows)
    rows = [name if name in copies else BASE for name in rows]  # peft wants a copy for each name
    return args, {**kwargs, "adapter_names": rows}


def copy_of(module: nn.Module, name: str) -> Any:
    """The copy of a module that an adapter holds, or the module itself."""
    copies = getattr(module, "modules_to_save", None)  # of peft's ModulesToSaveWrapper
    if copies is None:
        return module
    return copies[name] if name in copies else module.original_module


def by_adapter(module: nn.Module, x: Tensor, *args: Any) -> Tensor:
    """`module(x, *args)`, each row of `x` by the copy of its adapter."""
    names = _names.get()
    if names is None:
        return module(x, *args)
    if isinstance(names, str):
        return copy_of(module, names)(x, *args)
    parts, places = [], []
    for name, own in grouped(names).items():
        with adapter_rows(name):
            parts.append(copy_of(module, name)(x[own], *args))
        places += own
    return torch.cat(parts)[torch.tensor(places, device=x.device).argsort()]
