"""Targets for the cost of the codec, and the report of a run."""

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
from .systems import PEERS

Key = tuple[str, str, float, int]  # system, side, seconds, batch
_PLAIN = {"dtype": "float32", "compile": False}


class CodecRows(Rows):
    """Rows of the codec benchmark."""

    def codec(self, system: str, side: str, seconds: float, batch: int = 1) -> Cell | None:
        """The row of a codec in float32, not compiled; it may have failed."""
        values = {"system": system, "side": side, "seconds": seconds, "batch": batch}
        return self.find("codec", **values, **_PLAIN)

    def ratio(self, ours: Key, theirs: Key) -> tuple[float, str] | None:
        """Cost of the second cell over that of the first, and a remark if the machine was busy.

        By wall-clock time, or by processor time when other processes used the machine.
        """
        a, b = self.codec(*ours), self.codec(*theirs)
        if a is None or b is None or "error" in a or "error" in b:
            return None
        quiet = max(a.get("others", 0.0), b.get("others", 0.0)) < BUSY
        if quiet or not (a.get("cpu") and b.get("cpu")):
            return b["rtf"] / a["rtf"], ""
        return b["cpu"] / a["cpu"], " of processor time, machine busy"

    def peak_gflops(self) -> float | None:
        """Best float32 rate of the machine in GFLOP/s; None if it was busy all the time."""
        quiet = [row for row in self.of_kind("peak") if row.get("others", 0.0) < BUSY]
        return max((row["gflops"]["convolution fp32"] for row in quiet), default=None)

    def share_of_peak(self, system: str, side: str, seconds: float) -> float | None:
        """Rate of a codec over the best rate of the machine, 0 to 1."""
        facts = self.measured("facts", system=system)
        row, peak = self.codec(system, side, seconds), self.peak_gflops()
        if facts is None or peak is None or row is None or row.get("others", 0.0) >= BUSY:
            return None
        return facts[f"flops_{side}"] / 1e9 / row["rtf"] / peak if "rtf" in row else None


def _ratio(text: str, found: tuple[float, str] | None, least: float, most: float) -> Check:
    value, note = found or (None, "")
    return check(text, value, "{:.2f}x" + note, lambda ratio: least <= ratio <= most)


def _everywhere(rows: CodecRows, ours: str, peer: str, least: float) -> Check:
    text = f"{ours} faster than {peer} everywhere"
    text += f" from {least:g} s on" if least > 1 else ""
    keys = [(row["side"], row["seconds"], row["batch"]) for row in rows.of_kind("codec")
            if row["system"] == ours and row["seconds"] >= least]  # fmt: skip
    ratios = {key: rows.ratio((ours, *key), (peer, *key)) for key in keys}
    known = {key: found[0] for key, found in ratios.items() if found is not None}
    (side, seconds, batch), worst = min(known.items(), key=lambda item: item[1],
                                        default=(("", 0, 0), None))  # fmt: skip
    form = f"least {{:.2f}}x ({side}, {seconds:g} s x {batch})"
    return check(text, worst, form, lambda ratio: ratio > 1.0)


def _side_checks(rows: CodecRows, side: str) -> Iterator[Check]:
    times = {("encodec", 10.0): 2.0, ("encodec", 300.0): 4.0, ("mimi", 10.0): 3.5,
             ("mimi", 300.0): 5.0}  # fmt: skip
    for (peer, seconds), least in times.items():
        text = f"mini at least {least:g}x faster than {peer}, {side}, {seconds:g} s"
        found = rows.ratio(("mini", side, seconds, 1), (peer, side, seconds, 1))
        yield _ratio(text, found, least, float("inf"))
    for ours in ("mini", "base"):
        text = f"{ours}, {side}: a second of 1 h costs at most 1.1x that of 10 s"
        found = rows.ratio((ours, side, 10.0, 1), (ours, side, 3600.0, 1))
        yield _ratio(text, found, 0.0, 1.1)
        text, share = f"{ours}, {side}, 10 s: 40 %", rows.share_of_peak(ours, side, 10.0)
        why, share = "not measured, or machine busy", share and 100 * share
        yield check(f"{text} of the machine's peak", share, "{:.0f} %", lambda x: x >= 40, why)
    step = rows.measured("stream", system="base", side=side)
    text = f"base: one 80 ms step of a stream in under 20 ms, {side}"
    form = f"{{:.1f}} ms (95 %: {step['ms_95']:.1f})" if step else ""
    yield check(text, step and step["ms_median"], form, lambda ms: ms < 20.0)


def check_targets(rows: Sequence[Cell]) -> list[Check]:
    """Every target with its result."""
    table = CodecRows(rows)
    checks = [found for side in ("encode", "decode") for found in _side_checks(table, side)]
    checks += [_everywhere(table, "base", "mimi", 0.0), _everywhere(table, "base", "encodec", 60.0)]
    for ours in ("mini", "base"):
        for seconds, name in ((300.0, "300 s"), (3600.0, "1 h")):
            for side in ("encode", "decode"):
                row = table.codec(ours, side, seconds) or {}
                text = f"{ours}, {side}, {name}: peak memory under 1200 MB"
                checks.append(check(text, row.get("mb_peak"), "{} MB", lambda mb: mb < 1200))
    return checks


def _clip(seconds: float, batch: int) -> str:
    name = "1 h" if seconds == 3600 else f"{seconds:g} s"
    return name if batch == 1 else f"{name} x {batch}"


def _grid(rows: CodecRows, value: str, digits: int) -> str:
    """Systems and sides down, clip lengths across."""
    wanted = {"kind": "codec", **_PLAIN}.items()
    plain = [row for row in rows.all if wanted <= row.items()]
    clips = list(dict.fromkeys((row["seconds"], row["batch"]) for row in plain))
    lines = list(dict.fromkeys((row["side"], row["system"]) for row in plain))
    lines.sort(key=lambda key: ["encode", "decode", "both"].index(key[0]))
    out, notes = [], []
    for side, system in lines:
        found = [rows.codec(system, side, *clip) or {} for clip in clips]
        notes += [f"{system}, {side}, {_clip(row['seconds'], row['batch'])}: {row['error']}"
                  for row in found if "error" in row]  # fmt: skip
        cells = [f"{row[value]:.{digits}f}" if value in row else "-" if row else ""
                 for row in found]  # fmt: skip
        out.append([f"{system}, {'round trip' if side == 'both' else side}", *cells])
    text = markdown_table(["codec", *(_clip(*clip) for clip in clips)], out)
    return text + ("\n\n`-`: " + "; ".join(notes) + "." if notes and value == "rtf" else "")


def _facts(rows: CodecRows) -> str:
    peak, columns = rows.peak_gflops(), {}

    def about(row: Cell) -> str:
        return PEERS[row["system"]].about if row["system"] in PEERS else "ours"

    def share(row: Cell, side: str) -> str:
        found = rows.share_of_peak(row["system"], side, 10.0)
        return "" if found is None else f"{100 * found:.0f}"

    columns["codec"] = lambda row: f"{row['system']} ({about(row)})"
    columns["M parameters"] = lambda row: f"{row['parameters'] / 1e6:.1f}"
    for side in ("encode", "decode"):
        columns |= {
            f"{side} GFLOP/s of audio": lambda row, s=side: f"{row[f'flops_{s}'] / 1e9:.2f}",
            f"{side}, least RTF": lambda row, s=side: (
                "" if peak is None else f"{row[f'flops_{s}'] / 1e9 / peak:.4f}"
            ),
            f"{side}, % of peak, 10 s": lambda row, s=side: share(row, s),
        }
    return table_of(rows.of_kind("facts"), columns)


def _parts(rows: CodecRows) -> str:
    """Where the time of ours goes, part by part."""
    peak, out = rows.peak_gflops(), []
    for row in rows.of_kind("parts"):
        times = {**row["parts"], "rest": row["rest"]}
        whole = sum(times.values())
        for part, seconds in times.items():
            cells = [f"{1000 * seconds:.2f}", f"{100 * seconds / whole:.0f}", "", "", ""]
            if part != "rest":
                gflop = row["flops"][part] / 1e9
                rate = gflop / seconds if seconds else 0.0
                cells[2:] = [
                    f"{gflop:.3f}",
                    f"{rate:.0f}",
                    f"{100 * rate / peak:.0f}" if peak else "",
                ]
            out.append([f"{row['system']}, {part}", *cells])
    head = ["part", "ms per second of audio", "% of time", "GFLOP", "GFLOP/s", "% of peak"]
    return markdown_table(head, out)


def _options(rows: CodecRows) -> str:
    def name(row: Cell) -> str:
        ways = ("bf16" * (row["dtype"] == "bfloat16"), "compile" * row["compile"])
        return f"{row['system']}, {row['side']}, {' + '.join(filter(None, ways))}"

    def gain(row: Cell) -> str:
        # The plain cell of the same turn is the last one of its kind.
        same = {key: row[key] for key in ("system", "side", "seconds", "batch")}
        plain = rows.of_kind("codec", **same, **_PLAIN)
        return f"{plain[-1]['rtf'] / row['rtf']:.2f}x" if plain else ""

    return table_of(
        [row for row in rows.of_kind("codec") if not _PLAIN.items() <= row.items()],
        {"10 s, batch 1": name, "RTF": lambda row: f"{row['rtf']:.4f}", "gain over fp32": gain},
    )


def to_markdown(rows: Sequence[Cell], environment: Mapping[str, Any]) -> str:
    """The whole report.

    Args:
        rows: of `Benchmark.run`.
        environment: of `harness.environment`.
    """
    table = CodecRows(rows)
    machine = ", ".join(f"{key} {value}" for key, value in environment.items())
    best = (table.measured("peak") or {"gflops": {}})["gflops"]
    peaks = "; ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in best.items())
    failed = [row for row in rows if "error" in row and row["kind"] != "codec"]
    about = (
        "RTF: seconds of computing per second of audio, batch counted; lower is better. Random"
        " weights. Every cell in a process of its own, all codecs in turn."
    )
    training = {
        "4 x 0.96 s": lambda r: f"{r['system']}, {SHORT[r['dtype']]}",
        "s per step": lambda r: f"{r['seconds_wall']:.3f}",
        "s per s of audio": lambda r: f"{r['rtf']:.4f}",
        "peak MB": lambda r: f"{r['mb_peak']}",
    }
    streams = {
        "stream": lambda r: f"{r['system']}, {r['side']}",
        "ms of audio": lambda r: f"{r['ms_audio']:.0f}",
        "ms median": lambda r: f"{r['ms_median']:.2f}",
        "ms 95 %": lambda r: f"{r['ms_95']:.2f}",
    }
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
        ("## One training step, generator alone", table_of(table.of_kind("train"), training)),
        ("## One step of a stream", table_of(table.of_kind("stream"), streams)),
        ("## Failed", "\n".join(f"- {r['kind']} {r['system']}: {r['error']}" for r in failed)),
    ])  # fmt: skip
