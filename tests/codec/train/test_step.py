"""One optimiser step: who gets which gradient, and what a bad step leaves behind (nothing)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from almtok.codec.losses.adversarial import (
    discriminator_loss,
    feature_matching_loss,
    generator_adversarial_loss,
)
from almtok.codec.phonemes import PhonemeClassifier, PhonemeClassifierConfig
from almtok.codec.train.config import CodecTrainConfig
from almtok.codec.train.state import TrainState
from almtok.codec.train.step import FORWARD, draw_step, micro_step, whole_windows
from almtok.codec.train.update import micro_batch_size, optimizer_step
from almtok.core.data import SegmentBatch
from almtok.core.training.loop import Requests
from almtok.core.training.optimizer import gradient_norm, make_adamw

from .toy import build_state

Make = Callable[..., CodecTrainConfig]
Batch = Callable[..., SegmentBatch]


def snapshot(state: TrainState) -> dict[str, torch.Tensor]:
    return {
        f"{stem}/{name}": value.detach().clone()
        for stem, group in state.tensors().items()
        for name, value in group.items()
    }


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    return {
        name
        for name in before.keys() | after.keys()
        if name not in before or name not in after or not torch.equal(before[name], after[name])
    }


def parts(names: set[str]) -> set[str]:
    return {name.split("/")[1].split(".")[0] for name in names if name.startswith("model/")}


def run(state: TrainState, *batches: SegmentBatch, steps: int = 1) -> None:
    for _ in range(steps):
        optimizer_step(state, batches, Requests())


@pytest.mark.parametrize(
    ("stage", "moved"),
    [
        ("1", {"patchify", "unpatchify"}),
        ("2", {"encoder", "quantizer", "decoder", "unpatchify"}),
        ("adapt", {"decoder", "unpatchify"}),
    ],
)
def test_each_stage_moves_its_parts_only(
    toy_config: Make, toy_batch: Batch, stage: str, moved: set[str]
) -> None:
    state = build_state(toy_config(stage, freeze_patchify=True, init_from="x"))
    before, fingerprint = snapshot(state), state.model.fingerprint
    codes = state.model.encode(toy_batch().wav).audio_codes
    run(state, toy_batch(), steps=4)
    assert parts(changed(before, snapshot(state))) == moved
    if stage == "adapt":
        assert state.model.fingerprint == fingerprint
        assert torch.equal(state.model.encode(toy_batch().wav).audio_codes, codes)
    elif stage == "2":
        assert state.model.fingerprint != fingerprint


@pytest.mark.parametrize("unpatchify", ["mirror", "harmonic", "istft"])
def test_every_trained_weight_of_stage_2_gets_a_gradient(
    toy_config: Make, toy_batch: Batch, unpatchify: str
) -> None:
    """The straight-through estimator, masked frames, AR and pitch reach what they should."""
    values = toy_config("2").model
    config = toy_config("2", weight_latent=0.1, model={**values, "unpatchify": unpatchify})
    state = build_state(config)
    run(state, toy_batch())  # the codebooks start on the first batch
    state.generator_optimizer.zero_grad()
    draw = draw_step(config, 5, (2, 5))
    batch = toy_batch()
    losses = micro_step(state, batch.wav, batch.seeds, 5, draw)
    blind = [n for n, p in state.generator_parameters.items() if p.grad is None]
    assert blind == []
    encoder = [p for n, p in state.generator_parameters.items() if "encoder.transformer" in n]
    assert gradient_norm(encoder) > 0
    assert losses.keys() == {
        "time", "mel", "adversarial", "feature_matching", "discriminator",
        "masked", "autoregressive", "commitment", "latent",
        *(["pitch"] if unpatchify == "harmonic" else []),
    }  # fmt: skip


def test_the_encoder_learns_through_the_codes_alone(toy_config: Make, toy_batch: Batch) -> None:
    """Straight through: only losses on the waveform, and the encoder still has a gradient."""
    off = {f"weight_{n}": 0.0 for n in ("masked", "autoregressive", "commitment")}
    config = toy_config("2", adversarial_start=-1, **off)
    state = build_state(config)
    run(state, toy_batch())
    state.generator_optimizer.zero_grad()
    batch = toy_batch()
    micro_step(state, batch.wav, batch.seeds, 1, draw_step(config, 1, (2, 5)))
    named = state.generator_parameters.items()
    assert gradient_norm(p for n, p in named if n.startswith("model.encoder.")) > 0


INNER = {
    "1": {"masked": 0.4},
    "2": {"masked": 0.4, "autoregressive": 0.6, "commitment": 0.5, "latent": 0.2},
    "adapt": {"latent": 0.2},
}
OUTER = {"time": 0.3, "mel": 0.7, "adversarial": 2.0, "feature_matching": 1.3}


@pytest.mark.parametrize("stage", ["1", "2", "adapt"])
@pytest.mark.parametrize("balancer", [True, False])
@pytest.mark.parametrize("update", [True, False])
def test_the_gradient_is_that_of_the_weighted_losses(
    toy_config: Make, toy_batch: Batch, stage: str, balancer: bool, update: bool
) -> None:
    """All losses, written out; the balancer makes their norms at the output their weights."""
    weights = {f"weight_{name}": value for name, value in {**OUTER, **INNER[stage]}.items()}
    config = toy_config(stage, init_from="x", balancer=balancer, adversarial_start=0, **weights)
    state, batch = build_state(config), toy_batch()
    state.model.eval()  # nothing moves from here to the next pass
    draw = replace(draw_step(config, 0, (2, 5)), frames_per_query=4, update_discriminators=update)
    losses = micro_step(state, batch.wav, batch.seeds, 0, draw)
    named = {**state.generator_parameters, **state.discriminator_parameters}
    found = {name: parameter.grad for name, parameter in named.items()}
    for parameter in named.values():
        parameter.grad = None

    forward, inner = FORWARD[stage](state, batch.wav, batch.seeds, draw)
    output, target, judges = forward.output, forward.target, state.discriminators
    assert output is not None and judges is not None
    judges.requires_grad_(False)
    real, fake = judges(target), judges(output)
    judges.requires_grad_(True)
    outer = {
        "time": (output - target).abs().mean(),
        "mel": state.mel_loss(output, target),
        "adversarial": generator_adversarial_loss(fake),
        "feature_matching": feature_matching_loss(real, fake),
    }
    total = torch.stack([INNER[stage][name] * inner[name] for name in INNER[stage]]).sum()
    for name, loss in outer.items():
        factor = OUTER[name]
        if balancer:
            (gradient,) = torch.autograd.grad(loss, output, retain_graph=True)
            norm = len(output) * gradient.flatten(1).norm(dim=1).mean()
            factor = factor / sum(OUTER.values()) / float(norm)
        total = total + factor * loss
    total.backward()
    if update:
        discriminator_loss(judges(target), judges(output.detach())).backward()

    assert losses.keys() == {*OUTER, *INNER[stage], "discriminator"}
    for name, loss in {**outer, **inner}.items():
        torch.testing.assert_close(losses[name], loss.detach(), atol=1e-5, rtol=1e-4)
    for name, parameter in named.items():
        one, other = found[name], parameter.grad
        if one is None or other is None:
            assert one is other, name
            continue
        size = float(other.norm())
        assert float((one - other).norm()) <= 1e-3 * size + 1e-6, name


@pytest.mark.parametrize("balancer", [True, False])
def test_the_generators_gradient_is_the_same_whether_or_not_discriminators_learn(
    toy_config: Make, toy_batch: Batch, balancer: bool
) -> None:
    """Their own loss leaves nothing at the output, where the generator's losses meet."""
    config, batch = toy_config("1", balancer=balancer, adversarial_start=0), toy_batch()
    found = []
    for update in (True, False):
        state = build_state(config)
        draw = replace(draw_step(config, 0, (2, 5)), update_discriminators=update)
        micro_step(state, batch.wav, batch.seeds, 0, draw)
        found.append([p.grad for p in state.generator_parameters.values()])
    for learns, rests in zip(*found, strict=True):
        torch.testing.assert_close(learns, rests, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("balancer", [True, False])
@pytest.mark.parametrize("update", [True, False])
def test_the_two_sides_never_see_each_others_gradient(
    toy_config: Make, toy_batch: Batch, update: bool, balancer: bool
) -> None:
    """Discriminator loss: no generator gradient. Generator losses: no discriminator gradient."""
    config = toy_config("1", balancer=balancer, adversarial_start=0)
    state, batch = build_state(config), toy_batch()
    assert state.discriminators is not None
    draw = replace(draw_step(config, 5, (2, 5)), update_discriminators=update)

    def gradients(weights: dict[str, float]) -> tuple[list[torch.Tensor | None], ...]:
        state.config = replace(config, **{f"weight_{k}": v for k, v in weights.items()})
        if state.balancer is not None:
            state.balancer.weights = state.config.balanced_weights
        for parameters in (state.generator_parameters, state.discriminator_parameters):
            for parameter in parameters.values():
                parameter.grad = None
        micro_step(state, batch.wav, batch.seeds, 5, draw)
        return (
            [p.grad for p in state.generator_parameters.values()],
            [p.grad for p in state.discriminator_parameters.values()],
        )

    quiet = {"time": 0.0, "mel": 0.0, "masked": 0.0}
    weak = gradients({**quiet, "adversarial": 1e-30, "feature_matching": 0.0})
    strong = gradients({**quiet, "adversarial": 1.0, "feature_matching": 1.0})
    # However strong the generator's losses, the discriminators' gradient is their own loss's.
    for one, other in zip(weak[1], strong[1], strict=True):
        if not update:
            assert one is None and other is None
        else:
            assert one is not None and other is not None and torch.equal(one, other)
    if balancer:  # its generator gradient has one norm whatever the weights
        return
    # And none of that loss reaches the generator.
    assert max(float(g.abs().max()) for g in weak[0] if g is not None) < 1e-25
    assert max(float(g.abs().max()) for g in strong[0] if g is not None) > 1e-6


def test_accumulated_gradients_are_those_of_the_whole_batch(
    toy_config: Make, toy_batch: Batch
) -> None:
    whole = toy_batch(4)
    halves = [
        SegmentBatch(whole.wav[s], whole.ids[s], whole.domains[s], whole.seeds[s])
        for s in (slice(0, 2), slice(2, 4))
    ]
    config = toy_config("1", balancer=False, adversarial_start=0, discriminator_probability=1.0)
    norms = []
    for accumulate, batches in ((1, [whole]), (2, halves)):
        state = build_state(replace(config, accumulate=accumulate))
        assert micro_batch_size(state.config, 1) == 4 // accumulate
        report = optimizer_step(state, batches, Requests())
        norms.append((*report.norms.values(), float(report.losses["mel"])))
        assert report.norms.keys() == {"generator", "discriminator"}
    assert norms[0] == pytest.approx(norms[1], rel=1e-4)


@pytest.mark.parametrize("stage", ["1", "2"])
@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_poisoned_batch_leaves_no_trace(
    toy_config: Make, toy_batch: Batch, stage: str, poison: float
) -> None:
    state = build_state(toy_config(stage))
    run(state, toy_batch(), steps=3)
    before = snapshot(state)
    bad = toy_batch(seed=1)
    bad.wav[2, 0, 100] = poison
    report = optimizer_step(state, [bad], Requests())
    assert report.problem == "the audio is not finite"
    assert changed(before, snapshot(state)) == set()
    assert (state.step, state.skipped, state.skipped_in_a_row) == (4, 1, 1)
    run(state, toy_batch())
    assert (state.skipped, state.skipped_in_a_row) == (1, 0)


@pytest.mark.parametrize("stage", ["1", "2"])
def test_nan_and_exploding_gradients_are_skipped(
    toy_config: Make, toy_batch: Batch, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = build_state(toy_config(stage))
    run(state, toy_batch(), steps=3)
    before = snapshot(state)
    weight = next(p for n, p in state.generator_parameters.items() if "unpatchify" in n)
    for value, words in ((float("nan"), "gradient is nan"), (1e9, "gradient exploded: norm")):
        hook = weight.register_hook(lambda gradient, value=value: gradient * 0 + value)
        report = optimizer_step(state, [toy_batch(seed=2)], Requests())
        hook.remove()
        assert words in str(report.problem)
        assert changed(before, snapshot(state)) == set()
    assert state.skipped_in_a_row == 2


def test_autocast_leaves_losses_and_codebooks_in_float32(
    toy_config: Make, toy_batch: Batch
) -> None:
    for precision in ("bf16", "bf16-all"):
        state = build_state(toy_config("2", precision=precision))
        report = optimizer_step(state, [toy_batch()], Requests())
        assert report.problem is None
        assert {loss.dtype for loss in report.losses.values()} == {torch.float32}
        assert {b.dtype for b in state.model.quantizer.buffers() if b.is_floating_point()} == {
            torch.float32
        }


def test_crops_are_cut_to_whole_windows() -> None:
    wav = torch.zeros(1, 1, 100)
    assert whole_windows(wav, 30).shape == (1, 1, 90)
    with pytest.raises(ValueError, match="one window of 101 samples, got 100"):
        whole_windows(wav, 101)


def test_norms_biases_and_tokens_do_not_decay(toy_config: Make) -> None:
    state = build_state(toy_config("2", weight_decay=0.1, autoregressive_lr_scale=3.0))
    parameters = state.generator_parameters
    groups = {
        id(p): group for group in state.generator_optimizer.param_groups for p in group["params"]
    }
    for name, parameter in parameters.items():
        group = groups[id(parameter)]
        if name.endswith(("bias", "norm.weight", "gain", "encoder.query", "decoder.mask")):
            assert group["weight_decay"] == 0, name
        if name.endswith(("qkv.weight", "project_in.weight")):
            assert group["weight_decay"] == pytest.approx(0.1), name
        scale = 3.0 if name.startswith("autoregressive.") else 1.0
        assert group["peak_lr"] == pytest.approx(1e-3 * scale)


def test_an_optimiser_step_is_seen_by_caches_of_weights() -> None:
    """Fused AdamW leaves version counters alone; packed linears would keep the old weights."""
    from almtok.core.training.optimizer import mark_changed

    parameter = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = make_adamw({"a": parameter}, lr=0.1, betas=(0.9, 0.9), weight_decay=0)
    before = parameter._version
    parameter.grad = torch.ones(2, 2)
    optimizer.step()
    mark_changed([parameter])
    assert parameter._version > before


@pytest.mark.parametrize("stage", ["2", "adapt"])
def test_words_are_heard_in_one_precision_and_only_where_a_loss_asks(
    stage: str, toy_config: Make, toy_batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, init = tmp_path / "phoneme_classifier.safetensors", tmp_path / "codec"
    PhonemeClassifier(PhonemeClassifierConfig(width=16, num_bands=16)).save(file)
    build_state(toy_config("2")).model.save_pretrained(init)
    given = {"phoneme_classifier": str(file), "init_from": str(init), "precision": "bf16-all"}
    assert build_state(toy_config(stage, **given)).phoneme_classifier is None
    state = build_state(toy_config(stage, **given, weight_recognition=1.0))
    assert state.phoneme_classifier is not None
    precisions = []
    forward = state.phoneme_classifier.forward
    monkeypatch.setattr(
        state.phoneme_classifier,
        "forward",
        lambda features: precisions.append(torch.is_autocast_enabled("cpu")) or forward(features),
    )
    run(state, toy_batch())
    # The recording and what was decoded of it: otherwise rounding would be taken for an error.
    assert precisions == [False, False]


@pytest.mark.parametrize("unpatchify", ["mirror", "harmonic", "istft"])
@pytest.mark.parametrize("stage", ["2", "adapt"])
def test_every_rate_of_2_to_10_frames_trains_every_loss(
    toy_config: Make, toy_batch: Batch, unpatchify: str, stage: str
) -> None:
    """Crops of one length give whole windows of every w, and all losses are finite."""
    model = {**toy_config("2").model, "unpatchify": unpatchify, "frames_per_query_range": [2, 10]}
    weights = {"latent": 0.1, "pitch": 0.1, **({"spectrum": 0.1} if stage == "2" else {})}
    changes = {f"weight_{name}": weight for name, weight in weights.items()}
    config = toy_config(stage, model=model, init_from="x", adversarial_start=0, **changes)
    state = build_state(config)
    batch = toy_batch(frames=47)  # of no w a multiple
    run(state, batch)  # initializes the codebooks
    draw = draw_step(config, 1, (2, 10))
    for w in range(2, 11):
        losses = micro_step(state, batch.wav, batch.seeds, 1, replace(draw, frames_per_query=w))
        expected = set(config.balanced_weights) | set(config.direct_weights)
        assert expected - losses.keys() <= ({"pitch"} if unpatchify != "harmonic" else set())
        assert all(bool(torch.isfinite(loss)) for loss in losses.values()), w


def test_all_rates_are_drawn_equally_often(toy_config: Make) -> None:
    config = toy_config("2")
    drawn = [draw_step(config, step, (2, 10)).frames_per_query for step in range(9_000)]
    counts = [drawn.count(w) for w in range(2, 11)]
    assert sum(counts) == len(drawn)
    assert all(abs(count - 1_000) < 5 * 1_000**0.5 for count in counts)
