"""What almtok costs on this processor and on a plainer one, stage by stage, in one run.

    python -m benchmarks.processors --before ../almtok-of-before --out table.md

The plainer processor is this one with fewer instructions, by environment variables of PyTorch,
oneDNN and MKL. Each training of the demo is probed for some seconds (`almtok run mini --plan`) and
scaled to all its steps. Each command is run several times after a warm-up.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from almtok.core.options import Command

from ..harness import ROOT, markdown_table

PROCESSORS = {
    "as it is": {},
    "as AVX2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
}
TRAININGS = ("stage1", "stage2", "lm", "adapter")
TEXT = "Good morning."


def run(checkout: Path, processor: str, *argv: str) -> tuple[str, float, float]:
    """Run `almtok ARGV` of a working copy, whatever copy is installed.

    Args:
        checkout: folder with a link `almtok` to the working copy.
        processor: name in `PROCESSORS`.
        argv: arguments of almtok.

    Returns:
        Its output, its seconds, and its processor seconds.
    """
    paths = {"PYTHONPATH": str(checkout), "OMP_WAIT_POLICY": "passive"}
    environment = {**os.environ, **PROCESSORS[processor], **paths}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "almtok", *argv],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{checkout.name}, {processor}: almtok {' '.join(argv)}: {done.stderr}")
    return done.stdout, seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(
    checkout: Path, processor: str, probe: float, repeats: int, trainings: Sequence[str] = TRAININGS
) -> Iterator[tuple[str, str]]:
    """Yield the name and the cost of the trainings of the demo, then of the commands."""
    with tempfile.TemporaryDirectory() as folder:
        for stage in trainings:
            only = ("--from", stage, "--to", stage, "--probe-seconds", f"{probe:g}")
            printed, *_ = run(checkout, processor, "run", "mini", "--plan", *only, "--out", folder)
            found = re.search(rf"^{stage} .*? M +(\d+) +([\d.]+) ", printed, re.MULTILINE)
            if found is None:
                raise RuntimeError(f"{checkout.name}, {processor}: no cost of {stage}: {printed}")
            yield stage, f"{int(found[1]) * float(found[2]):.0f}"
        wav = str(Path(folder, "said.wav"))
        speak, encode = ("tts", TEXT, "--out", wav), ("encode", wav, "--out", folder)
        for argv in (speak, ("asr", wav), encode):
            times = [run(checkout, processor, *argv)[1:] for _ in range(1 + repeats)][1:]
            seconds, used = sorted(times)[len(times) // 2]
            yield argv[0], f"{seconds:.1f} ({used:.1f} of a core)"


def main() -> None:
    """Run the benchmark."""
    parser = Command(prog="python -m benchmarks.processors", description=__doc__)
    add = parser.add_argument
    add("--before", type=Path, metavar="DIR", help="an older checkout to compare")
    add("--out", type=Path, metavar="FILE", help="write the table there, too")
    add("--probe-seconds", default=15.0, help="of a training")
    add("--repeats", default=3, help="of commands")
    add("--trainings", nargs="*", default=TRAININGS, choices=TRAININGS, help="stages to probe")
    args = parser.parse_args()
    costs: dict[str, dict[str, str]] = {}
    columns = []
    with tempfile.TemporaryDirectory() as links:
        for name, place in (("before", args.before), ("now", ROOT)):
            if place is not None:
                Path(links, name).mkdir()
                Path(links, name, "almtok").symlink_to(place.resolve(), target_is_directory=True)
        for processor in PROCESSORS:
            for checkout in sorted(Path(links).iterdir()):
                columns.append(f"{processor}, {checkout.name}")
                options = (args.probe_seconds, args.repeats, args.trainings)
                for what, cost in measure(checkout, processor, *options):
                    print(f"{columns[-1]}: {what} {cost} s", flush=True)
                    costs.setdefault(what, {})[columns[-1]] = cost
    rows = [[what, *(cells.get(column, "") for column in columns)] for what, cells in costs.items()]
    text = markdown_table(["seconds", *columns], rows) + "\n"
    print(text)
    if args.out is not None:
        args.out.write_text(text)


if __name__ == "__main__":
    main()
