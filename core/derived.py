"""A value that follows from tensors: made once, kept while they stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

T = TypeVar("T")
_num_steps = 0


def _count_step(*_: object) -> None:
    global _num_steps
    _num_steps += 1


# Fused optimizers change weights without counting a version.
register_optimizer_step_post_hook(_count_step)


def state_of(sources: Sequence[Tensor]) -> tuple[int, ...]:
    """Return what changes when one of the tensors does: versions, addresses, optimizer steps.

    Not seen: writing through `tensor.data`, which PyTorch hides from every counter.
    """
    state = [_num_steps]
    for source in sources:
        state += source._version, source.data_ptr()
    return tuple(state)


class Derived(Generic[T]):
    """Keep what was made from weights or entries until one of them changes.

    Kept while gradients are off only, since a kept value has no history. Inference tensors count no
    versions, so what comes from them is made anew. Copies of a module begin without the value.
    """

    def __init__(self) -> None:
        self._state: tuple[int, ...] = ()
        self._value: T | None = None

    def get(self, sources: Sequence[Tensor], make: Callable[[], T]) -> T:
        """Return `make()`, or what it returned when the sources were as they are now."""
        if torch.compiler.is_compiling() or torch.is_grad_enabled():
            return make()
        for source in sources:
            if source.is_inference():
                return make()
        state = state_of(sources)
        if self._value is None or self._state != state:
            # An inference tensor, kept, would break a later call that trains.
            with torch.inference_mode(False), torch.no_grad():
                self._state, self._value = state, make()
        return self._value

    def drop(self) -> None:
        """Forget the value; the next call makes it anew."""
        self._state, self._value = (), None

    def __deepcopy__(self, memo: dict[int, Any]) -> Derived[T]:
        return Derived()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Derived, ()


def drop_derived(module: nn.Module) -> None:
    """Drop the values that a module and its children keep as attributes of type :class:`Derived`.

    Needed only after weights were written through `tensor.data`, which no counter sees.
    """
    for child in module.modules():
        for value in vars(child).values():
            if isinstance(value, Derived):
                value.drop()
