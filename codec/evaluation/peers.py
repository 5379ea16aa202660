"""Other codecs under evaluation: neural codecs of transformers, Codec2 and Opus.

A codec is named ``KIND``, ``KIND=CHECKPOINT`` or either with ``@KBPS``: ``encodec@1.5``, ``mimi``,
``dac=/my/folder@3``, ``codec2-700C``, ``opus-6k``, ``almtok=runs/codec``. Codec2 and Opus run as
programs (Debian, Ubuntu: ``apt-get install codec2 opus-tools``).
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import torch

from ...core.choices import AUTO
from ...core.loading import refuse_adapter
from ...core.progress import no_inner_bars
from ...core.runtime import find_device
from .codecs import (
    CodecResult,
    CodecUnavailable,
    EvaluatedCodec,
    Waveform,
    fit_length,
    load_almtok_codec,
    timed,
)

# Short name -> checkpoint on the Hugging Face hub.
HUB_CODECS = {
    "encodec": "facebook/encodec_24khz",
    "dac": "descript/dac_24khz",
    "dac16": "descript/dac_16khz",
    "dac44": "descript/dac_44khz",
    "mimi": "kyutai/mimi",
    "xcodec": "hf-audio/xcodec-hubert-librispeech",
}
# Codecs whose convolutions do not pad fail for shorter clips.
_SHORTEST_FRAMES = 16

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


class TransformersCodec(EvaluatedCodec):
    """A codec of the transformers library: EnCodec, DAC, Mimi or X-Codec.

    Args:
        checkpoint: folder or hub id.
        kbps: bit rate, of a whole number of codebooks (EnCodec, X-Codec: one of the bandwidths of
            the checkpoint). By default all codebooks are used.
        name: in tables; by default the model type and the rate.
        device: to run on.
    """

    MODEL_TYPES = ("encodec", "dac", "mimi", "xcodec")

    def __init__(
        self,
        checkpoint: str,
        *,
        kbps: float | None = None,
        name: str | None = None,
        device: str | torch.device = AUTO,
    ) -> None:
        from transformers import AutoConfig, AutoModel

        try:
            config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=False)
            self.kind = config.model_type
            if self.kind not in self.MODEL_TYPES:
                raise ValueError(
                    f"model_type of {checkpoint} must be one of {', '.join(self.MODEL_TYPES)},"
                    f" got {self.kind!r}"
                )
            refuse_adapter(checkpoint, {})
            with no_inner_bars():
                self.model: Any = AutoModel.from_pretrained(checkpoint, trust_remote_code=False)
        except OSError as error:
            raise CodecUnavailable(
                f"{checkpoint} must be a folder or a hub id that can be loaded: "
                f"{str(error).splitlines()[0]}"
            ) from error
        self.device = find_device(device)
        self.model.eval().to(self.device)
        self.checkpoint = checkpoint
        self.sample_rate = int(getattr(config, "sampling_rate", None) or config.sample_rate)
        self.hop = self._hop(config)
        self.frame_rate = self.sample_rate / self.hop
        self.codebook_size = int(config.codebook_size)
        self.codebooks = self._codebooks(config, kbps)
        self.kbps = self.codebooks * self._codebook_kbps
        self.name = name or f"{self.kind}@{self.kbps:.3g}"

    @property
    def _codebook_kbps(self) -> float:
        return float(self.frame_rate or 0) * math.log2(self.codebook_size or 1) / 1000.0

    def _hop(self, config: Any) -> int:
        if self.kind == "mimi":
            return round(self.sample_rate / config.frame_rate)
        if self.kind == "encodec":
            return math.prod(config.upsampling_ratios)
        return int(config.hop_length)

    def _codebooks(self, config: Any, kbps: float | None) -> int:
        codebook_kbps = self._codebook_kbps
        if self.kind in ("encodec", "xcodec"):
            rates = [float(rate) for rate in config.target_bandwidths]
            # X-Codec's first rates are rounded (0.5 kbit/s is one codebook of 50 Hz x 10 bits).
            options = {max(1, math.floor(rate / codebook_kbps + 1e-6)): rate for rate in rates}
        else:
            maximum = config.n_codebooks if self.kind == "dac" else config.num_quantizers
            options = {count: count * codebook_kbps for count in range(1, maximum + 1)}
        best = max(options) if kbps is None else min(options, key=lambda n: abs(options[n] - kbps))
        if kbps is not None and abs(options[best] - kbps) > max(0.02 * kbps, 0.01):
            listed = ", ".join(f"{rate:.4g}" for rate in sorted(options.values()))
            raise ValueError(f"kbps of {self.checkpoint} must be one of {listed}, got {kbps:g}")
        self.bandwidth = options[best]
        return best

    def _encode(self, x: torch.Tensor) -> tuple[torch.Tensor, Any]:
        if self.kind == "encodec":
            out = self.model.encode(x, bandwidth=self.bandwidth)
            return out.audio_codes, out.audio_scales
        if self.kind == "xcodec":
            return self.model.encode(x, bandwidth=self.bandwidth).audio_codes, None
        if self.kind == "mimi":
            return self.model.encode(x, num_quantizers=self.codebooks).audio_codes, None
        return self.model.encode(x, n_quantizers=self.codebooks).audio_codes, None

    def _decode(self, codes: torch.Tensor, scales: Any) -> torch.Tensor:
        if self.kind == "encodec":
            return self.model.decode(codes, scales).audio_values
        if self.kind == "dac":
            return self.model.decode(audio_codes=codes).audio_values
        return self.model.decode(codes).audio_values

    @torch.inference_mode()
    def code(self, wav: Waveform) -> CodecResult:
        """Encode and decode one clip [S] at the codec's rate, padded to whole frames."""
        frames = max(math.ceil(wav.size / self.hop), _SHORTEST_FRAMES)
        padded = fit_length(wav, frames * self.hop)
        x = torch.from_numpy(padded).to(self.device)[None, None]
        (codes, scales), encode = timed(lambda: self._encode(x), self.device)
        decoded, decode = timed(lambda: self._decode(codes, scales), self.device)
        # EnCodec returns [chunks, B, K, Q], the others [B, K, Q], here with one chunk and one clip.
        array: npt.NDArray[np.int64] = (
            codes.reshape(-1, *codes.shape[-2:])[0].to(torch.int64).cpu().numpy()
        )
        clip_codes = array[:, : math.ceil(wav.size / self.hop)]
        return CodecResult(
            wav=fit_length(decoded.reshape(-1).float().cpu().numpy(), wav.size),
            codes=clip_codes,
            bits=math.ceil(clip_codes.size * math.log2(self.codebook_size or 1)),
            encode_seconds=encode,
            decode_seconds=decode,
        )

    def release(self) -> None:
        """Free the model."""
        del self.model

    def settings(self) -> dict[str, str | int | float | None]:
        """Settings with checkpoint and number of codebooks."""
        return super().settings() | {"checkpoint": self.checkpoint, "codebooks": self.codebooks}


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
    if peer.kind.startswith(("codec2-", "opus-")) and peer.checkpoint is None:
        return load_classic_codec(text)
    raise ValueError(
        f"codec must be almtok=..., {', '.join(HUB_CODECS)}, hf=..., codec2-MODE or opus-KBPSk,"
        f" got {text!r}"
    )
