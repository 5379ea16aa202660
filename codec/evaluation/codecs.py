"""The interface of codecs under evaluation, and ALMTokenizer behind it.

Letters: S samples, K codebooks, Q positions.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...core.choices import AUTO
from ...core.loading import no_inner_bars
from ...core.runtime import find_device
from ..config import PRESETS, ALMTokenizerConfig
from ..model import ALMTokenizer
from ..refine import CodeRefiner
from ..refine_config import RefineConfig

Waveform = npt.NDArray[np.float32]


class CodecUnavailable(OSError):
    """A codec cannot be used; the message names what is missing and how to install it."""


@dataclass(frozen=True)
class CodecResult:
    """A clip encoded and decoded by a codec."""

    wav: Waveform  # [S], aligned with the input and of the same length
    codes: npt.NDArray[np.int64] | None  # [K, Q]; None for codecs without codebooks
    bits: int  # of the encoded clip
    encode_seconds: float
    decode_seconds: float


class EvaluatedCodec(ABC):
    """A codec under evaluation.

    Attributes:
        name: in tables and file names.
        sample_rate: of its input and output, Hz.
        kbps: nominal bit rate, kbit/s.
        frame_rate: positions per second, None without codebooks.
        codebook_size: entries per codebook, None without codebooks.
        external: runs in another process, whose memory is not measured.
        compared: whether its output is scored against the recording.
    """

    name: str
    sample_rate: int
    kbps: float
    frame_rate: float | None = None
    codebook_size: int | None = None
    external: bool = False
    compared: bool = True

    @abstractmethod
    def code(self, wav: Waveform) -> CodecResult:
        """Encode and decode one clip [S] at ``sample_rate``."""

    def encode(self, wav: Waveform) -> npt.NDArray[np.int64]:
        """Codes [K, Q] of one clip [S] at ``sample_rate``.

        Raises:
            ValueError: The codec has no codebooks.
        """
        codes = self.code(wav).codes
        if codes is None:
            raise ValueError(f"{self.name} has no codebooks")
        return codes

    def release(self) -> None:  # noqa: B027  (optional)
        """Free memory; the codec is unusable afterwards."""

    def settings(self) -> dict[str, str | int | float | None]:
        """Settings that the results depend on; a resumed evaluation must have equal settings."""
        return {
            "name": self.name,
            "sample_rate": self.sample_rate,
            "kbps": round(self.kbps, 6),
            "frame_rate": self.frame_rate,
            "codebook_size": self.codebook_size,
        }


def fit_length(wav: npt.ArrayLike, length: int, *, delay: int = 0) -> Waveform:
    """Remove ``delay`` samples at the start, then cut or pad with zeros to ``length``."""
    samples = np.asarray(wav, dtype=np.float32)[delay : delay + length]
    return np.pad(samples, (0, length - samples.size))


def timed(function: Callable[[], Any], device: torch.device) -> tuple[Any, float]:
    """Result and wall-clock seconds of a call, with the device synchronised before and after."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    start = time.perf_counter()
    result = function()
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
    return result, time.perf_counter() - start


class AlmtokCodec(EvaluatedCodec):
    """An `ALMTokenizer` under evaluation."""

    def __init__(
        self,
        model: ALMTokenizer,
        *,
        name: str = "almtok",
        frames_per_query: int | None = None,
        search: CodeRefiner | None = None,
        device: str | torch.device = AUTO,
    ) -> None:
        self.device = find_device(device)
        self.model = model.eval().to(self.device)
        self.search = search
        config = model.config
        self.frames_per_query = frames_per_query or config.frames_per_query
        self.name = name
        self.sample_rate = config.sample_rate
        self.frame_rate = config.query_rate(self.frames_per_query)
        self.codebook_size = config.codebook_size
        self.kbps = config.bits_per_second(self.frames_per_query) / 1000.0

    def _codes(self, wav: Waveform) -> torch.Tensor:
        """Codes [1, K, Q] of one clip [S]."""
        x = torch.from_numpy(wav).to(self.device)[None, None]  # [1, 1, S]
        encoder = self.model if self.search is None else self.search
        return encoder.encode(x, frames_per_query=self.frames_per_query).audio_codes

    @torch.inference_mode()
    def encode(self, wav: Waveform) -> npt.NDArray[np.int64]:
        """Codes [K, Q] of one clip [S], which is not decoded."""
        codes: npt.NDArray[np.int64] = self._codes(wav)[0].cpu().numpy()
        return codes

    @torch.inference_mode()
    def code(self, wav: Waveform) -> CodecResult:
        """Encode and decode one clip [S] at the model's rate."""
        w = self.frames_per_query
        codes, encode = timed(lambda: self._codes(wav), self.device)  # [1, K, Q]
        decoded, decode = timed(
            lambda: self.model.decode(codes, frames_per_query=w, length=wav.size).audio_values,
            self.device,
        )  # [1, 1, S]
        array = codes[0].cpu().numpy()
        return CodecResult(
            wav=fit_length(decoded[0, 0].float().cpu().numpy(), wav.size),
            codes=array,
            bits=math.ceil(array.size * math.log2(self.codebook_size or 1)),
            encode_seconds=encode,
            decode_seconds=decode,
        )

    def release(self) -> None:
        """Free the model."""
        del self.model, self.search

    def settings(self) -> dict[str, str | int | float | None]:
        """Settings with the rate, the fingerprint of the weights and the code search."""
        extra = {"frames_per_query": self.frames_per_query, "fingerprint": self.model.fingerprint}
        searched = {} if self.search is None else {"search": repr(self.search.config)}
        return super().settings() | extra | searched


def row_name(checkpoint: str, *, several: bool, frames_per_query: int | None = None) -> str:
    """Name of a codec of almtok in tables: ``almtok``, with the folder and `w` if they are needed.

    Args:
        checkpoint: Folder or hub id; of a folder ``codec``, the one above it gives the name.
        several: Whether there are other checkpoints.
        frames_per_query: `w`, if it was chosen.
    """
    path = Path(checkpoint)
    folder = path.parent.name if path.name == "codec" and path.parent.name else path.name
    name = f"almtok {folder}" if several else "almtok"
    return name if frames_per_query is None else f"{name} w={frames_per_query}"


def load_almtok_codec(
    checkpoint: str,
    *,
    name: str = "almtok",
    frames_per_query: int | None = None,
    search_steps: int | None = None,
    device: str | torch.device = AUTO,
    seed: int = 0,
) -> AlmtokCodec:
    """Load an ALMTokenizer for evaluation.

    Args:
        checkpoint: folder, hub id, or preset with random weights (to measure cost only).
        name: in tables.
        frames_per_query: w; that of the codec by default.
        search_steps: steps of code refinement after encoding (codec/refine.py), None for no
            refinement.
        device: to run on.
        seed: of random weights.
    """
    if checkpoint in PRESETS:
        torch.manual_seed(seed)
        model = ALMTokenizer(ALMTokenizerConfig.preset(checkpoint))
        name = f"{name} ({checkpoint}, random)"
    else:
        with no_inner_bars():
            model = ALMTokenizer.from_pretrained(checkpoint)
    search, model = None, model.to(find_device(device))
    if search_steps is not None:
        config = RefineConfig(steps=search_steps)
        saved = checkpoint not in PRESETS
        search = CodeRefiner.of(checkpoint, model, config) if saved else CodeRefiner(model, config)
    return AlmtokCodec(
        model, name=name, frames_per_query=frames_per_query, search=search, device=device
    )
