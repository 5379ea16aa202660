"""One micro-batch: forward, losses, gradients. Nothing is updated here but codebook statistics.

Letters: B batch, S samples, T frames, Q queries, D width, w frames per query.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from ...core.training.seeding import draw_int, draw_unit, lr_scale
from ..losses import (
    discriminator_loss,
    feature_matching_loss,
    generator_adversarial_loss,
    recognition_loss,
)
from ..losses.adversarial import AdversarialKind
from ..model import ALMTokenizer
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


@dataclass(frozen=True)
class Reconstruction:
    """What the generator made of a micro-batch."""

    wav: Tensor  # [B, 1, S'], S' <= S: whole windows only
    target: Tensor  # [B, 1, S']
    direct: dict[str, Tensor]  # losses inside the network, by log name
    heard: Tensor | None = None  # [B, T, P] phones of the target, where a loss asks for them


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
    made = RECONSTRUCT[state.config.stage](state, wav, seeds, draw)
    output = made.wav.detach().requires_grad_()  # cut: losses meet the generator here, once
    balanced = {
        "time": state.waveform_loss(output, made.target),
        "mel": state.mel_loss(output, made.target),
    }
    if state.loudness_loss is not None:
        balanced["loudness"] = state.loudness_loss(output, made.target)
    if "recognition" in state.config.balanced_weights:
        assert state.listener is not None and made.heard is not None
        balanced["recognition"] = recognition_loss(state.listener, output, made.heard)
    report = dict(made.direct)
    if state.discriminators is not None and step >= state.config.adversarial_start:
        balanced |= _adversarial(state, output, made.target, draw, report)
    weights = state.config.balanced_weights
    balanced = {name: loss for name, loss in balanced.items() if name in weights}
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
    roots, grads = [made.wav], [output.grad * share]
    for name, weight in state.config.direct_weights.items():
        if name not in made.direct:
            continue
        roots.append(made.direct[name])
        grads.append(torch.full_like(made.direct[name], weight * share))
    torch.autograd.backward(roots, grads)
    return {name: loss.detach() for name, loss in report.items()}


def _adversarial(
    state: TrainState, output: Tensor, target: Tensor, draw: StepDraw, report: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Discriminator gradients, and the generator's two losses on the discriminators."""
    assert state.discriminators is not None
    kind = cast("AdversarialKind", state.config.adversarial_kind)
    with nullcontext() if draw.update_discriminators else torch.no_grad():
        real = state.discriminators(target)
    fake = state.discriminators(output)
    own = discriminator_loss(real, fake, kind=kind)
    report["discriminator"] = own
    if draw.update_discriminators:
        (own / state.config.accumulate).backward(
            inputs=list(state.discriminators.parameters()), retain_graph=True
        )
    return {
        "adversarial": generator_adversarial_loss(fake, kind=kind),
        "feature_matching": feature_matching_loss(real, fake),
    }


def _autoencode(state: TrainState, wav: Tensor, seeds: Tensor, draw: StepDraw) -> Reconstruction:
    """Stage 1: patchify and back, and masked frames with Transformers of their own."""
    with state.convolutions():
        frames = state.model.patchify(wav).float()  # [B, T, D]
        output = state.model.unpatchify(frames).float()
    direct = {}
    if state.masked is not None:
        with state.transformers():
            direct["masked"] = state.masked(frames, seeds, None)
    return Reconstruction(wav=output, target=wav, direct=direct)


def _tokenise(state: TrainState, wav: Tensor, seeds: Tensor, draw: StepDraw) -> Reconstruction:
    """Stage 2: the whole path through the codes."""
    model, config, window = state.model, state.config, draw.frames_per_query
    wav = whole_windows(wav, model.config.hop_length * window)
    with state.convolutions(), _no_grad_if(config.freeze_patchify):
        frames = model.patchify(wav).float()  # [B, T, D]
    heard = _hear(state, wav)
    with state.transformers():
        queries = model.encoder(frames, window).float()  # [B, Q, D]
        latent, first, direct = _quantise(state, queries, seeds)
        decoded = model.decoder(latent, window).float()  # [B, T, D]
        if state.spectrum is not None:
            direct["spectrum"] = state.spectrum(latent, wav, window)
        if state.phones is not None:
            direct["phones"] = state.phones(latent, heard, window)
        if state.first_phones is not None and first is not None:
            direct["first_phones"] = state.first_phones(first, heard, window)
        if state.masked is not None:
            direct["masked"] = state.masked(frames, seeds, _frame_encoder(model, window))
    if config.weight_latent > 0:
        direct["latent"] = latent_distance(decoded, frames)
    output = _speak(state, decoded, wav, direct)
    return Reconstruction(wav=output, target=wav, direct=direct, heard=heard)


def _speak(state: TrainState, frames: Tensor, wav: Tensor, direct: dict[str, Tensor]) -> Tensor:
    """Waveform ``[B, 1, S]`` of decoded frames; adds the loss of the pitch that they name."""
    unpatchify = state.model.unpatchify
    if not isinstance(unpatchify, HarmonicVocoder):
        with state.convolutions():
            return unpatchify(frames).float()
    said = unpatchify.describe(frames)
    if state.pitch_loss is not None:
        direct["pitch"] = state.pitch_loss(said.pitch, wav)
    return unpatchify.render(said)[0]


def _hear(state: TrainState, wav: Tensor) -> Tensor | None:
    """Phones of the recording, in the precision in which the decoded one is heard: no autocast."""
    return None if state.listener is None else state.listener.hear(wav)


def _quantise(
    state: TrainState, queries: Tensor, seeds: Tensor
) -> tuple[Tensor, Tensor | None, dict[str, Tensor]]:
    """What the decoder gets of the queries ``[B, Q, D]``, the first layer's part, and losses."""
    model = state.model
    if not model.quantizer.started:  # before quantize_start
        return queries, None, {}
    quantized = model.quantizer(queries)
    direct = {"commitment": quantized.commitment_loss}
    # Quantizer dropout leaves some steps without the deeper layers: nothing to predict then.
    whole = quantized.layers.shape[2] == model.config.num_codebooks
    if state.autoregressive is not None and whole:
        direct["autoregressive"] = state.autoregressive(quantized.layers)
    share = state.config.quantize_probability
    latent = _sometimes_raw(share, quantized.quantized, queries, seeds)
    return latent, quantized.layers[:, :, 0], direct


def _redecode(state: TrainState, wav: Tensor, seeds: Tensor, draw: StepDraw) -> Reconstruction:
    """Decoder-only adaptation: the codes come from the frozen half, as at inference."""
    model, window = state.model, draw.frames_per_query
    wav = whole_windows(wav, model.config.hop_length * window)
    with torch.no_grad():
        frames = model.patchify(wav)
        queries = model.encoder(frames, window)
        latent = model.quantizer(queries).quantized
    with state.transformers():
        decoded = model.decoder(latent, window).float()
    direct = {}
    if state.config.weight_latent > 0:
        direct["latent"] = latent_distance(decoded, frames)
    output = _speak(state, decoded, wav, direct)
    return Reconstruction(wav=output, target=wav, direct=direct, heard=_hear(state, wav))


RECONSTRUCT: dict[str, Callable[[TrainState, Tensor, Tensor, StepDraw], Reconstruction]] = {
    "1": _autoencode,
    "2": _tokenise,
    "adapt": _redecode,
}


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


def latent_distance(decoded: Tensor, frames: Tensor) -> Tensor:
    """Distance of decoded frames to patchify's, relative to how much those vary (ours).

    ``|d - e|_1 / mean |e - mean e|`` with a smooth corner below one tenth, mean of ``[B, T, D]``.
    """
    frames = frames.detach()
    scale = (frames - frames.mean(dim=1, keepdim=True)).abs().mean(dim=(1, 2), keepdim=True)
    scale = scale.clamp_min(1e-5)
    return torch.nn.functional.smooth_l1_loss(decoded / scale, frames / scale, beta=0.1)


def _sometimes_raw(share: float, quantized: Tensor, queries: Tensor, seeds: Tensor) -> Tensor:
    """Quantised queries for this share of the crops, raw ones for the rest (paper.md 4.2)."""
    if share >= 1:
        return quantized
    mixed = (seeds * 6364136223846793005 + 1442695040888963407) >> 33  # one LCG step
    chosen = (mixed % 65536).float() / 65536 < share  # [B], where the seeds are: on the CPU
    return torch.where(chosen[:, None, None].to(queries.device), quantized, queries)


def _frame_encoder(model: ALMTokenizer, window: int) -> Callable[[Tensor], Tensor]:
    """The query encoder's Transformer on frames alone: no query tokens in MAE (paper.md 5.1)."""
    return lambda frames: model.encoder.encode_frames(frames, window)


def _no_grad_if(frozen: bool) -> AbstractContextManager[None]:
    return torch.no_grad() if frozen else nullcontext()
