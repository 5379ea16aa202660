"""Targets for the cost of the codec, checked against the rows of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..harness import BUSY, Cell, Check, Rows, unmeasured

Key = tuple[str, str, float, int]  # system, side, seconds, batch


class CodecRows(Rows):
    """Rows of the codec benchmark."""

    def codec(self, system: str, side: str, seconds: float, batch: int = 1) -> Cell | None:
        """The row of a codec in float32, not compiled; it may have failed."""
        return self.find(
            "codec", system=system, side=side, seconds=seconds, batch=batch, dtype="float32",
            compile=False,
        )  # fmt: skip

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
        rates = [
            row["gflops"]["convolution fp32"]
            for row in self.of_kind("peak")
            if row.get("others", 0.0) < BUSY
        ]
        return max(rates, default=None)

    def share_of_peak(self, system: str, side: str, seconds: float) -> float | None:
        """Rate of a codec over the best rate of the machine, 0 to 1."""
        facts = self.measured("facts", system=system)
        row, peak = self.codec(system, side, seconds), self.peak_gflops()
        if facts is None or peak is None or row is None or row.get("others", 0.0) >= BUSY:
            return None
        return facts[f"flops_{side}"] / 1e9 / row["rtf"] / peak if "rtf" in row else None


def _ratio(text: str, found: tuple[float, str] | None, least: float, most: float) -> Check:
    if found is None:
        return unmeasured(text)
    return Check(text, f"{found[0]:.2f}x{found[1]}", least <= found[0] <= most)


def _everywhere(rows: CodecRows, ours: str, peer: str, least: float) -> Check:
    text = f"{ours} faster than {peer} everywhere"
    text += f" from {least:g} s on" if least > 1 else ""
    ratios: dict[tuple[str, float, int], float] = {}
    for row in rows.of_kind("codec"):
        key = (row["side"], row["seconds"], row["batch"])
        if row["system"] == ours and row["seconds"] >= least:
            found = rows.ratio((ours, *key), (peer, *key))
            if found is not None:
                ratios[key] = found[0]
    if not ratios:
        return unmeasured(text)
    side, seconds, batch = worst = min(ratios, key=lambda key: ratios[key])
    at = f"{side}, {seconds:g} s x {batch}"
    return Check(text, f"least {ratios[worst]:.2f}x ({at})", ratios[worst] > 1.0)


def _small(rows: CodecRows, ours: str) -> Iterator[Check]:
    for seconds, name in ((300.0, "300 s"), (3600.0, "1 h")):
        for side in ("encode", "decode"):
            text = f"{ours}, {side}, {name}: peak memory under 1200 MB"
            row = rows.codec(ours, side, seconds)
            if row is None or "error" in row:
                yield unmeasured(text)
            else:
                yield Check(text, f"{row['mb_peak']} MB", row["mb_peak"] < 1200)


def _side_checks(rows: CodecRows, side: str) -> Iterator[Check]:
    for peer, at_10, at_300 in (("encodec", 2.0, 4.0), ("mimi", 3.5, 5.0)):
        for seconds, times in ((10.0, at_10), (300.0, at_300)):
            text = f"mini at least {times:g}x faster than {peer}, {side}, {seconds:g} s"
            found = rows.ratio(("mini", side, seconds, 1), (peer, side, seconds, 1))
            yield _ratio(text, found, times, float("inf"))
    for ours in ("mini", "base"):
        text = f"{ours}, {side}: a second of 1 h costs at most 1.1x that of 10 s"
        found = rows.ratio((ours, side, 10.0, 1), (ours, side, 3600.0, 1))
        yield _ratio(text, found, 0.0, 1.1)
        text = f"{ours}, {side}, 10 s: 40 % of the machine's peak"
        share = rows.share_of_peak(ours, side, 10.0)
        if share is None:
            yield unmeasured(text, "not measured, or machine busy")
        else:
            yield Check(text, f"{100 * share:.0f} %", share >= 0.4)
    text = f"base: one 80 ms step of a stream in under 20 ms, {side}"
    step = rows.find("stream", system="base", side=side)
    if step is None or "error" in step:
        yield unmeasured(text)
    else:
        value = f"{step['ms_median']:.1f} ms (95 %: {step['ms_95']:.1f})"
        yield Check(text, value, step["ms_median"] < 20.0)


def check_targets(rows: Sequence[Cell]) -> list[Check]:
    """Every target with its result."""
    table = CodecRows(rows)
    checks = [check for side in ("encode", "decode") for check in _side_checks(table, side)]
    checks += [_everywhere(table, "base", "mimi", 0.0), _everywhere(table, "base", "encodec", 60.0)]
    return [*checks, *_small(table, "mini"), *_small(table, "base")]
