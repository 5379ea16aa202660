"""One micro-batch: forward, losses, gradients. Nothing is updated here but codebook statistics.

Letters: B batch, S samples, T frames, Q queries, D width, w frames per query.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from ...core.training.seeding import draw_int, draw_unit, lr_scale
from ..losses.adversarial import AdversarialKind, discriminator_loss
from ..losses.base import ForwardPass
from ..vocoder import HarmonicVocoder
from .config import CodecTrainConfig
from .state import TrainState


@dataclass(frozen=True)
class StepDraw:
    """What is decided once per optimiser step."""

    frames_per_query: int
    update_discriminators: bool
    lr_scale: float  # share of the peak learning rate


def draw_step(config: CodecTrainConfig, step: int, window_range: Sequence[int]) -> StepDraw:
    """The draw of step ``step``: w uniform in the range (paper.md 2.1), and the rest.

    Args:
        config: The run's configuration.
        step: Number of the optimiser step, from 0.
        window_range: Smallest and largest frames per query, both included.
    """
    low, high = window_range
    window = low + draw_int(config.seed, "window", step) % (high - low + 1)
    chance = draw_unit(config.seed, "discriminator", step)
    return StepDraw(
        frames_per_query=window,
        update_discriminators=chance < config.discriminator_probability,
        lr_scale=lr_scale(config, step),
    )


def micro_step(
    state: TrainState, wav: Tensor, seeds: Tensor, step: int, draw: StepDraw
) -> dict[str, Tensor]:
    """Add one micro-batch's gradients to all trained parameters.

    Discriminators see the same reconstruction as the generator's losses, so that one forward pass
    serves both: their own loss sends gradients to their weights only, the generator's losses send
    theirs to the waveform only.

    Args:
        state: Live objects of the run.
        wav: ``[B, 1, S]``.
        seeds: Per-crop seeds, ``[B]`` int64.
        step: Number of the optimiser step.
        draw: What was drawn for the step.

    Returns:
        Detached losses by log name.
    """
    forward, inner = FORWARD[state.config.stage](state, wav, seeds, draw)
    reconstruction = forward.output
    assert reconstruction is not None
    # Cut: losses on the waveform reach the generator here, once.
    forward.output = output = reconstruction.detach().requires_grad_()
    report = dict(inner)
    weights = state.config.balanced_weights
    balanced = _evaluate(state, weights, forward)
    if state.discriminators is not None and step >= state.config.adversarial_start:
        report["discriminator"] = _discriminate(state, forward, draw)
        balanced |= _evaluate(state, [n for n in weights if n not in balanced], forward)
    report |= balanced
    if state.balancer is not None:
        state.balancer.backward(balanced, output)  # fills output.grad
    else:
        total = torch.stack([weights[name] * loss for name, loss in balanced.items()]).sum()
        # Not backward(): that would leave gradients in the discriminators.
        (output.grad,) = torch.autograd.grad(total, [output])

    scale = 1.0 if state.loss_scale is None else state.loss_scale.value
    share = scale / state.config.accumulate
    assert output.grad is not None
    roots, grads = [reconstruction], [output.grad * share]
    for name, weight in state.config.direct_weights.items():
        if name not in inner:
            continue
        roots.append(inner[name])
        grads.append(torch.full_like(inner[name], weight * share))
    torch.autograd.backward(roots, grads)
    return {name: loss.detach() for name, loss in report.items()}


def _evaluate(state: TrainState, names: Iterable[str], forward: ForwardPass) -> dict[str, Tensor]:
    """Losses by name, without those that this step has no tensors for."""
    found = {name: state.losses[name].compute(forward) for name in names if name in state.losses}
    return {name: loss for name, loss in found.items() if loss is not None}


def _discriminate(state: TrainState, forward: ForwardPass, draw: StepDraw) -> Tensor:
    """Run the discriminators on target and output; their own loss, and its gradients."""
    assert state.discriminators is not None and forward.output is not None
    kind = cast("AdversarialKind", state.config.adversarial_kind)
    with nullcontext() if draw.update_discriminators else torch.no_grad():
        forward.real = state.discriminators(forward.target)
    forward.fake = state.discriminators(forward.output)
    own = discriminator_loss(forward.real, forward.fake, kind=kind)
    if draw.update_discriminators:
        (own / state.config.accumulate).backward(
            inputs=list(state.discriminators.parameters()), retain_graph=True
        )
    return own


Forward = tuple[ForwardPass, dict[str, Tensor]]  # and the losses on inner tensors, by name


def _autoencode(state: TrainState, wav: Tensor, seeds: Tensor, draw: StepDraw) -> Forward:
    """Stage 1: patchify and back, and masked frames with Transformers of their own."""
    forward = ForwardPass(target=wav, seeds=seeds, frames_per_query=draw.frames_per_query)
    with state.convolutions():
        forward.frames = state.model.patchify(wav).float()  # [B, T, D]
        forward.output = state.model.unpatchify(forward.frames).float()
    with state.transformers():
        return forward, _evaluate(state, state.config.direct_weights, forward)


def _tokenize(state: TrainState, wav: Tensor, seeds: Tensor, draw: StepDraw) -> Forward:
    """Stage 2: the whole path through the codes."""
    model, config, window = state.model, state.config, draw.frames_per_query
    wav = whole_windows(wav, model.config.hop_length * window)
    forward = ForwardPass(target=wav, seeds=seeds, frames_per_query=window)
    with state.convolutions(), _no_grad_if(config.freeze_patchify):
        frames = model.patchify(wav).float()  # [B, T, D]
    forward.frames = frames
    forward.phonemes = _classify(state, wav)
    # MAE runs the query encoder's Transformer on frames alone, without query tokens (paper.md 5.1).
    forward.encode_frames = lambda masked: model.encoder.encode_frames(masked, window)
    with state.transformers():
        queries = model.encoder(frames, window).float()  # [B, Q, D]
        forward.queries = _quantize(state, queries, forward)
        forward.decoded = model.decoder(forward.queries, window).float()  # [B, T, D]
        forward.output = _unpatchify(state, forward)
        inner = _evaluate(state, config.direct_weights, forward)
    if forward.commitment is not None:
        inner.setdefault("commitment", forward.commitment)  # logged with weight 0 too
    return forward, inner


def _adapt(state: TrainState, wav: Tensor, seeds: Tensor, draw: StepDraw) -> Forward:
    """Adaptation of the decoder side: the codes come from the frozen half, as at inference."""
    model, window = state.model, draw.frames_per_query
    wav = whole_windows(wav, model.config.hop_length * window)
    forward = ForwardPass(target=wav, seeds=seeds, frames_per_query=window)
    with torch.no_grad():
        forward.frames = model.patchify(wav)
        queries = model.encoder(forward.frames, window)
        forward.queries = model.quantizer(queries).quantized
    with state.transformers():
        forward.decoded = model.decoder(forward.queries, window).float()
        forward.output = _unpatchify(state, forward)
        inner = _evaluate(state, state.config.direct_weights, forward)
    forward.phonemes = _classify(state, wav)
    return forward, inner


FORWARD: dict[str, Callable[[TrainState, Tensor, Tensor, StepDraw], Forward]] = {
    "1": _autoencode,
    "2": _tokenize,
    "adapt": _adapt,
}


def _unpatchify(state: TrainState, forward: ForwardPass) -> Tensor:
    """Waveform ``[B, 1, S]`` of the decoded frames; keeps the pitch logits of the vocoder."""
    unpatchify = state.model.unpatchify
    assert forward.decoded is not None
    if not isinstance(unpatchify, HarmonicVocoder):
        with state.convolutions():
            return unpatchify(forward.decoded).float()
    with state.runtime.autocast(enabled=False):
        parameters = unpatchify.predict(forward.decoded)
        forward.pitch = parameters.pitch
        return unpatchify.synthesize(parameters)[0]


def _classify(state: TrainState, wav: Tensor) -> Tensor | None:
    """Phoneme log-probabilities of the recording, without autocast as those of the output."""
    return None if state.listener is None else state.listener.target_log_posteriors(wav)


def _quantize(state: TrainState, queries: Tensor, forward: ForwardPass) -> Tensor:
    """Input of the decoder for queries ``[B, Q, D]``; keeps layers and commitment for losses."""
    quantizer = state.model.quantizer
    if not quantizer.initialized:  # before quantize_start
        return queries
    quantized = quantizer(queries)
    forward.commitment, forward.layers = quantized.commitment_loss, quantized.layers
    share = state.config.quantize_probability
    return _sometimes_raw(share, quantized.quantized, queries, forward.seeds)


def whole_windows(wav: Tensor, samples: int) -> Tensor:
    """The longest beginning that is a whole number of windows: no padding enters a loss.

    Args:
        wav: ``[B, 1, S]``.
        samples: Samples of a window, hop times w.
    """
    length = wav.shape[-1] // samples * samples
    if length == 0:
        raise ValueError(
            f"crops of {wav.shape[-1]} samples are shorter than one window of {samples}:"
            " raise segment_seconds"
        )
    return wav[..., :length]


def _sometimes_raw(share: float, quantized: Tensor, queries: Tensor, seeds: Tensor) -> Tensor:
    """Quantised queries for this share of the crops, raw ones for the rest (paper.md 4.2)."""
    if share >= 1:
        return quantized
    mixed = (seeds * 6364136223846793005 + 1442695040888963407) >> 33  # one LCG step
    chosen = (mixed % 65536).float() / 65536 < share  # [B], where the seeds are: on the CPU
    return torch.where(chosen[:, None, None].to(queries.device), quantized, queries)


def _no_grad_if(frozen: bool) -> AbstractContextManager[None]:
    return torch.no_grad() if frozen else nullcontext()
