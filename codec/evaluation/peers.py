"""Coders by name: ours, any Hugging Face codec, and the classics, behind one interface.

A name is ``KIND``, ``KIND=CHECKPOINT`` or either with ``@KBPS``: ``encodec@1.5``, ``mimi``,
``dac=/my/folder@3``, ``codec2-700C``, ``opus-6k``, ``almtok=runs/codec``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ...core.choices import AUTO
from ...core.progress import no_inner_bars
from ...core.runtime import find_device
from ..config import PRESETS, ALMTokenizerConfig
from ..model import ALMTokenizer
from ..refine import CodeRefiner
from ..refine_config import RefineConfig
from .classics import load_classic_codec
from .coder import CodecResult, CodecUnavailable, EvaluatedCodec, Waveform, fit_length

# Short name -> checkpoint on the Hugging Face hub.
HUB_CODECS = {
    "encodec": "facebook/encodec_24khz",
    "dac": "descript/dac_24khz",
    "dac16": "descript/dac_16khz",
    "dac44": "descript/dac_44khz",
    "mimi": "kyutai/mimi",
    "xcodec": "hf-audio/xcodec-hubert-librispeech",
}
# Peers whose convolutions have no padding of their own fail below a few frames.
_SHORTEST_FRAMES = 16


@dataclass(frozen=True)
class PeerName:
    """A parsed coder name."""

    kind: str
    checkpoint: str | None
    kbps: float | None


def parse_peer(text: str) -> PeerName:
    """Split ``KIND[=CHECKPOINT][@KBPS]``."""
    head, at, rate = text.partition("@")
    kind, equals, checkpoint = head.partition("=")
    if not kind or (equals and not checkpoint) or (at and not rate):
        raise ValueError(f"expected KIND[=CHECKPOINT][@KBPS], got {text!r}")
    try:
        kbps = float(rate) if at else None
    except ValueError:
        raise ValueError(f"expected kbit/s after @, as in encodec@1.5, got {text!r}") from None
    return PeerName(kind, checkpoint or None, kbps)


def _timed(function: Callable[[], Any], device: torch.device) -> tuple[Any, float]:
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

    @torch.inference_mode()
    def code(self, wav: Waveform) -> CodecResult:
        """Encode and decode one clip [S] at the model's rate."""
        x = torch.from_numpy(wav).to(self.device)[None, None]  # [1, 1, S]
        w = self.frames_per_query
        encoder = self.model if self.search is None else self.search
        codes, encode = _timed(
            lambda: encoder.encode(x, frames_per_query=w).audio_codes, self.device
        )  # [1, K, Q]
        decoded, decode = _timed(
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
        """As every coder, with the fingerprint of the weights that give the codes their meaning."""
        extra = {"frames_per_query": self.frames_per_query, "fingerprint": self.model.fingerprint}
        searched = {} if self.search is None else {"search": repr(self.search.config)}
        return super().settings() | extra | searched


class TransformersCodec(EvaluatedCodec):
    """A codec of the transformers library: EnCodec, DAC, Mimi or X-Codec.

    Args:
        checkpoint: folder or hub id.
        kbps: wanted rate; must be reachable by a whole number of codebooks (EnCodec, X-Codec: one
            of the bandwidths of the checkpoint). By default all codebooks are used.
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
            config = AutoConfig.from_pretrained(checkpoint)
            self.kind = config.model_type
            if self.kind not in self.MODEL_TYPES:
                raise ValueError(
                    f"{checkpoint} is a {self.kind!r}, expected {', '.join(self.MODEL_TYPES)}"
                )
            with no_inner_bars():
                self.model: Any = AutoModel.from_pretrained(checkpoint)
        except OSError as error:
            raise CodecUnavailable(
                f"{checkpoint} is neither a folder nor reachable on the hub: "
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
        per_book = self._codebook_kbps
        if self.kind in ("encodec", "xcodec"):
            rates = [float(rate) for rate in config.target_bandwidths]
            # X-Codec's first rates are rounded (0.5 kbit/s is one codebook of 50 Hz x 10 bits).
            options = {max(1, math.floor(rate / per_book + 1e-6)): rate for rate in rates}
        else:
            most = config.n_codebooks if self.kind == "dac" else config.num_quantizers
            options = {count: count * per_book for count in range(1, most + 1)}
        best = max(options) if kbps is None else min(options, key=lambda n: abs(options[n] - kbps))
        if kbps is not None and abs(options[best] - kbps) > max(0.02 * kbps, 0.01):
            listed = ", ".join(f"{rate:.4g}" for rate in sorted(options.values()))
            raise ValueError(f"{self.checkpoint} has the rates {listed} kbit/s, not {kbps:g}")
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
        """Encode and decode one clip [S] at the codec's rate, padded to whole frames inside."""
        frames = max(math.ceil(wav.size / self.hop), _SHORTEST_FRAMES)
        padded = fit_length(wav, frames * self.hop)
        x = torch.from_numpy(padded).to(self.device)[None, None]
        (codes, scales), encode = _timed(lambda: self._encode(x), self.device)
        decoded, decode = _timed(lambda: self._decode(codes, scales), self.device)
        # EnCodec gives [chunks, B, K, Q], the others [B, K, Q]: of one clip the last two matter.
        array: npt.NDArray[np.int64] = (
            codes.reshape(-1, *codes.shape[-2:])[0].to(torch.int64).cpu().numpy()
        )
        kept = array[:, : math.ceil(wav.size / self.hop)]
        return CodecResult(
            wav=fit_length(decoded.reshape(-1).float().cpu().numpy(), wav.size),
            codes=kept,
            bits=math.ceil(kept.size * math.log2(self.codebook_size or 1)),
            encode_seconds=encode,
            decode_seconds=decode,
        )

    def release(self) -> None:
        """Free the model."""
        del self.model

    def settings(self) -> dict[str, str | int | float | None]:
        """As every coder, with the checkpoint."""
        return super().settings() | {"checkpoint": self.checkpoint, "codebooks": self.codebooks}


def load_almtok_codec(
    checkpoint: str,
    *,
    name: str = "almtok",
    frames_per_query: int | None = None,
    search_steps: int | None = None,
    device: str | torch.device = AUTO,
    seed: int = 0,
) -> AlmtokCodec:
    """A checkpoint folder, a hub id, or a preset with seeded random weights (for cost only).

    Args:
        checkpoint: which one.
        name: in tables.
        frames_per_query: w, the codec's own by default.
        search_steps: improve the encoder's codes by so many steps (codec/refine.py); None: do not.
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
        known = checkpoint not in PRESETS
        search = CodeRefiner.of(checkpoint, model, config) if known else CodeRefiner(model, config)
    return AlmtokCodec(
        model, name=name, frames_per_query=frames_per_query, search=search, device=device
    )


def load_codec(text: str, *, device: str | torch.device = AUTO) -> EvaluatedCodec:
    """The coder that a name stands for.

    Args:
        text: as in the head of this file.
        device: for neural codecs.

    Raises:
        ValueError: the name is not understood.
        CoderUnavailable: program or weights are missing; says what to do.
    """
    peer = parse_peer(text)
    if peer.kind == "almtok":
        if peer.checkpoint is None or peer.kbps is not None:
            raise ValueError(f"expected almtok=CHECKPOINT, got {text!r}")
        return load_almtok_codec(peer.checkpoint, device=device)
    if peer.kind in HUB_CODECS or peer.kind == "hf":
        checkpoint = peer.checkpoint or HUB_CODECS.get(peer.kind)
        if checkpoint is None:
            raise ValueError(f"expected hf=FOLDER_OR_HUB_ID, got {text!r}")
        return TransformersCodec(checkpoint, kbps=peer.kbps, device=device)
    if peer.kind.startswith(("codec2-", "opus-")) and peer.checkpoint is None:
        return load_classic_codec(text)
    raise ValueError(
        f"unknown coder {text!r}: expected almtok=..., {', '.join(HUB_CODECS)}, hf=..., "
        "codec2-MODE or opus-KBPSk"
    )
