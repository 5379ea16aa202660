"""Faster parts: there while nothing is trained, and they compute what they stand for."""

import copy

import pytest
import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from almtok.lm.fused_linear import FusedLinear, fuse_linears, linear_groups, unfuse_linears
from almtok.lm.generation.sampling import GREEDY
from almtok.lm.inference import RowNorm, evaluating, evaluation
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


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (8, 1), (2, 5)])
@torch.no_grad()
def test_joined_maps_are_the_maps(bias, shape):
    one, x = Attention(bias), torch.randn(*shape, 24)
    plain = one(x)
    joined = fuse_linears(one)
    assert {type(m) for m in joined} == {FusedLinear} and one.o_proj not in joined
    assert_close(one(x), plain)
    assert_close([one.k_proj(x), one.q_proj(x)], [plain[1], plain[0]])  # in any order
    assert_close([one.v_proj(2 * x)], [one.v_proj(x + x)])
    one.k_proj.weight.mul_(2.0)  # a weight that changes is seen
    two = copy.deepcopy(one)
    unfuse_linears(joined)
    for map_ in joined:
        map_.__class__ = nn.Linear
    assert_close(one(x), two(x))
    assert "together" not in vars(one.q_proj)


def test_joined_maps_train_as_themselves():
    one, x = Attention(True), torch.randn(3, 24)
    joined = fuse_linears(one)
    sum(y.square().sum() for y in one(x)).backward()
    assert all(m.weight.grad.abs().sum() > 0 for m in joined)


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
            plain, kind = norm(given), type(norm)
            norm.__class__ = RowNorm
            tolerance = 1e-6 if dtype == torch.float32 else 1e-2
            torch.testing.assert_close(norm(given), plain, atol=tolerance, rtol=tolerance)
            norm.__class__ = kind


def test_afterwards_everything_is_as_before():
    lm = toy_lm().train()
    kinds = [type(m) for m in lm.modules()]
    x = torch.randint(0, 5, (1, 4, 4))
    before = lm(x).text_logits
    with evaluating(lm):
        inside = {type(m) for m in lm.modules()}
        assert {FusedLinear, RowNorm} <= inside and nn.Linear not in inside
        assert not any(kind.__name__.startswith("Llama") and "Norm" in kind.__name__
                       for kind in inside)  # fmt: skip
        torch.testing.assert_close(lm(x).text_logits, before, atol=1e-5, rtol=1e-5)
    assert [type(m) for m in lm.modules()] == kinds and all(m.training for m in lm.modules())


def test_the_last_of_several_at_work_switches_back():
    lm = toy_lm().train()
    kinds = [type(m) for m in lm.modules()]
    first, second = evaluation(lm), evaluation(lm)
    first()  # began first, and ends first
    assert {FusedLinear, RowNorm} <= {type(m) for m in lm.modules()} and not lm.training
    lm(torch.randint(0, 5, (1, 4, 4)))
    second()
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
