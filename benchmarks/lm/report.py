"""Targets for the cost of generation, and the report of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..harness import (
    BUSY,
    SHORT,
    Cell,
    Check,
    Rows,
    busy_note,
    check,
    join_sections,
    markdown_table,
    table_of,
    target_table,
)
from .systems import SYSTEMS

FAST = ("bfloat16", "int8", "int4")
CODEC = "base"  # the larger of ours


class ModelRows(Rows):
    """Rows of the generation benchmark."""

    def lm(self, system: str) -> Cell | None:
        """The measured row of one model in bfloat16 as `generate` runs it, batch 1."""
        return self.measured("lm", system=system, dtype="bfloat16", batch=1, option="packed")

    def fastest(self, system: str, batch: int, dtypes: Sequence[str] = FAST) -> Cell | None:
        """The fastest of all options of one model."""
        found = self.of_kind("lm", system=system, batch=batch)
        found = [row for row in found if row["dtype"] in dtypes]
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
        """Time to read the weights of a step once, over the time of a step, in percent."""
        best = self.bandwidth()
        size = row["main_bytes"] + row["heads_bytes"]
        return None if best is None else 100 * size / best / row["seconds_wall"]


def _judged(found: Check, *rows: Cell | None) -> Check:
    """A missed target is not judged if other processes used the machine."""
    busy = max((row.get("others", 0.0) for row in rows if row is not None), default=0.0)
    if found.passed is False and busy >= BUSY:
        note = f"{found.measured}, machine busy ({100 * busy:.0f} % by others)"
        return Check(found.text, note, None)
    return found


def _checks(rows: ModelRows) -> Iterator[Check]:
    row, best, many = rows.lm("depth"), rows.fastest("depth", 1), rows.fastest("depth", 8)
    codec = row and rows.codec(row)
    parts = {
        "backbone, at most 0.66": (row and row["rtf"] - row["rtf_heads"], 0.66),
        "depth Transformer and choices, under 0.10": (row and row["rtf_heads"], 0.10),
        f"codec ({CODEC}), under 0.04": (codec and codec["rtf"], 0.04),
        "all, at most 0.80": (row and rows.total(row), 0.80),
    }
    for text, (value, limit) in parts.items():
        found = check(f"depth, bf16, batch 1: {text}", value, "{:.3f}", lambda x, y=limit: x <= y)
        yield _judged(found, row, codec)
    text, note = "depth, batch 1, fastest option: all, at most 0.40", best and best["option"]
    total = best and rows.total(best)
    found = check(text, total, f"{{:.3f}} ({note})", lambda x: x <= 0.40)
    yield _judged(found, best, best and rows.codec(best))
    # Of bfloat16: what has fewer bytes is faster and waits less for memory.
    text = "depth, bf16, batch 1, fastest option: 45 % of the bandwidth limit per step"
    plain = rows.fastest("depth", 1, ("bfloat16",))
    share = plain and rows.share_of_bandwidth(plain)
    form = f"{{:.0f}} % ({plain and plain['option']})"
    yield _judged(check(text, share, form, lambda x: x >= 45), plain)
    text = "batch 8 at least 4.5x the throughput of batch 1, language model, fastest options"
    gain = best["rtf"] / many["rtf"] if best and many else None
    form = f"{{:.2f}}x ({note}, {many and many['option']})"
    yield _judged(check(text, gain, form, lambda x: x >= 4.5), best, many)
    for name in ("flat", "delay50", "musicgen", "csm"):
        text = f"depth faster per second of audio than {SYSTEMS[name].about}, bf16, batch 1"
        other = rows.lm(name)
        ratio = other["rtf"] / row["rtf"] if row and other else None
        yield _judged(check(text, ratio, "{:.1f}x", lambda x: x > 1), row, other)


def check_targets(rows: Sequence[Cell]) -> list[Check]:
    """Every target with its result; there are none for toys."""
    return list(_checks(ModelRows([row for row in rows if row.get("size") != "toy"])))


def _label(row: Cell) -> str:
    return f"{SYSTEMS[row['system']].about}, {SHORT[row['dtype']]} x {row['batch']}"


def _systems(rows: ModelRows) -> list[Cell]:
    """The first row of every model with the option "packed"."""
    seen: dict[tuple[Any, ...], Cell] = {}
    for row in rows.of_kind("lm", option="packed"):
        seen.setdefault((row["dtype"], row["batch"], row["system"]), row)
    return list(seen.values())


def _cost(rows: ModelRows) -> str:
    out = []
    for row in _systems(rows):
        parts = [row["rtf"] - row["rtf_heads"], row["rtf_heads"]]
        # Their codecs are others, and not counted: in their favour.
        codec = rows.codec(row) if SYSTEMS[row["system"]].ours is not None else None
        parts += [codec["rtf"]] if codec is not None else []
        whole = sum(parts)
        cells = [f"{part:.3f} ({100 * part / whole:.0f} %)" for part in parts]
        out.append([_label(row), *cells, *[""] * (3 - len(cells)), f"**{whole:.3f}**"])
    head = ["s of computing per s of audio", "backbone", "heads", f"codec ({CODEC})", "all"]
    return markdown_table(head, out)


def _text(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _steps(rows: ModelRows) -> str:
    def megabytes(row: Cell) -> float:
        return (row["main_bytes"] + row["heads_bytes"]) / 1e6

    columns = {
        "step": _label,
        "M parameters": lambda row: f"{row['parameters'] / 1e6:.0f}",
        "ms": lambda row: f"{row['ms_step']:.2f}",
        "steps/s, all rows": lambda row: f"{row['batch'] * 1000 / row['ms_step']:.1f}",
        "MB of weights": lambda row: f"{megabytes(row):.0f}",
        "GB/s": lambda row: f"{megabytes(row) / 1e3 / row['seconds_wall']:.1f}",
        "% of bandwidth": lambda row: _text(rows.share_of_bandwidth(row), 0),
        "prompt rows/s": lambda row: f"{row['prefill_rows']:.0f}",
        "peak MB": lambda row: f"{row['mb_peak']}",
    }
    return table_of(_systems(rows), columns)


def _options(rows: ModelRows) -> str:
    """Options against "packed" in the same group, where it was measured a second time."""
    found = [row for row in rows.of_kind("lm", system="depth") if row["dtype"] in FAST]
    batches = sorted({row["batch"] for row in found if row["option"] != "packed"})
    usual = {row["batch"]: row for row in found if row["option"] == "packed"}
    shown = []
    for batch in batches:
        shown += [usual[batch]] if batch in usual else []
        shown += [row for row in found if row["batch"] == batch and row["option"] != "packed"]

    def gain(row: Cell) -> str:
        plain = usual.get(row["batch"])
        return f"{plain['rtf'] / row['rtf']:.2f}x" if plain else ""

    columns = {
        "depth, bf16, int8 or int4": lambda row: f"{row['option']}, x {row['batch']}",
        "ms per step": lambda row: f"{row['ms_step']:.2f}",
        "language model": lambda row: f"{row['rtf']:.3f}",
        "with codec": lambda row: _text(rows.total(row), 3),
        "gain": gain,
        "% of bandwidth": lambda row: _text(rows.share_of_bandwidth(row), 0),
        "peak MB": lambda row: f"{row['mb_peak']}",
    }
    return table_of(shown, columns)


def _kernels(rows: ModelRows) -> str:
    found = rows.of_kind("kernels")
    names = dict.fromkeys(name for row in found for name in row["kernels"])
    rates = {name: [row["kernels"].get(name, {}) for row in found] for name in names}
    head = [text for row in found for text in (f"ms, x {row['batch']}", "GB/s")]
    out = [
        [name, *(_text(r.get(key), digits) for r in all_of
                 for key, digits in (("ms", 3), ("gb_per_second", 1)))]
        for name, all_of in rates.items()
    ]  # fmt: skip
    return markdown_table(["kernel", *head], out)


def _failed(row: Cell) -> str:
    parts = (row["kind"], row["system"], row.get("dtype"), row.get("option"))
    name = " ".join(str(part) for part in parts if part)
    return f"- {name}, batch {row.get('batch', 1)}: {row['error']}"


def to_markdown(rows: Sequence[Cell], environment: Mapping[str, Any]) -> str:
    """The whole report.

    Args:
        rows: of `Benchmark.run`.
        environment: of `harness.environment`.
    """
    table = ModelRows(rows)
    machine = ", ".join(f"{key} {value}" for key, value in environment.items())
    best = table.bandwidth()
    about = (
        "Random weights. Every cell in a process of its own, all models in turn. Batch counted: x 8"
        " is the cost of one of eight rows. Heads: all between the backbone's state and the codes,"
        " with choosing them; of peers no codes are chosen and no codec counts, in their favour."
    )
    reads = "" if best is None else f" Memory is read at {best / 1e9:.0f} GB/s at best."
    codecs = {
        "codec, decoding": lambda row: (
            f"{row['system']}, {SHORT[row['dtype']]}, {row['seconds']:g} s x {row['batch']}"
        ),
        "s per s of audio": lambda row: f"{row['rtf']:.4f}",
        "peak MB": lambda row: f"{row['mb_peak']}",
    }
    return join_sections([
        ("# Cost of generation", f"{machine}.{reads}"),
        ("", about + busy_note(rows)),
        ("## Targets", target_table(check_targets(rows))),
        ("## Seconds of computing per second of audio", _cost(table)),
        ("## One step", _steps(table)),
        ("## Options of ours", _options(table)),
        ("## One linear map, its weights read from memory", _kernels(table)),
        ("## Codes to waveform", table_of(table.of_kind("codec"), codecs)),
        ("## Not measured", "\n".join(_failed(row) for row in rows if "error" in row)),
    ])  # fmt: skip
