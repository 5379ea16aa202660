"""Weights of 8 and 4 bits: close to the plain ones, a row's own matter, and for generation only."""

import pytest
import torch
from torch import nn

from almtok.lm.generation.sampling import GREEDY
from almtok.lm.lora import (
    LoraSettings,
    add_lora,
    load_adapter,
    merge_adapter,
    save_adapter,
    use_adapter,
)
from almtok.lm.quantize import KINDS, Int4Linear, Int8Linear, is_quantized, quantize

from ..toy import EOS, PATTERNS, toy_lm
from .conftest import EXAMPLES, learn
from .test_generate import LOOSE, assert_learned, same

pytestmark = pytest.mark.skipif(
    "fbgemm" not in torch.backends.quantized.supported_engines, reason="needs an x86 processor"
)


@torch.no_grad()
@pytest.mark.parametrize("bias", [False, True])
def test_a_map_is_close_and_small_rows_are_as_close_as_large_ones(bias):
    torch.manual_seed(0)
    plain = nn.Linear(96, 50, bias=bias)
    x = torch.randn(4, 96) * torch.tensor([1e-3, 0.1, 1.0, 100.0])[:, None]
    if bias:
        plain.bias.zero_()
    wanted, came = plain(x), Int8Linear(plain)(x)
    errors = (came - wanted).norm(dim=1) / wanted.norm(dim=1)
    assert float(errors.max()) < 0.02  # half a step of 1/127 here and there, and no more


@torch.no_grad()
@pytest.mark.parametrize("outputs", [50, 64])  # the kernel wants sixteens
def test_weights_of_4_bits_are_the_nearest_levels_of_their_group(outputs):
    torch.manual_seed(0)
    plain = nn.Linear(96, outputs)
    # On a grid of 16 levels that bfloat16 has: nothing is lost.
    levels = torch.randint(0, 16, (outputs, 3, 32))
    levels[..., 0], levels[..., 1] = 0, 15  # every group has both ends
    plain.weight.copy_(((levels - 8) * 0.25 + 0.5).flatten(1))
    x = torch.randn(4, 96).bfloat16().float()
    assert distance(Int4Linear(plain)(x), plain(x)) < 0.004  # of bfloat16
    # Elsewhere half a step of a fifteenth, of normal weights in groups of 32.
    plain = nn.Linear(96, outputs)
    plain.weight.normal_()
    assert distance(Int4Linear(plain)(x), plain(x)) < 0.11


@torch.no_grad()
def test_maps_that_4_bits_cannot_take_stay_as_they_are():
    model = nn.Sequential(nn.Linear(32, 40), nn.Linear(40, 64), nn.Linear(64, 8))
    quantize(model, kind="int4")
    assert [type(m) for m in model] == [Int4Linear, nn.Linear, Int4Linear]
    assert [m.num_bytes for m in (model[0], model[2])] == [32 * 40 * 5 // 8, 64 * 8 * 5 // 8]


@torch.no_grad()
@pytest.mark.parametrize("kind", [Int8Linear, Int4Linear])
def test_a_row_does_not_depend_on_its_neighbours(kind):
    torch.manual_seed(0)
    one = kind(nn.Linear(64, 48))
    x = torch.randn(5, 3, 64) * torch.logspace(-3, 2, 5)[:, None, None]
    apart = torch.stack([one(row[None])[0] for row in x])
    assert torch.equal(one(x), apart)


@torch.no_grad()
def test_zeros_give_the_bias_and_precision_is_kept():
    for kind in (Int8Linear, Int4Linear):
        one = kind(nn.Linear(32, 4, dtype=torch.bfloat16))
        y = one(torch.zeros(2, 32, dtype=torch.bfloat16))
        assert y.dtype == torch.bfloat16
        assert torch.equal(y.float(), one.bias.bfloat16().float().expand(2, 4))


@pytest.fixture(scope="module", params=[(p, k) for p in PATTERNS for k in KINDS], ids="-".join)
def small(request):
    """A toy that knows the examples by heart, with weights of few bits."""
    pattern, kind = request.param
    learned = learn(pattern)
    quantize(learned.lm, kind=kind)
    return learned


def test_what_was_learned_is_still_known(small):
    assert is_quantized(small.lm)
    assert_learned(small.lm.generate(**small.prompts(), eos_id=EOS, audio_sampling=GREEDY))


def test_a_batch_is_its_rows_by_few_bits_too(small):
    seeds = list(range(len(EXAMPLES)))
    together = small.lm.generate(**small.prompts(), seeds=seeds, **LOOSE)
    for number, example in enumerate(EXAMPLES):
        alone = small.lm.generate(**small.prompts([example]), seeds=[number], **LOOSE)
        assert same(together[number], alone[0])


@torch.no_grad()
def test_adapters_are_switched_and_their_matrices_are_not_rounded(tmp_path):
    made = add_lora(toy_lm(), LoraSettings(rank=2))
    for name, parameter in made.backbone.named_parameters():
        if "lora_B" in name:
            parameter.normal_(std=0.3)
    exact = toy_lm()
    rows = torch.randint(0, 16, (1, 6, 4), generator=torch.Generator().manual_seed(0))
    base = exact.advance(rows)
    small = load_adapter(toy_lm(), save_adapter(made, tmp_path / "adapter"))
    adapted = small.advance(rows)
    quantize(small)
    plain = {n.split(".lora_")[0] for n, m in small.named_modules() if type(m) is nn.Linear}
    assert plain and all("self_attn" in name or "mlp" in name for name in plain)
    assert distance(small.advance(rows), adapted) < 0.05 < distance(base, adapted)
    use_adapter(small, None)
    assert distance(small.advance(rows), base) < 0.05


def distance(one: torch.Tensor, two: torch.Tensor) -> float:
    """Relative."""
    return float((one - two).norm() / two.norm())


def test_what_cannot_be_done_is_said(tmp_path):
    lm = toy_lm()
    with pytest.raises(ValueError, match="one of int8, int4, got 'int2'"):
        quantize(lm, kind="int2")
    place = save_adapter(add_lora(toy_lm(), LoraSettings(rank=2)), tmp_path / "adapter")
    quantize(lm)
    with pytest.raises(ValueError, match="save before"):
        lm.save_pretrained(tmp_path / "saved")
    for impossible in (lambda: add_lora(lm), lambda: load_adapter(lm, place)):
        with pytest.raises(ValueError, match="before it is quantized"):
            impossible()
    with pytest.raises(ValueError, match="before it is quantized"):
        merge_adapter(lm)
    learned = learn("depth")
    quantize(learned.lm)
    with pytest.raises(ValueError, match="does not support int8"):
        learned.lm.generate(**learned.prompts(), eos_id=EOS, compile=True)
