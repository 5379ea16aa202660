"""Self-supervised teachers: wav2vec 2.0, HuBERT and WavLM of transformers, and our BEATs.

Letters: ``B`` clips, ``S`` samples at 16 kHz, ``N`` feature frames, ``P`` width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    HubertModel,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WavLMModel,
)

from ...core.choices import AUTO
from ...core.runtime import find_device
from .beats import MIN_SAMPLES, STEP
from .beats_checkpoint import load_beats
from .config import DEFAULT_LAYERS
from .fbank import SAMPLE_RATE
from .teacher import Teacher

MODELS = {"wav2vec2": Wav2Vec2Model, "hubert": HubertModel, "wavlm": WavLMModel}
# Weights that a checkpoint may lack: only masked training reads them.
UNUSED_WEIGHTS = {"masked_spec_embed"}


class TransformersTeacher(Teacher):
    """wav2vec 2.0, HuBERT or WavLM, one layer or the average of several (paper.md 3, D).

    Args:
        kind: ``wav2vec2``, ``hubert`` or ``wavlm``.
        checkpoint: hub id or folder.
        layers: Transformer layers to average, from 1 as papers count (0 is the first one's input).
        normalize: whether a clip is brought to mean 0 and variance 1; None: as the checkpoint's
            ``preprocessor_config.json`` says.
        device: where it runs, always in float32.
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
                f"{checkpoint} has layers 0..{config.num_hidden_layers}, got {list(layers)}"
            )
        self.layers, self.device = tuple(layers), find_device(device)
        self.name = f"{kind}:{checkpoint}@{','.join(map(str, layers))}"
        self.dim = config.hidden_size
        self.sample_rate, said = _input_format(checkpoint)
        if said is None and normalize is None:
            raise ValueError(
                f"{checkpoint} has no preprocessor_config.json, which says whether clips are "
                "normalised; give normalize=True or False"
            )
        self.normalize = said if normalize is None else normalize
        self.stride, self.min_samples = _stride_and_field(config.conv_kernel, config.conv_stride)
        self.frame_rate = self.sample_rate / self.stride
        # GroupNorm in the first convolution reads the whole row, so padding would change a clip.
        self.pads = config.feat_extract_norm == "layer"

    def _features(self, wavs: list[Tensor]) -> list[Tensor]:
        features: dict[int, Tensor] = {}
        for group in self._groups([len(wav) for wav in wavs]):
            rows = self._padded_features([wavs[index] for index in group])
            features.update(zip(group, rows, strict=True))
        return [features[index] for index in range(len(wavs))]

    def _groups(self, lengths: Sequence[int]) -> list[list[int]]:
        """Return which clips may share a batch: all, or those of equal length."""
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


class BEATsTeacher(Teacher):
    """BEATs, one vector per 160 ms: the mean over the 8 bands of a time step (paper.md 3, D).

    Args:
        path: official ``.pt`` file or a safetensors copy.
        layers: outputs to average, from 1; none: the last layer.
        device: where it runs, always in float32.
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
            raise ValueError(f"{path} has layers 0..{depth}, got {list(layers)}")
        self.layers, self.device = tuple(layers), find_device(device)
        self.name = f"beats:{Path(path).name}@{','.join(map(str, layers)) or 'last'}"
        self.dim = self.model.config.encoder_embed_dim

    def _features(self, wavs: list[Tensor]) -> list[Tensor]:
        return self.model.step_features([wav.to(self.device) for wav in wavs], self.layers)


def _normalized(wav: Tensor) -> Tensor:
    """Mean 0, variance 1, as ``Wav2Vec2FeatureExtractor`` does it."""
    return (wav - wav.mean()) / (wav.var(correction=0) + 1e-7).sqrt()


def _stride_and_field(kernels: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """Return the samples between two frames and the samples that the first frame sees."""
    stride, field = 1, 1
    for kernel, step in zip(kernels, strides, strict=True):
        field += (kernel - 1) * stride
        stride *= step
    return stride, field


def _load(kind: str, checkpoint: str) -> Any:
    """Return the model in eval mode, float32; a weight that the file lacks is an error."""
    if kind not in MODELS:
        raise ValueError(f"a transformers teacher is one of {', '.join(MODELS)}, got {kind!r}")
    config = AutoConfig.from_pretrained(checkpoint)
    if config.model_type != kind:
        raise ValueError(f"{checkpoint} is a {config.model_type} checkpoint, asked for {kind}")
    model, report = MODELS[kind].from_pretrained(
        checkpoint, config=config, dtype=torch.float32, output_loading_info=True
    )
    # transformers would fill them with random numbers, and random features cluster happily.
    missing = sorted(set(report["missing_keys"]) - UNUSED_WEIGHTS)
    if missing:
        raise ValueError(f"{checkpoint} lacks weights of {kind}: {', '.join(missing[:4])}")
    return model.eval().requires_grad_(False)


def _input_format(checkpoint: str) -> tuple[int, bool | None]:
    """Return the sample rate and whether clips are normalised, None if the checkpoint is silent."""
    try:
        extractor = Wav2Vec2FeatureExtractor.from_pretrained(checkpoint)
    except OSError:
        return SAMPLE_RATE, None
    return extractor.sampling_rate, extractor.do_normalize
