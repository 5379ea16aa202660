"""Faster parts: there while nothing is trained, and they compute what they stand for."""

import copy

import pytest
import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from almtok.core.derived import Derived
from almtok.lm.generation.sampling import GREEDY
from almtok.lm.inference import (
    FusedLinear,
    PackedLinear,
    RowNorm,
    _replacement,
    evaluating,
    faster_layers,
    linear_groups,
)
from almtok.lm.lora import LoraSettings, add_lora
from almtok.lm.quantize import Int8Linear, quantize

from ..toy import EOS, toy_config, toy_lm
from .conftest import EXAMPLES, Learned


class Attention(nn.Module):
    """Maps as transformers names them."""

    def __init__(self, bias):
        super().__init__()
        torch.manual_seed(0)
        self.q_proj = nn.Linear(24, 32, bias=bias)
        self.k_proj = nn.Linear(24, 8, bias=bias)
        self.v_proj = nn.Linear(24, 8, bias=bias)
        self.o_proj = nn.Linear(32, 24, bias=bias)

    def forward(self, x):
        return [one(x) for one in (self.q_proj, self.k_proj, self.v_proj)]


def assert_close(a, b, tolerance=1e-6):
    for left, right in zip(a, b, strict=True):
        torch.testing.assert_close(left, right, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("pattern", ["depth", "delay"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (8, 1), (2, 5)])
@torch.no_grad()
def test_fused_layers_compute_the_same(bias, shape, pattern):
    backbone = {**toy_config().backbone.to_dict(), "attention_bias": bias}
    lm = toy_lm(backbone=backbone, pattern=pattern)
    attention, x = lm.backbone.model.layers[0].self_attn, torch.randn(*shape, 32)

    def outputs():
        return [attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)]

    plain = outputs()
    with evaluating(lm):
        assert type(attention.q_proj) is FusedLinear and type(attention.o_proj) is PackedLinear
        assert_close(outputs(), plain)
        assert_close([attention.k_proj(x), attention.q_proj(x)], [plain[1], plain[0]])
        assert_close([attention.v_proj(2 * x)], [attention.v_proj(x + x)])
        attention.k_proj.weight.mul_(2.0)  # an operation in place is noticed
        changed = outputs()
    assert_close(outputs(), changed)
    assert_close([copy.deepcopy(attention).k_proj(x)], changed[1:2])


def test_gradients_inside_the_context():
    lm = toy_lm()
    attention, x = lm.backbone.model.layers[0].self_attn, torch.randn(3, 32)
    with faster_layers(lm):
        sum(layer(x).square().sum() for layer in (attention.q_proj, attention.o_proj)).backward()
    assert attention.q_proj.weight.grad.abs().sum() > 0
    assert attention.o_proj.weight.grad.abs().sum() > 0


def test_maps_that_differ_or_are_wrapped_are_left_alone():
    one = Attention(True)
    one.k_proj = nn.Linear(24, 8, bias=False)
    assert not list(linear_groups(one))
    lm = toy_lm()
    assert list(linear_groups(lm.backbone))
    add_lora(lm, LoraSettings(rank=2, targets=("q_proj",)))
    assert {names for _, names in linear_groups(lm)} == {("gate_proj", "up_proj"), ("0", "1")}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 3])
@torch.no_grad()
def test_a_norm_is_the_norm(dtype, rows):
    torch.manual_seed(0)
    theirs, ours = LlamaRMSNorm(64, eps=1e-5), nn.RMSNorm(64, eps=1e-5)
    for norm in (theirs, ours):
        norm.to(dtype).weight.copy_(torch.rand(64))
        x = (torch.randn(1, rows, 64) * 3 + 1).to(dtype)
        for given in (x, torch.zeros_like(x), x * 1e-4):
            tolerance = 1e-6 if dtype == torch.float32 else 1e-2
            found = _replacement(RowNorm, norm, derived=Derived())(given)
            torch.testing.assert_close(found, norm(given), atol=tolerance, rtol=tolerance)


def test_afterwards_everything_is_as_before():
    lm = toy_lm().train()
    kinds, keys = [type(m) for m in lm.modules()], list(lm.state_dict())
    x = torch.randint(0, 5, (1, 4, 4))
    before = lm(x).text_logits
    with evaluating(lm):
        assert list(lm.state_dict()) == keys
        inside = {type(m) for m in lm.modules()}
        assert {FusedLinear, RowNorm} <= inside and nn.Linear not in inside
        assert not any(kind.__name__.startswith("Llama") and "Norm" in kind.__name__
                       for kind in inside)  # fmt: skip
        torch.testing.assert_close(lm(x).text_logits, before, atol=1e-5, rtol=1e-5)
    assert [type(m) for m in lm.modules()] == kinds and all(m.training for m in lm.modules())


def test_the_last_of_several_at_work_switches_back():
    lm = toy_lm().train()
    kinds = [type(m) for m in lm.modules()]
    first, second = faster_layers(lm), faster_layers(lm)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)  # began first, and ends first
    assert {FusedLinear, RowNorm} <= {type(m) for m in lm.modules()} and not lm.training
    lm(torch.randint(0, 5, (1, 4, 4)))
    second.__exit__(None, None, None)
    assert [type(m) for m in lm.modules()] == kinds and lm.training


@torch.no_grad()
def test_parts_of_8_bits_are_the_maps_of_8_bits():
    one, x = Attention(True), torch.randn(2, 1, 24)
    apart = [Int8Linear(m)(x) for m in (one.q_proj, one.k_proj, one.v_proj)]
    quantize(one)
    assert_close(one(x), apart, 1e-5)
    assert [m.num_bytes for m in (one.q_proj, one.k_proj)] == [24 * 32, 24 * 8]


@pytest.mark.parametrize("kv_heads", [1, 2])
def test_shared_keys_are_looked_at_as_transformers_does(kv_heads):
    backbone = {**toy_config().backbone.to_dict(), "num_key_value_heads": kv_heads}
    learned = Learned(toy_lm(backbone=backbone))
    options = dict(eos_id=EOS, audio_sampling=GREEDY, max_frames=12, min_frames=12)
    for examples in (EXAMPLES[:1], EXAMPLES[::2]):  # alone, and padded
        prompts = learned.prompts(examples)
        fast = learned.lm.generate(**prompts, **options)
        slow = learned.lm.generate(**prompts, **options, cache="dynamic")
        for a, b in zip(fast, slow, strict=True):
            assert torch.equal(a.codes, b.codes)
            assert a.log_probability == pytest.approx(b.log_probability, abs=1e-4)
