"""Report of the codec benchmark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..harness import (
    Cell,
    busy_note,
    join_sections,
    markdown_table,
    target_table,
)
from .systems import PEERS
from .targets import CodecRows, check_targets


def _clip(seconds: float, batch: int) -> str:
    name = "1 h" if seconds == 3600 else f"{seconds:g} s"
    return name if batch == 1 else f"{name} x {batch}"


def _grid(rows: CodecRows, value: str, digits: int) -> str:
    """Systems and sides down, clip lengths across."""
    plain = [
        row
        for row in rows.all
        if row["kind"] == "codec" and row["dtype"] == "float32" and not row["compile"]
    ]
    clips = list(dict.fromkeys((row["seconds"], row["batch"]) for row in plain))
    lines = list(dict.fromkeys((row["side"], row["system"]) for row in plain))
    lines.sort(key=lambda key: ["encode", "decode", "both"].index(key[0]))
    out, notes = [], []
    for side, system in lines:
        cells = []
        for seconds, batch in clips:
            row = rows.codec(system, side, seconds, batch)
            if row is None:
                cells.append("")
            elif "error" in row:
                notes.append(f"{system}, {side}, {_clip(seconds, batch)}: {row['error']}")
                cells.append("-")
            else:
                cells.append(f"{row[value]:.{digits}f}")
        out.append([f"{system}, {'round trip' if side == 'both' else side}", *cells])
    text = markdown_table(["codec", *(_clip(*clip) for clip in clips)], out)
    if notes and value == "rtf":
        text += "\n\n`-`: " + "; ".join(notes) + "."
    return text


def _facts(rows: CodecRows) -> str:
    peak = rows.peak_gflops()
    out = []
    for row in rows.of_kind("facts"):
        cells = [f"{row['parameters'] / 1e6:.1f}"]
        for side in ("encode", "decode"):
            gflop = row[f"flops_{side}"] / 1e9
            share = rows.share_of_peak(row["system"], side, 10.0)
            cells += [
                f"{gflop:.2f}",
                "" if peak is None else f"{gflop / peak:.4f}",
                "" if share is None else f"{100 * share:.0f}",
            ]
        about = PEERS[row["system"]].about if row["system"] in PEERS else "ours"
        out.append([f"{row['system']} ({about})", *cells])
    head = ["codec", "M parameters"]
    for side in ("encode", "decode"):
        head += [f"{side} GFLOP/s of audio", "least RTF", "% of peak, 10 s"]
    return markdown_table(head, out)


def _parts(rows: CodecRows) -> str:
    """Where the time of ours goes, part by part."""
    peak = rows.peak_gflops()
    out = []
    for row in rows.of_kind("parts"):
        whole = sum(row["parts"].values()) + row["rest"]
        for part, seconds in row["parts"].items():
            gflop = row["flops"][part] / 1e9
            rate = gflop / seconds if seconds else 0.0
            share = "" if peak is None else f"{100 * rate / peak:.0f}"
            time = f"{1000 * seconds:.2f}"
            out.append([f"{row['system']}, {part}", time, f"{100 * seconds / whole:.0f}",
                        f"{gflop:.3f}", f"{rate:.0f}", share])  # fmt: skip
        rest = row["rest"]
        out.append([f"{row['system']}, rest", f"{1000 * rest:.2f}", f"{100 * rest / whole:.0f}",
                    "", "", ""])  # fmt: skip
    head = ["part", "ms per second of audio", "% of time", "GFLOP", "GFLOP/s", "% of peak"]
    return markdown_table(head, out)


def _options(rows: CodecRows) -> str:
    out = []
    for row in rows.of_kind("codec"):
        if row["dtype"] == "float32" and not row["compile"]:
            continue
        # The plain cell of the same turn is the last one of its kind.
        plain = [
            other
            for other in rows.of_kind("codec")
            if other["dtype"] == "float32"
            and not other["compile"]
            and all(other[key] == row[key] for key in ("system", "side", "seconds", "batch"))
        ]
        gain = f"{plain[-1]['rtf'] / row['rtf']:.2f}x" if plain else ""
        name = " + ".join(
            word
            for word in ("bf16" if row["dtype"] == "bfloat16" else "", "compile" * row["compile"])
            if word
        )
        out.append([f"{row['system']}, {row['side']}, {name}", f"{row['rtf']:.4f}", gain])
    return markdown_table(["10 s, batch 1", "RTF", "gain over fp32"], out)


def _training(rows: CodecRows) -> str:
    out = [
        [
            f"{row['system']}, {'bf16' if row['dtype'] == 'bfloat16' else 'fp32'}",
            f"{row['seconds_wall']:.3f}",
            f"{row['rtf']:.4f}",
            f"{row['mb_peak']}",
        ]
        for row in rows.of_kind("train")
    ]
    return markdown_table(["4 x 0.96 s", "s per step", "s per s of audio", "peak MB"], out)


def _streams(rows: CodecRows) -> str:
    out = [
        [
            f"{row['system']}, {row['side']}",
            f"{row['ms_audio']:.0f}",
            f"{row['ms_median']:.2f}",
            f"{row['ms_95']:.2f}",
        ]
        for row in rows.of_kind("stream")
    ]
    return markdown_table(["stream", "ms of audio", "ms median", "ms 95 %"], out)


def to_markdown(rows: Sequence[Cell], environment: Mapping[str, Any]) -> str:
    """The whole report.

    Args:
        rows: of `Benchmark.run`.
        environment: of `harness.environment`.
    """
    table = CodecRows(rows)
    machine = ", ".join(f"{key} {value}" for key, value in environment.items())
    peaks = "; ".join(
        f"{name} {rate:.0f} GFLOP/s"
        for row in table.of_kind("peak")[:1]
        for name, rate in row["gflops"].items()
    )
    failed = [row for row in rows if "error" in row and row["kind"] != "codec"]
    about = (
        "RTF: seconds of computing per second of audio, batch counted; lower is better. Random"
        " weights. Every cell in a process of its own, all codecs in turn."
    )
    return join_sections([
        ("# Cost of the codecs", f"{machine}. Best rates of the machine: {peaks}."),
        ("", about + busy_note(rows)),
        ("## Targets", target_table(check_targets(rows))),
        ("## Real-time factor", _grid(table, "rtf", 4)),
        ("## Processor seconds per second of audio, all threads", _grid(table, "cpu", 4)),
        ("## Peak memory, MB", _grid(table, "mb_peak", 0)),
        ("## Work", _facts(table)),
        ("## Where the time goes", _parts(table)),
        ("## Options of ours", _options(table)),
        ("## One training step, generator alone", _training(table)),
        ("## One step of a stream", _streams(table)),
        ("## Failed", "\n".join(f"- {r['kind']} {r['system']}: {r['error']}" for r in failed)),
    ])  # fmt: skip
