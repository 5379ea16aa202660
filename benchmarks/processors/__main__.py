"""What almtok costs on this processor and on a plainer one, stage by stage, in one run.

    python -m benchmarks.processors --before ../almtok-of-before --out table.md

The plainer processor is this one with fewer instructions, by environment variables of PyTorch,
oneDNN and MKL. Each training of the demo is probed for some seconds (`almtok run mini --plan`) and
scaled to all its steps. Each command is run several times after a warm-up.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..harness import markdown_table

PLAINER = {
    "as it is": {},
    "as AVX2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
}
TRAININGS = ("stage1", "stage2", "lm", "adapter")
TEXT = "Good morning."
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Cost:
    """Of one stage or command, of one checkout on one processor."""

    checkout: str
    processor: str
    what: str
    seconds: float
    of_processor: float | None = None  # processor seconds, of commands


class Checkout:
    """A working copy, run by this interpreter whatever copy is installed."""

    def __init__(self, name: str, place: Path, links: Path) -> None:
        self.name = name
        folder = links / name
        folder.mkdir()
        (folder / "almtok").symlink_to(place.resolve(), target_is_directory=True)
        self._path = str(folder)

    def run(self, processor: str, *argv: str) -> tuple[str, float, float]:
        """Output of `almtok ARGV`, its seconds and its processor seconds."""
        environment = {
            **os.environ,
            **PLAINER[processor],
            "PYTHONPATH": self._path,
            "OMP_WAIT_POLICY": "passive",
        }
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "almtok", *argv],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise RuntimeError(f"{self.name}, {processor}: almtok {' '.join(argv)}: {done.stderr}")
        used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return done.stdout, seconds, used


def measure(checkout: Checkout, processor: str, probe: float, repeats: int) -> Iterator[Cost]:
    """The trainings of the demo, then the commands."""
    with tempfile.TemporaryDirectory() as folder:
        for stage in TRAININGS:
            probe_options = (
                "--plan",
                "--from",
                stage,
                "--to",
                stage,
                "--probe-seconds",
                f"{probe:g}",
            )
            printed, _, _ = checkout.run(processor, "run", "mini", *probe_options, "--out", folder)
            found = re.search(rf"^{stage} .*? M +(\d+) +([\d.]+) ", printed, re.MULTILINE)
            if found is None:
                raise RuntimeError(f"{checkout.name}, {processor}: no cost of {stage}: {printed}")
            yield Cost(checkout.name, processor, stage, int(found[1]) * float(found[2]))
        wav = Path(folder, "said.wav")
        commands = {
            "tts": ("tts", TEXT, "--out", str(wav)),
            "asr": ("asr", str(wav)),
            "encode": ("encode", str(wav), "--out", folder),
        }
        for name, argv in commands.items():
            times = [checkout.run(processor, *argv)[1:] for _ in range(1 + repeats)][1:]
            seconds, used = sorted(times)[len(times) // 2]
            yield Cost(checkout.name, processor, name, seconds, used)


def table(costs: list[Cost]) -> str:
    """Markdown: a row for each stage or command, a column for each checkout and processor."""
    columns = list(dict.fromkeys((cost.processor, cost.checkout) for cost in costs))
    cells = {(cost.processor, cost.checkout, cost.what): _cell(cost) for cost in costs}
    rows = [
        [what, *(cells.get((*column, what), "") for column in columns)]
        for what in dict.fromkeys(cost.what for cost in costs)
    ]
    return markdown_table(["seconds", *(f"{a}, {b}" for a, b in columns)], rows) + "\n"


def _cell(cost: Cost) -> str:
    if cost.of_processor is None:
        return f"{cost.seconds:.0f}"
    return f"{cost.seconds:.1f} ({cost.of_processor:.1f} of a core)"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", type=Path, metavar="DIR", help="an older checkout to compare")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the table there, too")
    parser.add_argument("--probe-seconds", type=float, default=15.0, help="default %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="of commands; default %(default)s")
    args = parser.parse_args()
    costs: list[Cost] = []
    with tempfile.TemporaryDirectory() as links:
        checkouts = [Checkout("now", ROOT, Path(links))]
        if args.before is not None:
            checkouts.insert(0, Checkout("before", args.before, Path(links)))
        for processor in PLAINER:
            for checkout in checkouts:
                for cost in measure(checkout, processor, args.probe_seconds, args.repeats):
                    print(json.dumps(cost.__dict__), flush=True)
                    costs.append(cost)
    text = table(costs)
    print(text)
    if args.out is not None:
        args.out.write_text(text)


if __name__ == "__main__":
    main()
