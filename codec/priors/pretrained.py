"""Pretrained teachers: wav2vec 2.0, HuBERT, WavLM and Whisper of transformers, and BEATs.

Shapes: ``B`` clips, ``S`` samples at 16 kHz, ``N`` feature frames, ``P`` width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    HubertModel,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMModel,
)

from ...core.choices import AUTO
from ...core.loading import load_float32
from ...core.runtime import find_device
from ..whisper import FRAME_RATE, WHISPER_RATE, WhisperFeatures
from .beats import MIN_SAMPLES, STEP
from .beats_checkpoint import load_beats
from .config import DEFAULT_LAYERS
from .fbank import SAMPLE_RATE
from .teacher import Teacher

MODELS = {"wav2vec2": Wav2Vec2Model, "hubert": HubertModel, "wavlm": WavLMModel}
# Weights that a checkpoint may lack: they are for masked training only.
UNUSED_WEIGHTS = ("masked_spec_embed",)


class TransformersTeacher(Teacher):
    """wav2vec 2.0, HuBERT or WavLM, one layer or the average of several (paper.md 3, D).

    Args:
        kind: ``wav2vec2``, ``hubert`` or ``wavlm``.
        checkpoint: hub id or folder.
        layers: Transformer layers to average, from 1 (0 is the input of the first).
        normalize: normalize clips to mean 0 and variance 1; None: as in the checkpoint's
            ``preprocessor_config.json``.
        device: of the model, which runs in float32.
    """

    piece_seconds = 15.0

    def __init__(
        self,
        *,
        kind: str,
        checkpoint: str,
        layers: Sequence[int] = DEFAULT_LAYERS,
        normalize: bool | None = None,
        device: str | torch.device = AUTO,
    ) -> None:
        self.model = _load(kind, checkpoint).to(find_device(device))
        config = self.model.config
        if not layers or min(layers) < 0 or max(layers) > config.num_hidden_layers:
            raise ValueError(
                f"layers of {checkpoint} must lie in 0..{config.num_hidden_layers},"
                f" got {list(layers)}"
            )
        self.layers, self.device = tuple(layers), find_device(device)
        self.name = f"{kind}:{checkpoint}@{','.join(map(str, layers))}"
        self.dim = config.hidden_size
        self.sample_rate, do_normalize = _input_format(checkpoint)
        if do_normalize is None and normalize is None:
            raise ValueError(
                f"normalize must be True or False for {checkpoint}, which has no "
                "preprocessor_config.json; got None"
            )
        self.normalize = do_normalize if normalize is None else normalize
        self.stride, self.min_samples = _stride_and_field(config.conv_kernel, config.conv_stride)
        self.frame_rate = self.sample_rate / self.stride
        # GroupNorm after the first convolution uses the whole row, so padding would change
        # features.
        self.pads = config.feat_extract_norm == "layer"

    def _features(self, wavs: list[Tensor]) -> list[Tensor]:
        features: dict[int, Tensor] = {}
        for group in self._groups([len(wav) for wav in wavs]):
            rows = self._padded_features([wavs[index] for index in group])
            features.update(zip(group, rows, strict=True))
        return [features[index] for index in range(len(wavs))]

    def _groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Return the indices of clips that may share a batch: all, or those of equal length."""
        if self.pads:
            return [list(range(len(lengths)))]
        equal: dict[int, list[int]] = {}
        for index, length in enumerate(lengths):
            equal.setdefault(length, []).append(index)
        return list(equal.values())

    def _padded_features(self, wavs: list[Tensor]) -> list[Tensor]:
        wavs = [_normalized(wav) if self.normalize else wav for wav in wavs]
        lengths = torch.tensor([len(wav) for wav in wavs], device=self.device)
        padded = nn.utils.rnn.pad_sequence(wavs, batch_first=True).to(self.device)  # [B, S]
        mask = None
        if int(lengths.min()) < padded.shape[1]:
            mask = (torch.arange(padded.shape[1], device=self.device) < lengths[:, None]).long()
        hidden = self.model(padded, attention_mask=mask, output_hidden_states=True).hidden_states
        mean = torch.stack([hidden[layer] for layer in self.layers]).mean(0)  # [B, N, P]
        frames = (lengths - self.min_samples) // self.stride + 1
        return [row[: int(count)].float() for row, count in zip(mean, frames, strict=True)]


class WhisperTeacher(Teacher):
    """Whisper's encoder, one layer or the average of several (not in the paper: paper.md 3, D).

    Args:
        checkpoint: hub id or folder.
        layers: layers to average, from 1; empty: that at two thirds of the depth.
        device: of the model, which runs in float32.
    """

    sample_rate = WHISPER_RATE
    frame_rate = float(FRAME_RATE)
    min_samples = WHISPER_RATE // FRAME_RATE

    def __init__(
        self, checkpoint: str, *, layers: Sequence[int] = (), device: str | torch.device = AUTO
    ) -> None:
        self.device = find_device(device)
        self.model = WhisperFeatures.from_pretrained(checkpoint, layers=layers).to(self.device)
        # Pieces of 15 s: attention costs the square of their length.
        self.piece_seconds = min(15.0, self.model.max_samples / WHISPER_RATE)
        self.name = f"whisper:{checkpoint}@{','.join(map(str, self.model.layers))}"
        self.dim = self.model.width

    def _features(self, wavs: list[Tensor]) -> list[Tensor]:
        # Separately: Whisper has no mask for padding. The last frame may be incomplete.
        return [
            self.model(wav[None].to(self.device))[0].mean(0)[: len(wav) // self.min_samples]
            for wav in wavs
        ]


class BEATsTeacher(Teacher):
    """BEATs, one vector per 160 ms: the mean over the 8 bands of a time step (paper.md 3, D).

    Args:
        path: official ``.pt`` file or a safetensors copy.
        layers: layers to average, from 1; empty: the last layer.
        device: of the model, which runs in float32.
    """

    sample_rate = SAMPLE_RATE
    frame_rate = SAMPLE_RATE / STEP
    min_samples = MIN_SAMPLES
    piece_seconds = 10.0  # the length of AudioSet clips, which BEATs was trained on

    def __init__(
        self, path: str | Path, *, layers: Sequence[int] = (), device: str | torch.device = AUTO
    ) -> None:
        self.model = load_beats(path).to(find_device(device))
        depth = self.model.config.encoder_layers
        if any(not 0 <= layer <= depth for layer in layers):
            raise ValueError(f"layers of {path} must lie in 0..{depth}, got {list(layers)}")
        self.layers, self.device = tuple(layers), find_device(device)
        self.name = f"beats:{Path(path).name}@{','.join(map(str, layers)) or 'last'}"
        self.dim = self.model.config.encoder_embed_dim

    def _features(self, wavs: list[Tensor]) -> list[Tensor]:
        return self.model.step_features([wav.to(self.device) for wav in wavs], self.layers)


def _normalized(wav: Tensor) -> Tensor:
    """Normalize to mean 0 and variance 1, like ``Wav2Vec2FeatureExtractor``."""
    return (wav - wav.mean()) / (wav.var(correction=0) + 1e-7).sqrt()


def _stride_and_field(kernels: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Return the hop between frames and the receptive field of a frame, in samples."""
    stride, field = 1, 1
    for kernel, step in zip(kernels, strides, strict=True):
        field += (kernel - 1) * stride
        stride *= step
    return stride, field


def _load(kind: str, checkpoint: str) -> Any:
    """Load the model in eval mode and float32; missing weights are an error."""
    if kind not in MODELS:
        raise ValueError(f"kind must be one of {', '.join(MODELS)}, got {kind!r}")
    return load_float32(MODELS[kind], checkpoint, kind, unused=UNUSED_WEIGHTS)


def _input_format(checkpoint: str) -> tuple[int, bool | None]:
    """Return sample rate and ``do_normalize``; None if the checkpoint does not specify it."""
    try:
        extractor = Wav2Vec2FeatureExtractor.from_pretrained(checkpoint, trust_remote_code=False)
    except OSError:
        return SAMPLE_RATE, None
    return extractor.sampling_rate, extractor.do_normalize
