"""Cache of a value that is computed from tensors, valid until one of them changes."""

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


# Fused optimizers change weights without raising their version counters.
register_optimizer_step_post_hook(_count_step)


def outdate_derived() -> None:
    """Let every value be computed again, also those of weights written through `tensor.data`."""
    _count_step()


def state_of(sources: Sequence[Tensor]) -> tuple[int, ...]:
    """Return a key that changes with the tensors: versions, addresses, optimizer steps.

    It does not detect writes through `tensor.data`, which PyTorch does not count; models call
    :func:`outdate_derived` when they change to evaluation or training.
    """
    state = [_num_steps]
    for source in sources:
        state += source._version, source.data_ptr()
    return tuple(state)


class Derived(Generic[T]):
    """Cached value that is computed from weights or codebook entries.

    With gradients nothing is cached, since a cached value has no autograd graph. Inference tensors
    have no version counters, so values from them are not cached. Copies of a module do not copy it.
    """

    def __init__(self) -> None:
        self._state: tuple[int, ...] = ()
        self._value: T | None = None

    def get(self, sources: Sequence[Tensor], make: Callable[[], T]) -> T:
        """Return the cached value of `make()`, or call it if a source has changed."""
        if torch.compiler.is_compiling() or torch.is_grad_enabled():
            return make()
        for source in sources:
            if source.is_inference():
                return make()
        state = state_of(sources)
        if self._value is None or self._state != state:
            # A cached inference tensor would fail in a later call that trains.
            with torch.inference_mode(False), torch.no_grad():
                self._state, self._value = state, make()
        return self._value

    def drop(self) -> None:
        """Drop the cached value."""
        self._state, self._value = (), None

    def __deepcopy__(self, memo: dict[int, Any]) -> Derived[T]:
        return Derived()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return Derived, ()


def drop_derived(module: nn.Module) -> None:
    """Drop the :class:`Derived` values of a module and its children.

    Needed only after writes through `tensor.data`, which PyTorch does not count.
    """
    for child in module.modules():
        for value in vars(child).values():
            if isinstance(value, Derived):
                value.drop()
