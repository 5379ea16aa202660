"""Reconstruction of held-out crops with the averaged weights."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.data import SegmentBatch
from ..model import ALMTokenizer
from .state import TrainState
from .step import whole_windows


@dataclass(frozen=True)
class Validation:
    """Distances on held-out crops, and a few reconstructions."""

    mel: dict[str, float]  # mel distance by domain, and "all"
    time: dict[str, float]  # waveform L1 by domain, and "all"
    targets: list[Tensor]  # each [S]
    samples: list[Tensor]  # each [S], reconstructions of the targets


@torch.no_grad()
def validate(
    state: TrainState, batches: Sequence[SegmentBatch], num_samples: int = 4
) -> Validation:
    """Reconstruct held-out crops at the frames per query of the codec's config.

    Args:
        state: The run; its averaged weights are used if there are any.
        batches: Held-out crops.
        num_samples: Number of reconstructions to return, spread over the crops.
    """
    rows: list[tuple[str, float, float]] = []  # domain, mel, time
    pairs: list[tuple[Tensor, Tensor]] = []
    with state.averaged() as model:
        for batch in batches:
            window = 1 if state.config.stage == "1" else model.config.frames_per_query
            wav = whole_windows(batch.wav.to(state.device), model.config.hop_length * window)
            output = reconstruct(model, wav, state.config.stage)
            for item, domain in enumerate(batch.domains):
                sample, target = output[item : item + 1], wav[item : item + 1]
                mel = float(state.mel_loss(sample, target))
                rows.append((domain, mel, float(state.waveform_loss(sample, target))))
                pairs.append((target[0, 0].cpu(), sample[0, 0].cpu()))
    stride = max(1, len(pairs) // num_samples)
    samples = pairs[::stride][:num_samples]
    return Validation(
        mel=_means([(domain, mel) for domain, mel, _ in rows]),
        time=_means([(domain, time) for domain, _, time in rows]),
        targets=[target for target, _ in samples],
        samples=[sample for _, sample in samples],
    )


def reconstruct(model: ALMTokenizer, wav: Tensor, stage: str) -> Tensor:
    """Reconstruct ``[B, 1, S]`` with the trained parts: stage 1 has no codes."""
    frames = model.patchify(wav)
    if stage != "1":
        window = model.config.frames_per_query
        queries = model.encoder(frames, window)
        if model.quantizer.initialized:  # not before quantize_start
            queries = model.quantizer.dequantize(model.quantizer.quantize(queries))
        frames = model.decoder(queries, window)
    return model.unpatchify(frames)


def _means(rows: list[tuple[str, float]]) -> dict[str, float]:
    groups: dict[str, list[float]] = {"all": [value for _, value in rows]}
    for domain, value in rows:
        groups.setdefault(domain, []).append(value)
    return {name: sum(values) / len(values) for name, values in groups.items() if values}
