"""Adapters by request: which loaded LoRA adapter each request of a pipeline is computed with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ...lm.adapter_rows import BASE, grouped
from ...lm.lora import using_adapter
from ...lm.model import AudioLM

# Name of the adapter of all requests, or of each; None: the active adapter, BASE: none.
AdapterNames = str | Sequence[str | None] | None
T = TypeVar("T")


def adapter_per_request(names: AdapterNames, count: int) -> list[str | None]:
    """The adapter of each request.

    Raises:
        ValueError: if the number of names is not that of the requests.
    """
    if names is None or isinstance(names, str):
        return [names] * count
    if len(names) != count:
        raise ValueError(f"adapter must hold {count} names, one per request, got {len(names)}")
    return list(names)


def check_one_per_request(name: str, values: Sequence[object], count: int) -> None:
    """Raise ValueError unless there are as many values as requests."""
    if len(values) != count:
        raise ValueError(f"{name} must hold {count} values, one per request, got {len(values)}")


def in_adapter_groups(
    lm: AudioLM, names: Sequence[str | None], run: Callable[[list[int]], Sequence[T]]
) -> list[T]:
    """Call `run` with the numbers of the requests of each adapter, which is active meanwhile.

    Returns:
        The results of all requests, in their order.
    """
    results: dict[int, T] = {}
    for name, own in grouped(names).items():
        if name is None:
            found = run(own)
        else:
            with using_adapter(lm, None if name == BASE else name):
                found = run(own)
        results |= zip(own, found, strict=True)
    return [results[number] for number in range(len(names))]
