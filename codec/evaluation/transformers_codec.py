"""Neural codecs of the transformers library under evaluation.

Letters: S samples, K codebooks, Q positions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr
import torch

from ...core.choices import AUTO
from ...core.loading import check_place, no_inner_bars, refuse_adapter
from ...core.runtime import find_device
from .codecs import CodecResult, CodecUnavailable, EvaluatedCodec, Waveform, fit_length, timed

# Codecs whose convolutions do not pad fail for shorter clips.
_SHORTEST_FRAMES = 16
# Model types whose rate is one of the bandwidths of the config; that have a single codebook; that
# read features of their own extractor beside the waveform.
_BANDWIDTHS = ("encodec", "xcodec", "higgs_audio_v2_tokenizer")
_SINGLE = ("wavtokenizer", "xcodec2", "neucodec")
_WITH_FEATURES = ("xcodec2", "neucodec")


class TransformersCodec(EvaluatedCodec):
    """A codec of the transformers library.

    Args:
        checkpoint: folder or hub id.
        kbps: bit rate, of a whole number of codebooks (EnCodec, X-Codec, Higgs: one of the
            bandwidths of the checkpoint). By default all codebooks are used.
        name: in tables; by default the model type and the rate.
        device: to run on.

    Raises:
        ValueError: The model type is none of `MODEL_TYPES`, or it does not have this rate.
        CodecUnavailable: The checkpoint cannot be loaded.
    """

    MODEL_TYPES = (*_BANDWIDTHS, "dac", "mimi", *_SINGLE)

    def __init__(
        self,
        checkpoint: str,
        *,
        kbps: float | None = None,
        name: str | None = None,
        device: str | torch.device = AUTO,
    ) -> None:
        from transformers import AutoConfig, AutoFeatureExtractor, AutoModel

        try:
            config = AutoConfig.from_pretrained(check_place(checkpoint), trust_remote_code=False)
            self.kind = config.model_type
            if self.kind not in self.MODEL_TYPES:
                raise ValueError(
                    f"model_type of {checkpoint} must be one of {', '.join(self.MODEL_TYPES)},"
                    f" got {self.kind!r}"
                )
            refuse_adapter(checkpoint, {})
            self.extractor: Any = None
            if self.kind in _WITH_FEATURES:
                self.extractor = AutoFeatureExtractor.from_pretrained(
                    checkpoint, trust_remote_code=False
                )
            with no_inner_bars():
                self.model: Any
                self.model, report = AutoModel.from_pretrained(
                    checkpoint,
                    dtype=torch.float32,
                    output_loading_info=True,
                    trust_remote_code=False,
                )
            if missing := sorted(report["missing_keys"]):  # transformers would use random weights
                raise ValueError(f"{checkpoint} lacks weights: {', '.join(missing[:4])}")
        except OSError as error:
            raise CodecUnavailable(
                f"{checkpoint} must be a folder or a hub id that can be loaded: "
                f"{str(error).splitlines()[0]}"
            ) from error
        self.device = find_device(device)
        self.model.eval().to(self.device)
        self.checkpoint = checkpoint
        self.sample_rate, self.input_rate = _rates(config)
        self.hop = self._hop(config)
        self.frame_rate = self.sample_rate / self.hop
        # Finite scalar quantization has levels instead of a codebook.
        levels = getattr(config, "quantization_levels", None)
        self.codebook_size = math.prod(levels) if levels else int(config.codebook_size)
        self.codebooks = self._codebooks(config, kbps)
        self.kbps = self.codebooks * self._codebook_kbps
        self.name = name or f"{self.kind}@{self.kbps:.3g}"

    @property
    def _codebook_kbps(self) -> float:
        return float(self.frame_rate or 0) * math.log2(self.codebook_size or 1) / 1000.0

    def _hop(self, config: Any) -> int:
        """Samples at `sample_rate` per position."""
        if self.kind == "mimi":
            return round(self.sample_rate / config.frame_rate)
        if self.kind == "encodec":
            return math.prod(config.upsampling_ratios)
        return int(config.hop_length)

    def _codebooks(self, config: Any, kbps: float | None) -> int:
        codebook_kbps = self._codebook_kbps
        if self.kind in _BANDWIDTHS:
            rates = [float(rate) for rate in config.target_bandwidths]
            # X-Codec's first rates are rounded (0.5 kbit/s is one codebook of 50 Hz x 10 bits).
            options = {max(1, math.floor(rate / codebook_kbps + 1e-6)): rate for rate in rates}
        else:
            name = "n_codebooks" if self.kind == "dac" else "num_quantizers"
            maximum = 1 if self.kind in _SINGLE else getattr(config, name)
            options = {count: count * codebook_kbps for count in range(1, maximum + 1)}
        best = max(options) if kbps is None else min(options, key=lambda n: abs(options[n] - kbps))
        if kbps is not None and abs(options[best] - kbps) > max(0.02 * kbps, 0.01):
            listed = ", ".join(f"{rate:.4g}" for rate in sorted(options.values()))
            raise ValueError(f"kbps of {self.checkpoint} must be one of {listed}, got {kbps:g}")
        self.bandwidth = options[best]
        return best

    def _inputs(self, wav: Waveform) -> dict[str, torch.Tensor]:
        """Arguments of `encode` for a clip [S] at `sample_rate`."""
        if self.extractor is None:
            return {"input_values": torch.from_numpy(wav).to(self.device)[None, None]}
        if self.input_rate != self.sample_rate:
            wav = soxr.resample(wav, self.sample_rate, self.input_rate).astype(np.float32)
        return dict(
            self.extractor(wav, sampling_rate=self.input_rate, return_tensors="pt").to(self.device)
        )

    def _encode(self, wav: Waveform) -> tuple[torch.Tensor, dict[str, Any]]:
        """Codes of a clip [S], and further arguments of `decode`."""
        rate: dict[str, Any] = {}
        if self.kind in _BANDWIDTHS:
            rate = {"bandwidth": self.bandwidth}
        elif self.kind == "mimi":
            rate = {"num_quantizers": self.codebooks}
        elif self.kind == "dac":
            rate = {"n_quantizers": self.codebooks}
        out = self.model.encode(**self._inputs(wav), **rate)
        scales = {"audio_scales": out.audio_scales} if self.kind == "encodec" else {}
        return out.audio_codes, scales

    @torch.inference_mode()
    def code(self, wav: Waveform) -> CodecResult:
        """Encode and decode one clip [S] at the codec's rate, padded to whole frames."""
        frames = max(math.ceil(wav.size / self.hop), _SHORTEST_FRAMES)
        # The features of an extractor can end one frame before the waveform.
        padded = fit_length(wav, (frames + (self.extractor is not None)) * self.hop)
        (codes, extra), encode = timed(lambda: self._encode(padded), self.device)
        decoded, decode = timed(
            lambda: self.model.decode(audio_codes=codes, **extra).audio_values, self.device
        )
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


def _rates(config: Any) -> tuple[int, int]:
    """Sample rates of the output and of the input."""
    if config.model_type == "neucodec":
        return int(config.output_sampling_rate), int(config.input_sampling_rate)
    rate = int(getattr(config, "sampling_rate", None) or config.sample_rate)
    return rate, rate
