"""One micro-batch: forward pass, losses, gradients. Of the model only codebooks are updated.

Shapes: B batch, S samples, T frames, Q queries, D width, w frames per query.
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
    """Random choices of an optimiser step."""

    frames_per_query: int
    update_discriminators: bool
    lr_scale: float  # share of the peak learning rate


def draw_step(config: CodecTrainConfig, step: int, window_range: Sequence[int]) -> StepDraw:
    """Return the random choices of a step; w is uniform in the range (paper.md 2.1).

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
    state: TrainState,
    wav: Tensor,
    seeds: Tensor,
    step: int,
    draw: StepDraw,
    domains: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """Add the gradients of one micro-batch to all trained parameters.

    A single forward pass of the discriminators serves both sides: gradients of the discriminator
    loss go to the weights of the discriminators only, those of the generator's losses to the
    waveform only.

    Args:
        state: Objects of the run.
        wav: ``[B, 1, S]``.
        seeds: Per-crop seeds, ``[B]`` int64.
        step: Number of the optimiser step.
        draw: Random choices of the step.
        domains: Of the crops; None: unknown.

    Returns:
        Detached losses by log name.
    """
    forward, inner = FORWARD[state.config.stage](state, wav, seeds, draw, domains)
    reconstruction = forward.output
    assert reconstruction is not None
    # Detached, so that losses on the waveform backpropagate through the generator once.
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
        # Not backward(), which would add gradients to the discriminators.
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
    """Compute losses by name, without those that lack a tensor in this step."""
    losses = {name: state.losses[name].compute(forward) for name in names if name in state.losses}
    return {name: loss for name, loss in losses.items() if loss is not None}


def _discriminate(state: TrainState, forward: ForwardPass, draw: StepDraw) -> Tensor:
    """Apply the discriminators to target and output; return their loss, add its gradients."""
    assert state.discriminators is not None and forward.output is not None
    kind = cast("AdversarialKind", state.config.adversarial_kind)
    with nullcontext() if draw.update_discriminators else torch.no_grad():
        forward.real = state.discriminators(forward.target)
    forward.fake = state.discriminators(forward.output)
    loss = discriminator_loss(forward.real, forward.fake, kind=kind)
    if draw.update_discriminators:
        (loss / state.config.accumulate).backward(
            inputs=list(state.discriminators.parameters()), retain_graph=True
        )
    return loss


Forward = tuple[ForwardPass, dict[str, Tensor]]  # and the losses on inner tensors, by name


def _autoencode(
    state: TrainState,
    wav: Tensor,
    seeds: Tensor,
    draw: StepDraw,
    domains: Sequence[str] | None = None,
) -> Forward:
    """Stage 1: Patchify and UnPatchify, and masked frame prediction."""
    forward = ForwardPass(target=wav, seeds=seeds, frames_per_query=draw.frames_per_query)
    with state.convolutions():
        forward.frames = state.model.patchify(wav).float()  # [B, T, D]
        forward.output = state.model.unpatchify(forward.frames).float()
    with state.transformers():
        return forward, _evaluate(state, state.config.direct_weights, forward)


def _tokenize(
    state: TrainState,
    wav: Tensor,
    seeds: Tensor,
    draw: StepDraw,
    domains: Sequence[str] | None = None,
) -> Forward:
    """Stage 2: the whole codec."""
    model, config, window = state.model, state.config, draw.frames_per_query
    wav = whole_windows(wav, model.config.hop_length * window)
    forward = ForwardPass(target=wav, seeds=seeds, frames_per_query=window)
    with state.convolutions(), _no_grad_if(config.freeze_patchify):
        frames = model.patchify(wav).float()  # [B, T, D]
    forward.frames = frames
    _teach(state, forward, domains)
    # Masked prediction uses the query encoder without query tokens (paper.md 5.1).
    forward.encode_frames = lambda masked: model.encoder.encode_frames(masked, window)
    with state.transformers():
        queries = model.encoder(frames, window).float()  # [B, Q, D]
        forward.queries = _quantize(state, queries, forward)
        forward.decoded = model.decoder(forward.queries, window).float()  # [B, T, D]
        forward.output = _unpatchify(state, forward)
        inner = _evaluate(state, config.direct_weights, forward)
    if forward.commitment is not None:
        inner.setdefault("commitment", forward.commitment)  # also logged with weight 0
    return forward, inner


def _adapt(
    state: TrainState,
    wav: Tensor,
    seeds: Tensor,
    draw: StepDraw,
    domains: Sequence[str] | None = None,
) -> Forward:
    """Decoder adaptation: encoder and quantizer are frozen, as in inference."""
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
    _teach(state, forward, domains)
    return forward, inner


FORWARD: dict[str, Callable[..., Forward]] = {
    "1": _autoencode,
    "2": _tokenize,
    "adapt": _adapt,
}


def _unpatchify(state: TrainState, forward: ForwardPass) -> Tensor:
    """Return the waveform ``[B, 1, S]`` of the decoded frames; store the pitch logits."""
    unpatchify = state.model.unpatchify
    assert forward.decoded is not None
    if not isinstance(unpatchify, HarmonicVocoder):
        with state.convolutions():
            return unpatchify(forward.decoded).float()
    with state.runtime.autocast(enabled=False):
        parameters = unpatchify.predict(forward.decoded)
        forward.pitch = parameters.pitch
        return unpatchify.synthesize(parameters)[0]


def _teach(state: TrainState, forward: ForwardPass, domains: Sequence[str] | None) -> None:
    """Store what the frozen models say of the recording, without autocast like of the output."""
    if state.phoneme_classifier is not None:
        forward.phonemes = state.phoneme_classifier.target_log_posteriors(forward.target)
    if state.teacher is not None:
        names = domains or [""] * len(forward.target)
        speech = [n for n, name in enumerate(names) if name not in ("sound", "music")]
        forward.speech = torch.tensor(speech, dtype=torch.int64, device=forward.target.device)
        with torch.no_grad():
            forward.features = state.teacher.features(forward.target[forward.speech])


def _quantize(state: TrainState, queries: Tensor, forward: ForwardPass) -> Tensor:
    """Return the decoder input for queries ``[B, Q, D]``; store tensors of the quantizer."""
    quantizer = state.model.quantizer
    if not quantizer.initialized:  # before quantize_start
        return queries
    quantized = quantizer(queries)
    forward.commitment, forward.layers = quantized.commitment_loss, quantized.layers
    share = state.config.quantize_probability
    return _mix_unquantized(share, quantized.quantized, queries, forward.seeds)


def whole_windows(wav: Tensor, samples: int) -> Tensor:
    """Cut a waveform to whole windows, so that losses have no padding.

    Args:
        wav: ``[B, 1, S]``.
        samples: Samples per window, hop times w.
    """
    length = wav.shape[-1] // samples * samples
    if length == 0:
        raise ValueError(
            f"crops must have at least one window of {samples} samples, got {wav.shape[-1]}:"
            " raise segment_seconds"
        )
    return wav[..., :length]


def _mix_unquantized(share: float, quantized: Tensor, queries: Tensor, seeds: Tensor) -> Tensor:
    """Quantised queries for a share of the crops, unquantised ones for the rest (paper.md 4.2)."""
    if share >= 1:
        return quantized
    mixed = (seeds * 6364136223846793005 + 1442695040888963407) >> 33  # one LCG step
    use_quantized = (mixed % 65536).float() / 65536 < share  # [B] on the CPU, like the seeds
    return torch.where(use_quantized[:, None, None].to(queries.device), quantized, queries)


def _no_grad_if(frozen: bool) -> AbstractContextManager[None]:
    return torch.no_grad() if frozen else nullcontext()
