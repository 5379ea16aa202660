"""LoRA of peft on every linear layer of the codec: merged as unmerged, removed without trace."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from almtok.codec.config import ALMTokenizerConfig
from almtok.codec.model import ALMTokenizer
from almtok.core.linear import Linear, linear, linear_gelu


def make(**overrides: Any) -> ALMTokenizer:
    torch.manual_seed(0)
    return ALMTokenizer(ALMTokenizerConfig.preset("tiny", **overrides)).eval()


@torch.no_grad()
def outputs(codec: ALMTokenizer) -> list[Tensor]:
    """The queries of a waveform and the waveform of codes: what is continuous."""
    config = codec.config
    generator = torch.Generator().manual_seed(0)
    w = 6
    frames = torch.randn(1, 4 * w, config.hidden_size, generator=generator)
    codes = torch.randint(config.codebook_size, (1, config.num_codebooks, 4), generator=generator)
    return [codec.encoder(frames, w), codec.decode(codes, frames_per_query=w).audio_values]


def distance(one: list[Tensor], two: list[Tensor]) -> float:
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("unpatchify", ["mirror", "harmonic", "istft"])
def test_merged_is_as_unmerged(unpatchify: str) -> None:
    codec = make(unpatchify=unpatchify)
    before = outputs(codec)
    linear_layers = [name for name, m in codec.named_modules() if isinstance(m, torch.nn.Linear)]
    config = LoraConfig(r=2, target_modules=linear_layers, init_lora_weights=False)
    lora = get_peft_model(codec, config).eval()
    after = outputs(codec)
    assert distance(after, before) > 1e-2
    lora.merge_adapter()
    assert distance(outputs(codec), after) < 1e-4
    lora.unmerge_adapter()
    assert distance(outputs(codec), after) < 1e-4
    with lora.disable_adapter():
        assert distance(outputs(codec), before) < 1e-4  # unmerging rounds
    lora.merge_and_unload()
    assert distance(outputs(codec), after) < 1e-4
    assert not any("lora" in name or "base_layer" in name for name in codec.state_dict())


def test_removed_without_trace() -> None:
    codec = make()
    before = outputs(codec)
    config = LoraConfig(r=2, target_modules=["ffn_in", "qkv"], init_lora_weights=False)
    lora = get_peft_model(codec, config).eval()
    assert distance(outputs(codec), before) > 1e-3
    with lora.disable_adapter():
        assert distance(outputs(codec), before) < 1e-5
    lora.unload()
    assert distance(outputs(codec), before) == 0


@torch.no_grad()
def test_the_activation_comes_after_a_wrapped_map() -> None:
    layer = Linear(4, 5)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    fused = linear_gelu(layer, x)
    assert torch.equal(fused, linear(x, layer.weight, layer.bias, "gelu"))
    twice = torch.nn.Sequential(layer, torch.nn.Identity())
    assert torch.allclose(linear_gelu(twice, x), fused, atol=1e-6)


@torch.no_grad()
def test_a_base_layer_sees_what_is_written_through_data() -> None:
    parent = torch.nn.Module()
    parent.base_layer = layer = Linear(64, 64, bias=False)
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    layer(x)
    layer.weight.data += 1
    assert torch.allclose(layer(x), x @ layer.weight.T, atol=1e-4)
    parent.other = layer
    packed = layer(x)
    layer.weight.data += 1
    parent.again = layer  # as when a wrapper gives it back
    assert torch.allclose(layer(x), x @ layer.weight.T, atol=1e-4)
    assert not torch.allclose(layer(x), packed, atol=1)


def test_weights_written_through_data_count_from_the_next_evaluation_on() -> None:
    codec = make().eval()
    before = outputs(codec), codec.fingerprint
    for parameter in codec.parameters():
        parameter.data.mul_(0.5)
    codec.eval()
    fresh = make().eval()
    fresh.load_state_dict(codec.state_dict())
    assert distance(outputs(codec), outputs(fresh)) == 0
    assert distance(outputs(codec), before[0]) > 0
    assert codec.fingerprint == fresh.fingerprint != before[1]
