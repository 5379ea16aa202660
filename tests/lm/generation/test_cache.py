"""The cache that is written in place: the memory of transformers' own, without its copies."""

import pytest
import torch
from transformers import DynamicCache

import almtok.lm.generation.cache as cache_module
from almtok.lm.generation.cache import RowCache, attends_fully, new_cache
from almtok.lm.generation.sampling import GREEDY, SamplingConfig
from almtok.lm.quantize import quantize

from ..toy import EOS, toy_config, toy_lm
from .conftest import EXAMPLES, learn
from .test_generate import LOOSE, assert_learned, same


def test_it_holds_what_the_dynamic_one_holds(monkeypatch):
    monkeypatch.setattr(cache_module, "_FIRST_ROOM", 2)
    ours, theirs = RowCache(1, 40), DynamicCache()
    generator = torch.Generator().manual_seed(0)
    for length in (5, 1, 1, 1, 7, 1):
        k, v = torch.randn(2, 3, 2, length, 4, generator=generator)
        got, expected = ours.update(k, v, 0), theirs.update(k, v, 0)
        assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
        assert ours.get_seq_length() == theirs.get_seq_length()
    rows = torch.tensor([2, 0])
    ours.layers[0].batch_select_indices(rows)
    theirs.batch_select_indices(rows)
    k, v = torch.randn(2, 2, 2, 1, 4, generator=generator)
    got, expected = ours.update(k, v, 0), theirs.update(k, v, 0)
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))
    assert (ours.layers[0].get_max_length(), ours.layers[0].get_mask_sizes(3)) == (40, (20, 0))


def test_it_is_full_at_its_length():
    cache = RowCache(1, 4)
    x = torch.zeros(1, 1, 4, 2)
    cache.update(x, x, 0)
    with pytest.raises(ValueError, match="holds at most 4 rows, got row 5"):
        cache.update(x[:, :, :1], x[:, :, :1], 0)


def test_fixed_shapes_hold_the_same():
    ours, theirs = RowCache(1, 9, whole=True), DynamicCache()
    x = torch.randn(1, 1, 4, 2)
    assert ours.update(x, x, 0)[0].shape[2] == 4  # the prompt is read as ever
    theirs.update(x, x, 0)
    place = ours.fix_shapes(x.device)
    for _ in range(3):
        y = torch.randn(1, 1, 1, 2)
        keys, _ = ours.update(y, y, 0)
        expected, _ = theirs.update(y, y, 0)
        place += 1
        assert keys.shape[2] == 9
        assert torch.equal(keys[:, :, : expected.shape[2]], expected)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("backbone", [{}, dict(model_type="qwen3", head_dim=16)])
def test_every_kind_gives_the_same(attention, backbone):
    base = toy_config().to_dict()["backbone"]
    lm = toy_lm(backbone={**base, **backbone})
    lm.backbone.set_attn_implementation(attention)
    batch = _batch(lm)
    static = lm.generate(**batch, **LOOSE, cache="static")
    dynamic = lm.generate(**batch, **LOOSE, cache="dynamic")
    assert all(same(a, b) for a, b in zip(static, dynamic, strict=True))


def _batch(lm):
    from .conftest import Learned

    return Learned(lm).prompts()


def test_windowed_backbones_keep_transformers_cache():
    base = toy_config().to_dict()["backbone"]
    windowed = dict(
        model_type="qwen2", use_sliding_window=True, sliding_window=4, max_window_layers=1
    )
    lm = toy_lm(backbone={**base, **windowed})
    assert not attends_fully(lm.config) and attends_fully(toy_config())
    batch = _batch(lm)
    together = lm.generate(**batch, **LOOSE, seeds=[1, 2, 3, 4])
    for number, example in enumerate(EXAMPLES):
        from .conftest import Learned

        alone = lm.generate(**Learned(lm).prompts([example]), **LOOSE, seed=number + 1)
        assert same(alone[0], together[number])
    with pytest.raises(ValueError, match="compile=True needs"):
        lm.generate(**batch, eos_id=EOS, compile=True)


def test_unknown_kinds_are_refused():
    with pytest.raises(ValueError, match="got 'big'"):
        new_cache(toy_config(), "big", 9)


def _one_layer():
    """One layer of each Transformer: a compiler takes half a minute for each layer on some CPUs."""
    base = toy_config().to_dict()["backbone"]
    return dict(backbone={**base, "num_hidden_layers": 1}, depth_layers=1)


@pytest.mark.slow
def test_a_compiled_step_gives_the_same():
    lm = toy_lm(**_one_layer())
    options = dict(LOOSE, audio_sampling=SamplingConfig(temperature=2.0), seeds=[1, 2, 3, 4])
    plain = lm.generate(**_batch(lm), **options)
    fast = lm.generate(**_batch(lm), **options, compile=True)
    assert all(same(a, b) for a, b in zip(plain, fast, strict=True))


@pytest.mark.slow
def test_a_compiled_step_of_4_bits_knows_what_was_learned():
    learned = learn("depth", **_one_layer())
    quantize(learned.lm, kind="int4")
    speech = EXAMPLES[:1]
    rows = learned.lm.generate(
        **learned.prompts(speech), eos_id=EOS, audio_sampling=GREEDY, compile=True
    )
    assert_learned(rows, speech)
