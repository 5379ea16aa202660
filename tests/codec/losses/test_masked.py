"""MAE: defects 2 and 9 of paper.md 10.1, masks as functions of seeds alone."""

import pytest
import torch

from almtok.codec.losses.masked import MaskedFrames, MaskedFramesConfig

SMALL = MaskedFramesConfig(encoder_layers=1, decoder_layers=1, num_heads=2, layer_scale=1.0)


def build(config: MaskedFramesConfig = SMALL) -> MaskedFrames:
    torch.manual_seed(0)
    return MaskedFrames(16, config)


@pytest.mark.parametrize("mode", ["full", "causal"])
def test_prediction_has_no_gradient_from_hidden_frames(mode) -> None:
    # paper.md 10.1, defect 2: the decoder was given what it had to predict
    objective = build(
        MaskedFramesConfig(
            encoder_layers=1, decoder_layers=1, num_heads=2, layer_scale=1.0, mode=mode
        )
    )
    frames = torch.randn(2, 20, 16, requires_grad=True)
    masked = objective.mask(frames, torch.tensor([3, 4]))
    prediction = objective.predict(masked.frames)
    (prediction * torch.randn_like(prediction)).sum().backward()
    assert float(frames.grad[masked.mask].abs().max()) == 0.0
    assert (frames.grad[~masked.mask].abs().sum(dim=-1) > 0).all()


def test_hidden_frames_are_zero_and_the_others_stay() -> None:
    # paper.md 5.1, A
    frames = torch.randn(2, 20, 16)
    masked = build().mask(frames, torch.tensor([3, 4]))
    assert not masked.frames[masked.mask].any()
    assert torch.equal(masked.frames[~masked.mask], frames[~masked.mask])


def test_hidden_frames_do_not_change_the_prediction() -> None:
    objective, seeds = build(), torch.tensor([3])
    frames = torch.randn(1, 20, 16)
    mask = objective.mask(frames, seeds).mask
    other = torch.where(mask[..., None], torch.randn_like(frames), frames)
    first, second = (objective.predict(objective.mask(f, seeds).frames) for f in (frames, other))
    assert torch.equal(first, second)


def test_visible_context_reaches_the_prediction_of_hidden_frames() -> None:
    # paper.md 10.1, defect 9: its decoder saw masked positions only
    objective, seeds = build(), torch.tensor([3])
    frames = torch.randn(1, 20, 16, requires_grad=True)
    masked = objective.mask(frames, seeds)
    objective.predict(masked.frames)[masked.mask].square().sum().backward()
    assert (frames.grad[~masked.mask].abs().sum(dim=-1) > 0).any()


def test_loss_is_the_error_of_hidden_frames_only() -> None:
    objective, seeds = build(), torch.tensor([5, 6])
    frames = torch.randn(2, 30, 16)
    masked = objective.mask(frames, seeds)
    prediction = objective.predict(masked.frames)
    expected = torch.stack(
        [(prediction[i] - frames[i])[masked.mask[i]].square().mean() for i in range(2)]
    ).mean()
    torch.testing.assert_close(objective(frames, seeds), expected)


def test_loss_is_of_order_one_for_normalised_frames() -> None:
    objective = build()
    with torch.no_grad():
        objective.output.weight.zero_()
        objective.output.bias.zero_()
    loss = float(objective(torch.randn(4, 200, 16), torch.arange(4)).detach())
    assert loss == pytest.approx(1.0, abs=0.1)


def test_target_is_detached() -> None:
    # With an encoder that lets nothing through, the only way to the frames would be the target.
    objective, seeds = build(), torch.tensor([1])
    frames = torch.randn(1, 20, 16, requires_grad=True)
    objective(frames, seeds, lambda x: x.detach()).backward()
    assert frames.grad is None
    objective(frames, seeds).backward()
    assert float(frames.grad.abs().sum()) > 0


def test_a_given_encoder_is_used_and_trained() -> None:
    objective = build(MaskedFramesConfig(encoder_layers=0, decoder_layers=1, num_heads=2))
    assert objective.encoder is None
    encoder = torch.nn.Linear(16, 16)
    objective(torch.randn(1, 20, 16), torch.tensor([1]), encoder).backward()
    assert float(encoder.weight.grad.abs().sum()) > 0
    with pytest.raises(ValueError, match="encode must be an encoder"):
        objective(torch.randn(1, 20, 16), torch.tensor([1]))


def test_rates_and_seeds() -> None:
    objective = build()
    frames = torch.randn(64, 100, 16)
    mask = objective.mask(frames, torch.arange(64)).mask
    counts = mask.sum(dim=1)
    assert int(counts.min()) >= 20 and int(counts.max()) <= 30
    assert len(counts.unique()) > 5  # the rate differs between items (defect 9)
    assert len(mask.unique(dim=0)) == 64  # and so does the mask
    again = objective.mask(frames[10:12], torch.tensor([10, 11])).mask
    assert torch.equal(mask[10:12], again)  # whatever the batch around it
    before = torch.get_rng_state()
    objective.mask(frames, torch.arange(64))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("length", [1, 2, 3])
def test_even_the_shortest_hides_a_frame(length: int) -> None:
    objective = build()
    frames = torch.randn(2, length, 16)
    assert (objective.mask(frames, torch.arange(2)).mask.sum(dim=1) == 1).all()
    assert torch.isfinite(objective(frames, torch.arange(2)))


def test_two_halves_of_a_batch_average_to_the_whole() -> None:
    objective, frames, seeds = build(), torch.randn(4, 40, 16), torch.arange(4)
    halves = [objective(frames[i : i + 2], seeds[i : i + 2]) for i in (0, 2)]
    torch.testing.assert_close(sum(halves) / 2, objective(frames, seeds), rtol=1e-5, atol=1e-6)


def test_errors_name_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"\(2,\), got \(3,\)"):
        build().mask(torch.zeros(2, 5, 16), torch.arange(3))
    with pytest.raises(ValueError, match="got 0.5, 0.3"):
        MaskedFramesConfig(rate_low=0.5, rate_high=0.3)
