"""The mel discriminators: the paper's numbers, shapes, any length, reduced sets."""

import pytest
import torch

from almtok.codec.losses.discriminators import MelDiscriminators, MelDiscriminatorsConfig

TOY = MelDiscriminatorsConfig(hop_lengths=(64, 256), channel_divisor=16)


def test_defaults_are_the_paper_s_six() -> None:
    model = MelDiscriminators()
    assert [d.hop_length for d in model.discriminators] == [32, 64, 128, 256, 512, 1024]
    for discriminator, c in zip(model.discriminators, (64, 128, 256, 512, 512, 512), strict=True):
        convs = discriminator.convs
        assert [conv.in_channels for conv in convs][0] == 2
        assert [conv.out_channels for conv in convs] == [
            c // 32, c // 16, c // 8, c // 4, c // 2, c, 1,
        ]  # fmt: skip
        assert [conv.stride[0] for conv in convs] == [1, 2, 1, 2, 1, 2, 1]
        assert all(conv.kernel_size == (3, 3) for conv in convs)
        assert all(conv.padding_mode == "reflect" for conv in convs)
        assert all(torch.nn.utils.parametrize.is_parametrized(conv, "weight") for conv in convs)


def test_parameter_count_by_hand() -> None:
    expected = 0
    for c in (64, 128, 256, 512, 512, 512):
        widths = [2, c // 32, c // 16, c // 8, c // 4, c // 2, c, 1]
        for inward, outward in zip(widths, widths[1:], strict=False):
            expected += 9 * inward * outward + 2 * outward  # weight, its norm, bias
    count = sum(p.numel() for p in MelDiscriminators().parameters())
    assert count == expected == 5_256_372


@pytest.mark.parametrize("length", [1, 100, 255, 8191, 12_000])
def test_any_length_also_below_the_window(length: int) -> None:
    outputs = MelDiscriminators(MelDiscriminatorsConfig(channel_divisor=16))(
        0.1 * torch.randn(2, 1, length)
    )
    assert len(outputs) == 6
    for output in outputs:
        assert output.logits.shape[:2] == (2, 1) and min(output.logits.shape[2:]) >= 2
        assert torch.isfinite(output.logits).all()
        assert len(output.features) == 6


def test_shapes_of_maps() -> None:
    config = MelDiscriminatorsConfig(hop_lengths=(256,), channel_divisor=4)
    (output,) = MelDiscriminators(config)(torch.randn(2, 1, 256 * 16))
    shapes = [tuple(feature.shape) for feature in output.features]
    assert shapes == [
        (2, 4, 17, 96), (2, 8, 9, 48), (2, 16, 9, 48), (2, 32, 5, 24), (2, 64, 5, 24),
        (2, 128, 3, 12),
    ]  # fmt: skip
    assert output.logits.shape == (2, 1, 3, 12)


def test_samples_do_not_see_each_other() -> None:
    model, wav = MelDiscriminators(TOY), torch.randn(3, 1, 4000)
    alone = [output.logits for output in model(wav[1:2])]
    together = [output.logits[1:2] for output in model(wav)]
    for a, b in zip(alone, together, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_both_input_channels_have_the_same_order_of_magnitude() -> None:
    model = MelDiscriminators(TOY)
    for level in (0.3, 0.01):
        spectrum = model.discriminators[0].spectrum(level * torch.randn(1, 1, 8000))
        assert spectrum.shape == (1, 2, 126, 64)
        assert float(spectrum.abs().max()) < 3.0
    assert float(model.discriminators[0].spectrum(torch.zeros(1, 1, 8000))[:, 1].max()) == -1.0


def test_only_asks_the_chosen_ones() -> None:
    model, wav = MelDiscriminators(TOY), torch.randn(1, 1, 4000)
    (chosen,) = model(wav, only=[1])
    assert torch.equal(chosen.logits, model(wav)[1].logits)


def test_a_toy_set_learns_to_tell_noise_from_a_tone() -> None:
    from almtok.codec.losses.adversarial import discriminator_loss

    torch.manual_seed(0)
    model = MelDiscriminators(TOY)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.8, 0.99))
    tone = 0.1 * torch.sin(torch.arange(4800) * 0.2).expand(2, 1, -1)
    first, last = None, None
    for _ in range(30):
        loss = discriminator_loss(model(tone), model(0.1 * torch.randn(2, 1, 4800)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        last = float(loss.detach())
        first = last if first is None else first
    assert last < 0.5 * first


def test_twice_the_audio_is_twice_the_work() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    def flops(samples: int) -> int:
        with FlopCounterMode(display=False) as counter:
            MelDiscriminators(TOY)(torch.zeros(1, 1, samples))
        return counter.get_total_flops()

    assert flops(48_000) / flops(24_000) == pytest.approx(2, rel=0.05)


def test_state_dict_round_trip() -> None:
    torch.manual_seed(1)
    first, second = MelDiscriminators(TOY), MelDiscriminators(TOY)
    second.load_state_dict(first.state_dict())
    wav = torch.randn(1, 1, 3000)
    assert torch.equal(first(wav)[0].logits, second(wav)[0].logits)


def test_errors_name_both_numbers() -> None:
    with pytest.raises(ValueError, match=r"must be among \(32, 64.*got \[48\]"):
        MelDiscriminatorsConfig(hop_lengths=(48,))
    with pytest.raises(ValueError, match="mels must have one entry per hop length, got 1 for 2"):
        MelDiscriminatorsConfig(hop_lengths=(48, 96), channels=(64, 64), mels=(32,))
    with pytest.raises(ValueError, match="got 4"):
        MelDiscriminatorsConfig(hop_lengths=(32,), mels=(4,))
    with pytest.raises(ValueError, match=r"\(2, 300\)"):
        MelDiscriminators(TOY)(torch.zeros(2, 300))
