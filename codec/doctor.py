"""``almtok doctor``: check the machine and the installation.

Each check imports what it needs, and an exception in a check is a finding of it: the command also
works in a broken installation.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..core.choices import add_json
from ..core.cores import available_cores
from ..core.printing import print_result

if TYPE_CHECKING:
    import torch

EXTRAS = {
    "train": "TensorBoard: curves and samples of a training",
    "eval": "PESQ, STOI, WER, an independent recognizer, plots",
    "judges": "speaker similarity, predicted opinion scores",
    "tts": "a speech synthesiser with voices: the embedded corpus, readings",
    "torchcodec": "m4a and video files (needs the system's FFmpeg)",
}
_MEBIBYTE = 2**20


@dataclass(frozen=True)
class Finding:
    """One line of the report: the subject, the finding, and advice."""

    part: str
    name: str
    found: str
    state: Literal["ok", "note", "bad"] = "ok"
    advice: str = ""

    def __str__(self) -> str:
        mark = {"ok": "   ok ", "note": " note ", "bad": "  BAD "}[self.state]
        advice = f"\n{'':36}-> {self.advice}" if self.advice else ""
        return f"{mark} {self.name:<28} {self.found}{advice}"


def examine(folder: Path) -> Iterator[Finding]:
    """Run every check; the disk is measured in `folder`."""
    checks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("packages", _packages),
        ("audio", _audio),
        ("devices", _devices),
        ("auto", _auto),
        ("quantizer", _quantizer),
        ("checkpoint", _checkpoint),
        ("disk", lambda: _disk(folder)),
        ("extras", _extras),
    )
    for part, check in checks:
        try:
            yield from check()
        except Exception as error:
            message = " ".join(str(error).split())[:200]
            yield Finding(part, part, f"{type(error).__name__}: {message}", "bad")


def _packages() -> Iterator[Finding]:
    folder = Path(__file__).parents[1]
    yield Finding(
        "packages", "almtok", f"{importlib.metadata.version('almtok')} in {folder}, Python "
        f"{platform.python_version()}, {platform.system()} {platform.machine()}"
    )  # fmt: skip
    for requirement, extra in _requirements():
        if extra is None:
            yield _installed("packages", requirement, missing="bad")


def _requirements() -> Iterator[tuple[Any, str | None]]:
    """Requirements of almtok with their extras."""
    from packaging.requirements import Requirement

    for line in importlib.metadata.requires("almtok") or ():
        requirement = Requirement(line)
        marker = str(requirement.marker or "")
        yield requirement, marker.rpartition("extra == ")[2].strip("\"'") or None


def _installed(part: str, requirement: Any, missing: Literal["note", "bad"]) -> Finding:
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(part, requirement.name, "not installed", missing)
    if requirement.specifier.contains(version, prereleases=True):
        return Finding(part, requirement.name, version)
    advice = f"pip install '{requirement.name}{requirement.specifier}'"
    return Finding(part, requirement.name, f"{version}; tested are {requirement.specifier}", "bad",
                   advice)  # fmt: skip


def _audio() -> Iterator[Finding]:
    """Write and read one second in every format."""
    import numpy as np
    import soundfile

    from ..core.audio import read_audio, write_audio

    yield Finding("audio", "libsndfile", soundfile.__libsndfile_version__)
    wav = (0.1 * np.sin(2 * np.pi * 220 * np.arange(24_000) / 24_000)).astype(np.float32)
    working, failing = [], []
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("wav", "flac", "ogg", "opus", "mp3"):
            try:
                write_audio(Path(folder, f"a.{suffix}"), wav, 24_000)
                read_audio(Path(folder, f"a.{suffix}"), 16_000)
                working.append(suffix)
            except Exception as error:
                failing.append(f"{suffix} ({type(error).__name__})")
    state: Literal["ok", "bad"] = "ok" if working else "bad"
    yield Finding("audio", "written, read, resampled", " ".join(working), state)
    if failing:
        yield Finding("audio", "failing", ", ".join(failing), "note", "pip install -U soundfile")


def _devices() -> Iterator[Finding]:
    import torch

    from ..core.runtime import native_bfloat16

    features = [torch.backends.cpu.get_cpu_capability()]
    features += ["bfloat16"] if native_bfloat16("cpu") else []
    features += ["VNNI (int8)"] if torch.cpu._is_vnni_supported() else []
    yield Finding(
        "devices", "cpu", f"{available_cores()} cores, {torch.get_num_threads()} threads of torch, "
        f"{_memory()}; " + ", ".join(features)
    )  # fmt: skip
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > 0.5:
        advice = "times below are not reliable; OMP_WAIT_POLICY=passive reduces contention"
        yield Finding("devices", "other load", f"{load:.1f} cores are busy", "note", advice)
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        size = properties.total_memory / 2**30
        yield Finding("devices", f"cuda:{number}", f"{properties.name}, {size:.0f} GiB")
    if torch.backends.mps.is_available():
        yield Finding("devices", "mps", "available")
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        cause = "its driver is missing or too old" if torch.version.cuda else "torch is a CPU build"
        advice = f"there is a GPU, but {cause}" if Path("/dev/nvidia0").exists() else ""
        yield Finding("devices", "accelerator", "none: everything runs on the CPU", "note", advice)


def product_speed(device: torch.device, dtype: torch.dtype, seconds: float = 0.2) -> float:
    """Measure products of 512 x 512 matrices.

    Args:
        device: Of the matrices.
        dtype: Of the matrices.
        seconds: Duration of the measurement; at least two products are computed.

    Returns:
        Speed of the fastest product in GFLOP/s.
    """
    import torch

    size = 512  # enough for two cores, and not too slow if emulated
    a = torch.full((size, size), 0.5, device=device, dtype=dtype)
    best, start = float("inf"), time.perf_counter()
    count = 0
    while count < 2 or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        a @ a
        if device.type != "cpu":
            torch.accelerator.synchronize()
        best = min(best, time.perf_counter() - before)
        count += 1
    return 2 * size**3 / best / 1e9


def _auto() -> Iterator[Finding]:
    """Device and precision that `auto` chooses, and the speed of the precisions."""
    from ..core.runtime import DTYPES, SMALL_MODEL, choose_precision, find_device

    device = find_device()
    chosen = choose_precision("auto", device)
    yield Finding("auto", "--device", device.type)
    speeds = {
        name: product_speed(device, dtype) for name, dtype in DTYPES.items() if name != "fp16"
    }
    measured = ", ".join(f"{name} {speed:.0f}" for name, speed in speeds.items())
    yield Finding("auto", "--precision (training)", f"{chosen}; measured, GFLOP/s: {measured}")
    ratio = speeds["fp32"] / speeds["bf16"]
    if ratio > 1.5:
        found = f"takes {ratio:.0f} times as long as fp32 here"
        yield Finding("auto", "bf16", found, "note", "leave --precision and --dtype at auto")
    elif chosen == "fp32" and ratio < 0.7 and device.type == "cpu":
        found = f"takes {ratio:.1f} times as long as fp32, although it was taken for emulated"
        yield Finding("auto", "bf16", found, "note", "try --precision bf16")
    weights = "float32"
    if device.type != "cpu":
        weights = str(DTYPES[chosen]).removeprefix("torch.")
    elif chosen == "bf16":
        weights = f"float32, bfloat16 from {SMALL_MODEL // 10**6} M parameters"
    yield Finding("auto", "--dtype (inference)", weights)
    if device.type == "cpu":
        yield from _few_bits()


def _few_bits() -> Iterator[Finding]:
    """Support of int8 weights on this processor."""
    import torch

    if "fbgemm" not in torch.backends.quantized.supported_engines:
        yield Finding("auto", "--dtype int8", "not supported on this processor", "note")
    elif not torch.cpu._is_vnni_supported():
        yield Finding("auto", "--dtype int8", "supported, without VNNI: rows are rounded to 7 bits")


def _memory() -> str:
    names = ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES", "SC_PAGE_SIZE")
    if not all(name in os.sysconf_names for name in names):
        return "memory unknown"
    total, free, page = (os.sysconf(name) for name in names)
    return f"{total * page / 2**30:.0f} GiB of memory ({free * page / 2**30:.0f} free)"


def _quantizer() -> Iterator[Finding]:
    """Compare the codes of each device with a search in float64."""
    import torch

    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    devices += ["mps"] if torch.backends.mps.is_available() else []
    model, queries, expected = _reference_codes()
    for device in devices:
        codes = model.to(device).quantize(queries.to(device)).cpu()
        share = float((codes == expected).float().mean())
        good = share > 0.999
        yield Finding(
            "quantizer", device, f"{100 * share:.2f} % of {expected.numel()} codes as in float64",
            "ok" if good else "bad", "" if good else "do not encode on this device",
        )  # fmt: skip


def _reference_codes() -> tuple[Any, Any, Any]:
    """A small quantizer, queries `[1, Q, D]`, and their codes `[1, K, Q]` by exhaustive search."""
    import torch

    from .config import ALMTokenizerConfig
    from .quantizer import ResidualQuantizer

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = ALMTokenizerConfig.preset("tiny", prior_codebooks="none")
        model = ResidualQuantizer(config).eval()
        model.initialize(torch.randn(4 * config.codebook_size, config.hidden_size))
        queries = torch.randn(1, 200, config.hidden_size)
    residual, codes = queries[0].double(), []
    all_codes = torch.arange(config.codebook_size)
    for layer in model.layers:
        entries = layer.decode(all_codes).detach().double()
        code = torch.cdist(residual, entries).argmin(dim=1)
        residual = residual - entries[code]
        codes.append(code)
    return model, queries, torch.stack(codes)[None]


def _checkpoint() -> Iterator[Finding]:
    """Load the included codec and time encoding and decoding."""
    import torch

    from ..core.loading import no_inner_bars
    from .checkpoints import shipped
    from .model import ALMTokenizer

    with no_inner_bars():
        codec = ALMTokenizer.from_pretrained(shipped() / "codec").eval()
    wav = 0.05 * torch.randn(10 * codec.sample_rate)
    codec.detokenize(codec.tokenize(wav))  # weights are packed once
    start = time.perf_counter()
    tokens = codec.tokenize(wav)
    middle = time.perf_counter()
    codec.detokenize(tokens)
    times = (middle - start) / 10, (time.perf_counter() - middle) / 10
    yield Finding(
        "checkpoint", "mini/codec", f"{codec.fingerprint}; a second of audio is encoded in "
        f"{1000 * times[0]:.0f} ms and decoded in {1000 * times[1]:.0f} ms"
    )  # fmt: skip


def _disk(folder: Path) -> Iterator[Finding]:
    """Write, sync and remove 64 MiB."""
    import shutil

    free = shutil.disk_usage(folder).free / 2**30
    block = os.urandom(_MEBIBYTE)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        start = time.perf_counter()
        for _ in range(64):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
        speed = 64 / (time.perf_counter() - start)
    low = free < 5
    yield Finding(
        "disk", str(folder), f"{free:.0f} GiB free, written at {speed:.0f} MiB/s",
        "note" if low else "ok", "a training keeps several checkpoints" if low else "",
    )  # fmt: skip


def _extras() -> Iterator[Finding]:
    missing: dict[str, list[str]] = {}
    for requirement, extra in _requirements():
        if extra in EXTRAS:
            names = missing.setdefault(extra, [])
            if _installed("extras", requirement, missing="note").state != "ok":
                names.append(requirement.name)
    for extra, names in missing.items():
        advice = f"pip install 'almtok[{extra}]'" if names else ""
        found = f"without {', '.join(names)}: no {EXTRAS[extra]}" if names else EXTRAS[extra]
        yield Finding("extras", extra, found, "note" if names else "ok", advice)


def register(commands: Any) -> None:
    """Add ``doctor`` to the sub-parsers of ``almtok``."""
    parser = commands.add_parser(
        "doctor",
        help="check the machine and the installation",
        description="Check packages, audio formats, devices, the quantizer on each, disk, extras.\n"
        "The exit status is 1 if a check fails.",
        examples="almtok doctor --disk /data",
    )
    add = parser.add_argument
    add("--disk", default=Path("."), metavar="DIR", help="folder whose disk is measured")
    add_json(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run ``almtok doctor``."""
    part, found = "", []
    for finding in examine(options.disk):
        if not options.json:  # as they are found: some take seconds
            print(finding if finding.part == part else f"\n{finding.part}\n{finding}", flush=True)
        part = finding.part
        found.append(finding)
    bad = sum(finding.state == "bad" for finding in found)
    print_result(options, f"\n{bad} bad" if bad else "\nnothing is bad", found)
    return 1 if bad else 0
