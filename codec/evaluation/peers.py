"""Other codecs under evaluation: neural codecs of transformers, Codec2 and Opus.

A codec is named ``KIND``, ``KIND=CHECKPOINT`` or either with ``@KBPS``: ``encodec@1.5``, ``mimi``,
``dac=/my/folder@3``, ``codec2-700C``, ``opus-6k``, ``almtok=runs/codec``. Codec2 and Opus run as
programs (Debian, Ubuntu: ``apt-get install codec2 opus-tools``).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
import transformers

from ...core.choices import AUTO
from .codecs import (
    CodecResult,
    CodecUnavailable,
    EvaluatedCodec,
    Waveform,
    fit_length,
    load_almtok_codec,
)
from .transformers_codec import TransformersCodec

# Short name -> checkpoint on the Hugging Face hub.
HUB_CODECS = {
    "encodec": "facebook/encodec_24khz",
    "dac": "descript/dac_24khz",
    "dac16": "descript/dac_16khz",
    "dac44": "descript/dac_44khz",
    "mimi": "kyutai/mimi",
    "xcodec": "hf-audio/xcodec-hubert-librispeech",
    "xcodec2": "HKUSTAudio/xcodec2-hf",
    "higgs": "bosonai/higgs-audio-v2-tokenizer",
    "wavtokenizer": "swiss-ai/wavtokenizer-large-unify-40token",
    "neucodec": "neuphonic/neucodec",
}
# Codecs that no installed library implements. almtok runs no code of checkpoints.
NOT_IMPLEMENTED = {
    "stable-codec": "StableCodec",
    "moss": "MOSS-Audio-Tokenizer",
}

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
# Delay of the output of c2dec. These delays maximise the mean STOI over 32 clips (1 ms to either
# side costs under 0.005), so the alignment favours Codec2.
CODEC2_DELAY_MS = {"450": 30, "700C": 30}
CODEC2_DELAY_MS_DEFAULT = 20
# c2enc drops the last incomplete frame (up to 40 ms), and the delay of c2dec as much again.
CODEC2_TAIL_MS = 80
_CODEC2_RATE = 8_000
_OPUS_RATE = 16_000


@dataclass(frozen=True)
class PeerName:
    """A parsed codec name."""

    kind: str
    checkpoint: str | None
    kbps: float | None


def parse_peer(text: str) -> PeerName:
    """Split ``KIND[=CHECKPOINT][@KBPS]``."""
    head, at, rate = text.partition("@")
    kind, equals, checkpoint = head.partition("=")
    if not kind or (equals and not checkpoint) or (at and not rate):
        raise ValueError(f"codec must be KIND[=CHECKPOINT][@KBPS], got {text!r}")
    try:
        kbps = float(rate) if at else None
    except ValueError:
        raise ValueError(f"@KBPS must be a number, as in encodec@1.5, got {text!r}") from None
    return PeerName(kind, checkpoint or None, kbps)


def _require_programs(*programs: str, package: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise CodecUnavailable(
            f"{' and '.join(missing)} not found: install the package {package}"
            f" (Debian, Ubuntu: apt-get install {package}; macOS: brew install {package})"
        )


def _run(*command: str | Path) -> float:
    """Run a program and return its wall-clock seconds."""
    start = time.perf_counter()
    result = subprocess.run([str(part) for part in command], capture_output=True, check=False)
    seconds = time.perf_counter() - start
    if result.returncode != 0:
        message = result.stderr.decode(errors="replace").strip().splitlines()
        raise RuntimeError(
            f"{command[0]} failed with exit status {result.returncode}:"
            f" {message[-1] if message else 'no message'}"
        )
    return seconds


class Codec2(EvaluatedCodec):
    """Codec2 of D. Rowe through ``c2enc`` and ``c2dec``, 8 kHz, delay compensated."""

    external = True

    def __init__(self, mode: str) -> None:
        if mode not in CODEC2_MODES:
            raise ValueError(f"Codec2 mode must be one of {', '.join(CODEC2_MODES)}, got {mode!r}")
        _require_programs("c2enc", "c2dec", package="codec2")
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
    """Opus through ``opusenc`` and ``opusdec``, constant bit rate, 16 kHz, delay compensated."""

    external = True

    def __init__(self, kbps: float) -> None:
        if not 6.0 <= kbps <= 256.0:
            raise ValueError(f"kbps of Opus must be 6 to 256, got {kbps}")
        _require_programs("opusenc", "opusdec", package="opus-tools")
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
    """Create the codec of a name such as ``codec2-450``, ``codec2-700C`` or ``opus-6k``.

    Raises:
        ValueError: The name or mode is unknown.
        CodecUnavailable: A program is not installed.
    """
    codec2 = re.fullmatch(r"codec2-(\d+[a-zA-Z]?)", name)
    if codec2:
        return Codec2(codec2.group(1).upper())
    opus = re.fullmatch(r"opus-(\d+(?:\.\d+)?)k?", name)
    if opus:
        return Opus(float(opus.group(1)))
    raise ValueError(
        f"codec must be codec2-MODE (one of {', '.join(CODEC2_MODES)}) or opus-KBPSk, got {name!r}"
    )


def load_codec(text: str, *, device: str | torch.device = AUTO) -> EvaluatedCodec:
    """Load a codec by name.

    Args:
        text: name, as described at the top of this file.
        device: of neural codecs.

    Raises:
        ValueError: The name is unknown.
        CodecUnavailable: A program or weights are missing.
    """
    peer = parse_peer(text)
    if peer.kind == "almtok":
        if peer.checkpoint is None or peer.kbps is not None:
            raise ValueError(f"codec must be almtok=CHECKPOINT, got {text!r}")
        return load_almtok_codec(peer.checkpoint, device=device)
    if peer.kind in HUB_CODECS or peer.kind == "hf":
        checkpoint = peer.checkpoint or HUB_CODECS.get(peer.kind)
        if checkpoint is None:
            raise ValueError(f"codec must be hf=FOLDER_OR_HUB_ID, got {text!r}")
        return TransformersCodec(checkpoint, kbps=peer.kbps, device=device)
    if peer.kind in NOT_IMPLEMENTED:
        raise CodecUnavailable(
            f"transformers {transformers.__version__} has no model type for"
            f" {NOT_IMPLEMENTED[peer.kind]}, and code of checkpoints is not run"
        )
    if peer.kind.startswith(("codec2-", "opus-")) and peer.checkpoint is None:
        return load_classic_codec(text)
    raise ValueError(
        f"codec must be almtok=..., {', '.join(HUB_CODECS)}, hf=..., codec2-MODE or opus-KBPSk,"
        f" got {text!r}"
    )
