"""What the project promises about cost, each promise checked against the rows of one run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from .plan import Cell

# Above this share of the machine taken by others, wall-clock says more about them than about us.
BUSY = 0.15


@dataclass(frozen=True)
class Check:
    """One promise."""

    text: str
    measured: str
    passed: bool | None  # None: the rows needed for it were not measured


class Rows:
    """Rows of a run by what they are about."""

    def __init__(self, rows: Iterable[Cell]) -> None:
        self.all = list(rows)

    def codec(
        self,
        system: str,
        side: str,
        seconds: float,
        batch: int = 1,
        dtype: str = "float32",
        compiled: bool = False,
    ) -> Cell | None:
        """The measured row of one codec cell, if there is one."""
        wanted = {
            "kind": "codec",
            "system": system,
            "side": side,
            "seconds": seconds,
            "batch": batch,
            "dtype": dtype,
            "compile": compiled,
        }
        return next((row for row in self.all if wanted.items() <= row.items()), None)

    def ratio(
        self, ours: tuple[str, str, float, int], theirs: tuple[str, str, float, int]
    ) -> tuple[float, str] | None:
        """How many times more the second cell costs, and a remark where the machine was busy.

        By wall-clock when both cells had the machine to themselves, else by processor seconds.
        """
        rows = self.codec(*ours), self.codec(*theirs)
        if any(row is None or "error" in row for row in rows):
            return None
        a, b = (row for row in rows if row is not None)
        quiet = max(a.get("others", 0.0), b.get("others", 0.0)) < BUSY
        if quiet or not (a.get("cpu") and b.get("cpu")):
            return b["rtf"] / a["rtf"], ""
        return b["cpu"] / a["cpu"], " of processor time, machine busy"

    def of_kind(self, kind: str) -> list[Cell]:
        """Rows of a kind that did not fail."""
        return [row for row in self.all if row["kind"] == kind and "error" not in row]

    def peak_gflops(self) -> float | None:
        """The machine's best fp32 rate, GFLOP/s; None when it was never quiet enough to see it."""
        rates = [
            row["gflops"]["convolution fp32"]
            for row in self.of_kind("peak")
            if row.get("others", 0.0) < BUSY
        ]
        return max(rates) if rates else None

    def share_of_peak(self, system: str, side: str, seconds: float) -> float | None:
        """FLOPs done per second over the machine's best, 0 to 1."""
        facts = next((row for row in self.of_kind("facts") if row["system"] == system), None)
        row, peak = self.codec(system, side, seconds), self.peak_gflops()
        if facts is None or peak is None or row is None or row.get("others", 0.0) >= BUSY:
            return None
        rtf = row.get("rtf")
        if rtf is None:
            return None
        sides = ("encode", "decode") if side == "both" else (side,)
        return sum(facts[f"flops_{one}"] for one in sides) / 1e9 / rtf / peak


def _faster(rows: Rows, ours: str, peer: str, times: float, seconds: float) -> Iterator[Check]:
    for side in ("encode", "decode"):
        text = f"{ours} at least {times:g}x faster than {peer}, {side}, {seconds:g} s"
        found = rows.ratio((ours, side, seconds, 1), (peer, side, seconds, 1))
        if found is None:
            yield Check(text, "not measured", None)
        else:
            yield Check(text, f"{found[0]:.2f}x{found[1]}", found[0] >= times)


def _everywhere(rows: Rows, ours: str, peer: str, least: float) -> Check:
    text = f"{ours} faster than {peer} everywhere"
    text += f" from {least:g} s on" if least > 1 else ""
    ratios: dict[tuple[str, float, int], float] = {}
    for row in rows.of_kind("codec"):
        key = (row["side"], row["seconds"], row["batch"])
        plain = row["dtype"] == "float32" and not row["compile"]
        if row["system"] == ours and plain and row["seconds"] >= least:
            found = rows.ratio((ours, *key), (peer, *key))
            if found is not None:
                ratios[key] = found[0]
    if not ratios:
        return Check(text, "not measured", None)
    side, seconds, batch = worst = min(ratios, key=lambda key: ratios[key])
    at = f"{side}, {seconds:g} s x {batch}"
    return Check(text, f"least {ratios[worst]:.2f}x ({at})", ratios[worst] > 1.0)


def _flat_cost(rows: Rows, ours: str) -> Iterator[Check]:
    for side in ("encode", "decode"):
        text = f"{ours}, {side}: a second of 1 h costs at most 1.1x that of 10 s"
        found = rows.ratio((ours, side, 10.0, 1), (ours, side, 3600.0, 1))
        if found is None:
            yield Check(text, "not measured", None)
        else:
            yield Check(text, f"{found[0]:.2f}x{found[1]}", found[0] <= 1.1)


def _small(rows: Rows, ours: str) -> Iterator[Check]:
    for seconds, name in ((300.0, "300 s"), (3600.0, "1 h")):
        for side in ("encode", "decode"):
            text = f"{ours}, {side}, {name}: peak memory under 1200 MB"
            row = rows.codec(ours, side, seconds)
            if row is None or "error" in row:
                yield Check(text, "not measured", None)
            else:
                yield Check(text, f"{row['mb_peak']} MB", row["mb_peak"] < 1200)


def _streams(rows: Rows, ours: str) -> Iterator[Check]:
    for side in ("encode", "decode"):
        text = f"{ours}: one 80 ms step of a stream in under 20 ms, {side}"
        found = [r for r in rows.of_kind("stream") if r["system"] == ours and r["side"] == side]
        if not found:
            yield Check(text, "not measured", None)
        for row in found:
            value = f"{row['ms_median']:.1f} ms (95 %: {row['ms_95']:.1f})"
            yield Check(text, value, row["ms_median"] < 20.0)


def _shares(rows: Rows, ours: str) -> Iterator[Check]:
    for side in ("encode", "decode"):
        text = f"{ours}, {side}, 10 s: 40 % of the machine's peak"
        share = rows.share_of_peak(ours, side, 10.0)
        if share is None:
            yield Check(text, "not measured, or machine busy", None)
        else:
            yield Check(text, f"{100 * share:.0f} %", share >= 0.4)


def check_targets(rows: Sequence[Cell]) -> list[Check]:
    """Every promise with what this run says about it."""
    table = Rows(rows)
    checks: list[Check] = []
    for peer, at_10, at_300 in (("encodec", 2.0, 4.0), ("mimi", 3.5, 5.0)):
        checks += _faster(table, "mini", peer, at_10, 10.0)
        checks += _faster(table, "mini", peer, at_300, 300.0)
    checks += [_everywhere(table, "base", "mimi", 0.0), _everywhere(table, "base", "encodec", 60.0)]
    for ours in ("mini", "base"):
        checks += _flat_cost(table, ours)
        checks += _small(table, ours)
        checks += _shares(table, ours)
    checks += _streams(table, "base")
    return checks
