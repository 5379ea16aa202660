"""Report of the generation benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..harness import Cell, busy_note, join_sections, markdown_table, target_table
from .systems import SYSTEMS
from .targets import CODEC, FAST, ModelRows, check_targets

_SHORT = {"bfloat16": "bf16", "float32": "fp32", "int8": "int8", "int4": "int4"}


def _label(row: Cell) -> str:
    return f"{SYSTEMS[row['system']].about}, {_SHORT[row['dtype']]} x {row['batch']}"


def _systems(rows: ModelRows) -> list[Cell]:
    """The first row of every model with the option "packed"."""
    seen: dict[tuple[Any, ...], Cell] = {}
    for row in rows.of_kind("lm"):
        if row["option"] == "packed":
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


def _steps(rows: ModelRows) -> str:
    out = []
    for row in _systems(rows):
        size = row["main_bytes"] + row["heads_bytes"]
        share = rows.share_of_bandwidth(row)
        out.append([
            _label(row),
            f"{row['parameters'] / 1e6:.0f}",
            f"{row['ms_step']:.2f}",
            f"{row['batch'] * 1000 / row['ms_step']:.1f}",
            f"{size / 1e6:.0f}",
            f"{size / 1e9 / row['seconds_wall']:.1f}",
            "" if share is None else f"{100 * share:.0f}",
            f"{row['prefill_rows']:.0f}",
            f"{row['mb_peak']}",
        ])  # fmt: skip
    head = ["step", "M parameters", "ms", "steps/s, all rows", "MB of weights", "GB/s",
            "% of bandwidth", "prompt rows/s", "peak MB"]  # fmt: skip
    return markdown_table(head, out)


def _options(rows: ModelRows) -> str:
    """Options against "packed" in the same group."""
    out = []
    found = [row for row in rows.of_kind("lm") if row["system"] == "depth"]
    batches = sorted({row["batch"] for row in found if row["option"] != "packed"})
    for batch in batches:
        turn = [row for row in found if row["batch"] == batch and row["dtype"] in FAST]
        # "packed" was measured twice, the second time beside the options.
        usual = [row for row in turn if row["option"] == "packed"][-1:]
        for row in [*usual, *(row for row in turn if row["option"] != "packed")]:
            gain = f"{usual[0]['rtf'] / row['rtf']:.2f}x" if usual else ""
            share = rows.share_of_bandwidth(row)
            total = rows.total(row)
            out.append([
                f"{row['option']}, x {batch}",
                f"{row['ms_step']:.2f}",
                f"{row['rtf']:.3f}",
                "" if total is None else f"{total:.3f}",
                gain,
                "" if share is None else f"{100 * share:.0f}",
                f"{row['mb_peak']}",
            ])  # fmt: skip
    head = ["depth, bf16, int8 or int4", "ms per step", "language model", "with codec", "gain",
            "% of bandwidth", "peak MB"]  # fmt: skip
    return markdown_table(head, out)


def _kernels(rows: ModelRows) -> str:
    found = rows.of_kind("kernels")
    names = list(dict.fromkeys(name for row in found for name in row["kernels"]))
    out = []
    for name in names:
        cells = []
        for row in found:
            rate = row["kernels"].get(name)
            values = (rate["ms"], rate["gb_per_second"]) if rate else None
            cells += [f"{values[0]:.3f}", f"{values[1]:.1f}"] if values else ["", ""]
        out.append([name, *cells])
    head = ["kernel"]
    for row in found:
        head += [f"ms, x {row['batch']}", "GB/s"]
    return markdown_table(head, out)


def _codecs(rows: ModelRows) -> str:
    out = [
        [f"{row['system']}, {_SHORT[row['dtype']]}, {row['seconds']:g} s x {row['batch']}",
         f"{row['rtf']:.4f}",
         f"{row['mb_peak']}"]
        for row in rows.of_kind("codec")
    ]  # fmt: skip
    return markdown_table(["codec, decoding", "s per s of audio", "peak MB"], out)


def _failed(rows: ModelRows) -> str:
    lines = []
    for row in rows.all:
        if "error" in row:
            parts = (row["kind"], row["system"], row.get("dtype"), row.get("option"))
            name = " ".join(str(part) for part in parts if part)
            lines.append(f"- {name}, batch {row.get('batch', 1)}: {row['error']}")
    return "\n".join(lines)


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
    return join_sections([
        ("# Cost of generation", f"{machine}.{reads}"),
        ("", about + busy_note(rows)),
        ("## Targets", target_table(check_targets(rows))),
        ("## Seconds of computing per second of audio", _cost(table)),
        ("## One step", _steps(table)),
        ("## Options of ours", _options(table)),
        ("## One linear map, its weights read from memory", _kernels(table)),
        ("## Codes to waveform", _codecs(table)),
        ("## Not measured", _failed(table)),
    ])  # fmt: skip
