"""Deployed speech coders through their command-line tools: Codec2 and Opus.

They are what a codec at such rates has to beat in practice, and they need no weights. Debian and
Ubuntu: ``apt-get install codec2 opus-tools``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

from .coder import CodecResult, CodecUnavailable, EvaluatedCodec, Waveform, fit_length

# kbit/s by mode name of c2enc.
CODEC2_MODES = {
    "450": 0.45,
    "700C": 0.7,
    "1200": 1.2,
    "1300": 1.3,
    "1600": 1.6,
    "2400": 2.4,
    "3200": 3.2,
}
# c2dec gives its output late. These are the delays at which the mean STOI over 32 clips is highest
# (a flat top: 1 ms to either side costs under 0.005), so the alignment favours Codec2.
CODEC2_DELAY_MS = {"450": 30, "700C": 30}
CODEC2_DELAY_MS_DEFAULT = 20
# c2enc drops the last incomplete frame (up to 40 ms) and the decoder's delay cuts as much again.
CODEC2_TAIL_MS = 80
_CODEC2_RATE = 8_000
_OPUS_RATE = 16_000


def _need(*programs: str, package: str) -> None:
    absent = [program for program in programs if shutil.which(program) is None]
    if absent:
        raise CodecUnavailable(
            f"{' and '.join(absent)} not found: install the package {package}"
            f" (Debian, Ubuntu: apt-get install {package}; macOS: brew install {package})"
        )


def _run(*command: str | Path) -> float:
    """Run a program and return its wall-clock seconds."""
    start = time.perf_counter()
    done = subprocess.run([str(part) for part in command], capture_output=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode != 0:
        message = done.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeError(
            f"{command[0]} ended with {done.returncode}: {message[-1] if message else 'no message'}"
        )
    return seconds


class Codec2(EvaluatedCodec):
    """Codec2 of D. Rowe through ``c2enc`` and ``c2dec``, 8 kHz, delay compensated."""

    external = True

    def __init__(self, mode: str) -> None:
        if mode not in CODEC2_MODES:
            raise ValueError(f"Codec2 mode must be one of {', '.join(CODEC2_MODES)}, got {mode!r}")
        _need("c2enc", "c2dec", package="codec2")
        self.mode = mode
        self.name = f"codec2-{mode}"
        self.sample_rate = _CODEC2_RATE
        self.kbps = CODEC2_MODES[mode]
        self.delay = CODEC2_DELAY_MS.get(mode, CODEC2_DELAY_MS_DEFAULT) * _CODEC2_RATE // 1000

    def code(self, wav: Waveform) -> CodecResult:
        """Encode and decode one clip [S] at 8 kHz; times include starting the two programs."""
        tail = np.zeros(CODEC2_TAIL_MS * _CODEC2_RATE // 1000, dtype=np.float32)
        padded = np.clip(np.concatenate([wav, tail]), -1.0, 1.0)
        with tempfile.TemporaryDirectory() as folder:
            raw, bits, out = (Path(folder) / name for name in ("in.raw", "bits", "out.raw"))
            (padded * 32767.0).astype("<i2").tofile(raw)
            encode = _run("c2enc", self.mode, raw, bits)
            decode = _run("c2dec", self.mode, bits, out)
            decoded = np.fromfile(out, "<i2").astype(np.float32) / 32768.0
        return CodecResult(
            wav=fit_length(decoded, wav.size, delay=self.delay),
            codes=None,
            bits=round(self.kbps * 1000 * wav.size / _CODEC2_RATE),
            encode_seconds=encode,
            decode_seconds=decode,
        )


class Opus(EvaluatedCodec):
    """Opus through ``opusenc`` and ``opusdec``, constant rate, 16 kHz; it removes its delay."""

    external = True

    def __init__(self, kbps: float) -> None:
        if not 6.0 <= kbps <= 256.0:
            raise ValueError(f"Opus mono takes 6 to 256 kbit/s, got {kbps}")
        _need("opusenc", "opusdec", package="opus-tools")
        self.name = f"opus-{kbps:g}k"
        self.sample_rate = _OPUS_RATE
        self.kbps = kbps

    def code(self, wav: Waveform) -> CodecResult:
        """Encode and decode one clip [S] at 16 kHz; times include starting the two programs."""
        with tempfile.TemporaryDirectory() as folder:
            source, bits, out = (Path(folder) / name for name in ("in.wav", "bits.opus", "out.wav"))
            soundfile.write(source, np.clip(wav, -1.0, 1.0), _OPUS_RATE, subtype="PCM_16")
            rate = ("--bitrate", f"{self.kbps:g}", "--hard-cbr")
            encode = _run("opusenc", "--quiet", *rate, source, bits)
            decode = _run("opusdec", "--quiet", "--rate", str(_OPUS_RATE), bits, out)
            decoded, _ = soundfile.read(out, dtype="float32", always_2d=True)
        return CodecResult(
            wav=fit_length(decoded[:, 0], wav.size),
            codes=None,
            bits=round(self.kbps * 1000 * wav.size / _OPUS_RATE),
            encode_seconds=encode,
            decode_seconds=decode,
        )


def load_classic_codec(name: str) -> EvaluatedCodec:
    """``codec2-450``, ``codec2-700C``, ``codec2-1300``, ``opus-6k`` and the like.

    Raises:
        ValueError: an unknown name or mode.
        CoderUnavailable: the program is not installed; says what to install.
    """
    codec2 = re.fullmatch(r"codec2-(\d+[a-zA-Z]?)", name)
    if codec2:
        return Codec2(codec2.group(1).upper())
    opus = re.fullmatch(r"opus-(\d+(?:\.\d+)?)k?", name)
    if opus:
        return Opus(float(opus.group(1)))
    raise ValueError(
        f"expected codec2-MODE (MODE one of {', '.join(CODEC2_MODES)}) or opus-KBPSk, got {name!r}"
    )
