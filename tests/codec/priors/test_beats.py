"""BEATs against the reference's own numbers, stage by stage, with and without padding."""

import numpy as np
import pytest
import torch

from almtok.codec.priors.beats import (
    BEATs,
    length_mask,
    num_steps,
    reduce_mask,
)
from almtok.codec.priors.beats_attention import position_buckets
from almtok.codec.priors.beats_config import BEATsConfig
from almtok.codec.priors.fbank import num_frames

from .conftest import rule_weight

CLOSE = 2e-5


def assert_close(ours, reference, threshold=CLOSE):
    assert ours.shape == reference.shape
    assert (ours - reference).abs().max().item() <= threshold


def token_mask(small):
    frames = reduce_mask(small["in/padding_mask"], 133)
    return reduce_mask(frames, 64)


@pytest.mark.parametrize(
    ("name", "buckets", "distance"), [("bucket_small", 32, 40), ("bucket_base", 320, 800)]
)
def test_bucket_tables_exactly(small, name, buckets, distance):
    ours = position_buckets(torch.arange(-1500, 1501), buckets, distance)
    assert torch.equal(ours, small[f"table/{name}"].long())


def test_masks_exactly(small):
    frames = reduce_mask(small["in/padding_mask"], 133)
    assert torch.equal(frames, small["ref/mask_frames"].bool())
    assert torch.equal(reduce_mask(frames, 64), small["ref/mask_tokens"].bool())
    assert int((~token_mask(small)[1]).sum()) == 46


def test_patches(small_model, small):
    patches = small_model.patch_embedding(small["ref/fbank"][:, None])
    assert_close(patches, small["ref/patch_conv"])
    norm = small_model.layer_norm(small["ref/patch_conv"].flatten(2).transpose(1, 2))
    assert_close(norm, small["ref/patch_ln"])
    assert_close(small_model.embed(small["ref/fbank"]), small["ref/proj"])


def test_effective_positional_weight(small_model, small):
    assert_close(small_model.encoder.pos_conv[0].weight, small["table/pos_conv_weight"])


@pytest.mark.parametrize("masked", [True, False])
def test_positions(small_model, small, masked):
    tokens = small["ref/proj"]
    if masked:
        tokens = tokens.masked_fill(token_mask(small)[..., None], 0)
    reference = small["ref/pos_conv" if masked else "ref_nomask/pos_conv"]
    assert_close(small_model.encoder.positions(tokens), reference)


def test_position_bias(small_model, small):
    assert_close(
        small_model.encoder.layers[0].self_attn.position_bias(64), small["ref/pos_bias"], 0
    )


@pytest.mark.parametrize("masked", [True, False])
def test_gate(small_model, small, masked):
    group = "ref" if masked else "ref_nomask"
    attention = small_model.encoder.layers[0].self_attn
    queries = attention.q_proj(small[f"{group}/encoder_in"])
    gate = attention.gate(queries.unflatten(-1, (4, 16)).transpose(1, 2))
    assert_close(gate[..., 0], small[f"{group}/gate_0"])


@pytest.mark.parametrize("masked", [True, False])
def test_every_layer(small_model, small, masked):
    group, mask = ("ref", token_mask(small)) if masked else ("ref_nomask", None)
    output = small_model(small["ref/fbank"], mask)
    assert len(output.layers) == 4
    assert_close(output.layers[0], small[f"{group}/encoder_in"])
    for number in range(3):
        assert_close(output.layers[number + 1], small[f"{group}/layer_{number}"])
    assert_close(output.last, small[f"{group}/final"])
    time_mean = output.last.unflatten(1, (8, 8)).mean(2)
    assert_close(time_mean, small[f"{group}/time_mean"])


def test_attention_of_every_layer(small_model, small):
    heard = []
    hooks = [
        layer.self_attn.register_forward_hook(lambda module, inputs, output: heard.append(output))
        for layer in small_model.encoder.layers
    ]
    small_model(small["ref/fbank"], token_mask(small))
    for hook in hooks:
        hook.remove()
    for number, output in enumerate(heard):
        assert_close(output, small[f"ref/attn_{number}"])


def test_from_the_waveform(small_model, small):
    steps = small_model.step_features(list(small["in/waveform"]))
    assert_close(torch.stack(steps), small["ref_nomask/time_mean"])


def test_alone_equals_the_reference_alone(small_model, small):
    clip = small["in/waveform"][1, :14900]
    reference = small["ref_solo/final"]
    steps = small_model.step_features([clip])[0]
    assert_close(steps, reference[0].unflatten(0, (5, 8)).mean(1))


def test_alone_equals_batched(small_model, small):
    long, clip = small["in/waveform"][0], small["in/waveform"][1, :14900]
    assert torch.equal(length_mask([21600, 14900])[1], torch.arange(64) >= 40)
    together = small_model.step_features([long, clip])
    assert_close(together[0], small["ref_nomask/time_mean"][:1][0])
    assert_close(together[1], small["ref_solo/final"][0].unflatten(0, (5, 8)).mean(1))


def test_average_of_layers(small_model, small):
    mean = small_model.step_features(list(small["in/waveform"]), layers=(1, 3))
    wanted = (small["ref_nomask/layer_0"] + small["ref_nomask/layer_2"]) / 2
    assert_close(torch.stack(mean), wanted.unflatten(1, (8, 8)).mean(2))


@pytest.mark.parametrize("masked", [True, False])
def test_fine_tuned_probabilities(small, small_config, small_weights, masked):
    config = BEATsConfig.from_cfg(small_config | {"finetuned_model": True, "predictor_class": 5})
    model = BEATs(config).eval()
    head = {f"predictor.{name}": small[f"ft_sd/predictor.{name}"] for name in ("weight", "bias")}
    model.load_state_dict(small_weights | head, strict=True)
    with torch.no_grad():
        output = model(small["ref/fbank"], token_mask(small) if masked else None)
        probabilities = model.class_probabilities(output)
    group = "ft_ref" if masked else "ft_ref_nomask"
    assert_close(probabilities, small[f"{group}/probs"], 1e-5)


def test_a_pretrained_model_has_no_classes(small_model, small):
    with pytest.raises(ValueError, match="fine-tuned"):
        small_model.class_probabilities(small_model(small["ref/fbank"]))


@pytest.mark.parametrize(("seconds", "steps"), [(1, 6), (1.35, 8), (4, 24), (10, 62), (30, 187)])
def test_number_of_time_steps(seconds, steps):
    assert num_steps(int(seconds * 16000)) == steps
    assert num_steps(2800) == 1 and num_steps(2799) == 0
    assert num_frames(2800) == 16


def test_too_short_is_named(small_model):
    with pytest.raises(ValueError, match="2800 samples, got 2799"):
        small_model.step_features([torch.zeros(2799)])


@pytest.mark.slow
def test_published_size(base, base_facts, base_shapes):
    """12 layers, 12 heads, 128 taps, 320 buckets up to 800; 10 s with silence in it."""
    weights = {key: rule_weight(key, shape) for key, shape in base_shapes.items()}
    model = BEATs(BEATsConfig.from_cfg(base_facts["config"])).eval().requires_grad_(False)
    model.load_state_dict(weights, strict=True)
    assert sum(parameter.numel() for parameter in model.parameters()) == 90_311_792
    bias = model.encoder.layers[0].self_attn.position_bias(496)
    # Copies of weights. NumPy's normal numbers are made with the logarithm of the C library, whose
    # last bit is not the same in all of them: one rounding of a weight below 8.
    assert_close(bias[:, 0], base["ref/pos_bias_row0"], 2**-21)
    assert_close(bias[:, :, 0], base["ref/pos_bias_col0"], 2**-21)

    from almtok.codec.priors.fbank import normalized_fbank

    output = model(normalized_fbank(base["in/waveform"]))
    assert_close(output.last, base["ref/final"], 1e-4)
    means = [layer.unflatten(1, (62, 8)).mean(2) for layer in output.layers]
    assert_close(means[0], base["ref/encoder_in_time_mean"], 1e-4)
    assert_close(means[1], base["ref/layer_0_time_mean"], 1e-4)
    assert_close(means[6], base["ref/layer_5_time_mean"], 1e-4)
    assert_close(means[12], base["ref/final_time_mean"], 1e-4)
    assert np.isfinite(output.last.numpy()).all()


def test_names_of_the_published_state_dict(base_facts, base_shapes):
    with torch.device("meta"):
        model = BEATs(BEATsConfig.from_cfg(base_facts["config"]))
    ours = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert ours == base_shapes
    assert BEATsConfig() == BEATsConfig.from_cfg(base_facts["config"])
