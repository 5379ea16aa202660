"""Targets for the cost of generation, checked against the rows of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..harness import BUSY, Cell, Check, Rows, unmeasured
from .systems import SYSTEMS

FAST = ("bfloat16", "int8", "int4")
CODEC = "base"  # the larger of ours


class ModelRows(Rows):
    """Rows of the generation benchmark."""

    def lm(
        self, system: str, *, dtype: str = "bfloat16", batch: int = 1, option: str = "packed"
    ) -> Cell | None:
        """The measured row of one model, if there is one."""
        return self.measured("lm", system=system, dtype=dtype, batch=batch, option=option)

    def fastest(self, system: str, batch: int, dtypes: Sequence[str] = FAST) -> Cell | None:
        """The fastest of all options of one model."""
        found = [
            row
            for row in self.of_kind("lm")
            if row["system"] == system and row["batch"] == batch and row["dtype"] in dtypes
        ]
        return min(found, key=lambda row: row["rtf"], default=None)

    def codec(self, row: Cell, name: str = CODEC) -> Cell | None:
        """The row of decoding the codes of a language model, if it was measured."""
        return self.measured("codec", system=name, batch=row["batch"], dtype=row["codec_dtype"])

    def total(self, row: Cell) -> float | None:
        """Seconds of computing per second of audio, the codec's decoding included."""
        codec = self.codec(row)
        return None if codec is None else row["rtf"] + codec["rtf"]

    def bandwidth(self) -> float | None:
        """The best rate of reading memory, bytes per second."""
        rates = [row["read_gb_per_second"] for row in self.of_kind("peak")]
        return 1e9 * max(rates) if rates else None

    def share_of_bandwidth(self, row: Cell) -> float | None:
        """Time to read the weights of a step once, over the time of a step; 0 to 1."""
        best = self.bandwidth()
        if best is None:
            return None
        return (row["main_bytes"] + row["heads_bytes"]) / best / row["seconds_wall"]


def _at_most(
    text: str, value: float | None, limit: float, rows: Sequence[Cell | None], note: str = ""
) -> Check:
    if value is None:
        return unmeasured(text)
    return _judged(text, f"{value:.3f}{note}", value <= limit, rows)


def _judged(text: str, measured: str, passed: bool, rows: Sequence[Cell | None]) -> Check:
    busy = max((row.get("others", 0.0) for row in rows if row is not None), default=0.0)
    if not passed and busy >= BUSY:
        return Check(text, f"{measured}, machine busy ({100 * busy:.0f} % by others)", None)
    return Check(text, measured, passed)


def _plain_checks(rows: ModelRows) -> Iterator[Check]:
    row = rows.lm("depth")
    codec = row and rows.codec(row)
    both = (row, codec)
    name = "depth, bf16, batch 1"
    parts = {
        "backbone, at most 0.66": (row and row["rtf"] - row["rtf_heads"], 0.66),
        "depth Transformer and choices, under 0.10": (row and row["rtf_heads"], 0.10),
        f"codec ({CODEC}), under 0.04": (codec and codec["rtf"], 0.04),
        "all, at most 0.80": (row and rows.total(row), 0.80),
    }
    for text, (value, limit) in parts.items():
        yield _at_most(f"{name}: {text}", value, limit, both)


def _best_checks(rows: ModelRows) -> Iterator[Check]:
    row = rows.fastest("depth", 1)
    total = row and rows.total(row)
    note = f" ({row['option']})" if row else ""
    text = "depth, batch 1, fastest option: all, at most 0.40"
    yield _at_most(text, total, 0.40, (row, row and rows.codec(row)), note)
    # Of bfloat16: what has fewer bytes is faster and waits less for memory.
    text = "depth, bf16, batch 1, fastest option: 45 % of the bandwidth limit per step"
    plain = rows.fastest("depth", 1, ("bfloat16",))
    share = plain and rows.share_of_bandwidth(plain)
    if plain is None or share is None:
        yield unmeasured(text)
    else:
        note = f" ({plain['option']})"
        yield _judged(text, f"{100 * share:.0f} %{note}", share >= 0.45, (plain,))
    many = rows.fastest("depth", 8)
    text = "batch 8 at least 4.5x the throughput of batch 1, language model, fastest options"
    if row is None or many is None:
        yield unmeasured(text)
    else:
        gain = row["rtf"] / many["rtf"]
        note = f" ({row['option']}, {many['option']})"
        yield _judged(text, f"{gain:.2f}x{note}", gain >= 4.5, (row, many))


def _peer_checks(rows: ModelRows) -> Iterator[Check]:
    ours = rows.lm("depth")
    for name in ("flat", "delay50", "musicgen", "csm"):
        text = f"depth faster per second of audio than {SYSTEMS[name].about}, bf16, batch 1"
        other = rows.lm(name)
        if ours is None or other is None:
            yield unmeasured(text)
        else:
            ratio = other["rtf"] / ours["rtf"]
            yield _judged(text, f"{ratio:.1f}x", ratio > 1, (ours, other))


def check_targets(rows: Sequence[Cell]) -> list[Check]:
    """Every target with its result; there are none for toys."""
    table = ModelRows([row for row in rows if row.get("size") != "toy"])
    return [*_plain_checks(table), *_best_checks(table), *_peer_checks(table)]
