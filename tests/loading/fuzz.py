"""Seeded damage to files, and the only outcomes that loading may have."""

import copy
import json
import random
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 3, 10**9, 2**31, 10**30, -(10**18), 0.5, -0.5, 1e30, float("nan"),
    float("inf"), "", "x", "é\n", [], [1], [-1, 0], ["a", None], [[1]], {}, {"a": 1}, {"x": [None]},
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place inside a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def damaged_json(value: Any, seed: int) -> str:
    """JSON text with one or two places changed, removed or added, or damaged as text."""
    draw = random.Random(seed)
    changed = copy.deepcopy(value)
    kind = draw.random()
    if kind < 0.05:
        return json.dumps(draw.choice(VALUES))
    for _ in range(draw.choice((1, 1, 1, 2))):
        found = list(places(changed))
        if not found:
            break
        *way, last = draw.choice(found)
        holder = changed
        for key in way:
            holder = holder[key]
        if kind < 0.2:
            del holder[last]
        elif kind < 0.3 and isinstance(holder, dict):
            holder[draw.choice(("unknown", "auto_map", "", "dtype"))] = draw.choice(VALUES)
        elif kind < 0.45 and type(holder[last]) in (int, float):
            holder[last] = holder[last] * draw.choice((-1, 2, 7, 1000, 10**6)) + draw.choice((0, 1))
        else:
            holder[last] = draw.choice(VALUES)
    text = json.dumps(changed)
    if kind > 0.95:
        return text[: draw.randrange(len(text))]
    if kind > 0.93:
        return "[" * 100_000
    return text


def damaged_bytes(data: bytes, seed: int) -> bytes:
    """Bytes flipped, zeroed, removed or added, near the beginning more often than elsewhere."""
    draw = random.Random(seed)
    kind = draw.choice(("flip", "flip", "flip", "zero", "cut", "cut", "add", "empty"))
    size = min(len(data), draw.choice((8, 200, 4000, len(data))))
    place = draw.randrange(size)
    if kind == "flip":
        return data[:place] + bytes([data[place] ^ (1 << draw.randrange(8))]) + data[place + 1 :]
    if kind == "zero":
        return data[:place] + bytes(min(16, len(data) - place)) + data[place + 16 :]
    if kind == "cut":
        return data[:place]
    return data + b"\0" * 9 if kind == "add" else b""


def outcome(load: Callable[[], Any], *names: str) -> str:
    """Load: `valid` or `refused`.

    Fails if there is another exception than a ValueError or an OSError of one line that names one
    of the files or folders.
    """
    try:
        load()
    except (ValueError, OSError) as error:
        text = str(error)
        assert "\n" not in text, f"not one line: {text!r}"
        assert not names or any(name in text for name in names), f"names no file: {text!r}"
        return "refused"
    except Exception:
        raise AssertionError(traceback.format_exc()) from None
    return "valid"


def fuzz_json(
    path: Path, load: Callable[[], Any], count: int, *names: str, first: int = 0
) -> dict[str, int]:
    """Load with a damaged JSON file `count` times; how often it was valid and refused."""
    original = path.read_text(encoding="utf-8")
    value, counts = json.loads(original), {"valid": 0, "refused": 0}
    try:
        for seed in range(first, first + count):
            path.write_text(damaged_json(value, seed), encoding="utf-8")
            try:
                counts[outcome(load, *(names or (str(path.parent),)))] += 1
            except AssertionError as error:
                text = path.read_text(encoding="utf-8")
                raise AssertionError(
                    f"seed {seed} of {path.name}: {text[:2000]}\n{error}"
                ) from None
    finally:
        path.write_text(original, encoding="utf-8")
    return counts


def fuzz_bytes(path: Path, load: Callable[[], Any], count: int, *names: str) -> dict[str, int]:
    """Load with a damaged file `count` times; how often it was valid and refused."""
    original, counts = path.read_bytes(), {"valid": 0, "refused": 0}
    try:
        for seed in range(count):
            path.write_bytes(damaged_bytes(original, seed))
            try:
                counts[outcome(load, *(names or (str(path.parent),)))] += 1
            except AssertionError as error:
                raise AssertionError(f"seed {seed} of {path.name}\n{error}") from None
    finally:
        path.write_bytes(original)
    return counts
