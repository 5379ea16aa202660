"""Packing: losses and gradients are those of the padded batch, and no example sees another."""

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask

from almtok.lm.packed_attention import block_mask, flex_packed, packed_attention
from almtok.lm.packing import PACKED, Packing, enable_packing
from almtok.lm.prefix_lm_mask import packed_conditions
from almtok.lm.sequences import build_sequence, collate, pack

from .largest import Largest
from .toy import EOS, PATTERNS, toy_config, toy_example, toy_lm

# Tasks and frames: two of one length, and one far longer than the others.
EXAMPLES = [("tts", 5), ("asr", 60), ("asr", 9), ("tts", 9), ("text_to_audio", 3), ("asr", 5)]
BACKBONES = {
    "llama": {},
    "qwen3": dict(model_type="qwen3", head_dim=16),
    "mistral": dict(model_type="mistral", sliding_window=7),
}


def model(**changes):
    lm = toy_lm(**changes)
    lm.config.backbone.pad_token_id, lm.config.backbone.eos_token_id = 0, EOS
    return lm.train()


def both_ways(config, examples=EXAMPLES):
    """A padded and a packed batch of the same examples."""
    sequences = [
        build_sequence(toy_example(task, count=count, seed=n), config, eos_id=EOS)
        for n, (task, count) in enumerate(examples)
    ]
    return collate(sequences, config), pack(sequences)


def backbone(name):
    return {**toy_config().to_dict()["backbone"], **BACKBONES[name]}


def assert_same_training(lm, padded, packed, atol=2e-6):
    found = []
    for batch in (padded, packed):
        lm.zero_grad()
        out = lm(**batch)
        out.loss.backward()
        gradients = {n: p.grad.clone() for n, p in lm.named_parameters() if p.grad is not None}
        found.append((out, gradients))
    (one, expected), (two, gradients) = found
    torch.testing.assert_close(two.loss, one.loss)
    torch.testing.assert_close(two.losses, one.losses)
    torch.testing.assert_close(two.accuracies, one.accuracies)
    assert (one.ctc is None) == (two.ctc is None)
    if one.ctc is not None:
        assert int(two.ctc.count) == int(one.ctc.count) > 0
        torch.testing.assert_close(two.ctc.total, one.ctc.total)
    assert gradients.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(gradients[name], value, atol=atol, rtol=1e-4, msg=name)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_losses_and_gradients_are_those_of_the_padded_batch(pattern, both):
    options = dict(bidirectional_conditions=both, ctc_weight=0.5, label_smoothing=0.1)
    lm = model(pattern=pattern, **options)
    padded, packed = both_ways(lm.config)
    lengths = packed["document_lengths"].tolist()
    assert lengths == sorted(lengths) and len(set(lengths)) < len(lengths)
    assert packed["input_ids"].shape[1] < padded["attention_mask"].numel() / 2
    assert_same_training(lm, padded, packed)
    assert lm.config.backbone._attn_implementation == PACKED


@pytest.mark.parametrize("name", BACKBONES)
def test_grouped_queries_and_sliding_windows_are_kept(name):
    lm = model(backbone=backbone(name))
    padded, packed = both_ways(lm.config)
    assert_same_training(lm, padded, packed)
    if name == "mistral":  # the window changes the result, so that it was not lost in both
        wide = model(backbone={**backbone(name), "sliding_window": None})
        assert abs(float(wide(**packed).loss.detach() - lm(**packed).loss.detach())) > 1e-4


def test_padded_batches_are_read_by_the_same_attention():
    lm = model(bidirectional_conditions=True)
    padded, _ = both_ways(lm.config)
    prompt, given = padded["input_ids"][:1, :10], dict(seed=1, max_frames=9, eos_id=EOS)
    before, made = lm(**padded).loss, lm.eval().generate(prompt, **given)[0].codes
    enable_packing(lm)
    torch.testing.assert_close(lm.train()(**padded).loss, before)
    assert torch.equal(lm.eval().generate(prompt, **given)[0].codes, made)


@torch.no_grad()
@pytest.mark.parametrize("both", [False, True])
def test_an_example_does_not_change_with_its_neighbours(both):
    lm = model(bidirectional_conditions=both).eval()
    _, packed = both_ways(lm.config)
    rows, lengths = packed["input_ids"], packed["document_lengths"]
    other = rows.clone()
    start = int(lengths[:2].sum())
    place = start + 1  # of the third example
    other[:, place] = rows[:, place - 1]
    states = [lm.advance(x, packing=lm.pack(lengths, x))[0] for x in (rows, other)]
    changed = (states[0] - states[1]).abs().amax(dim=1) > 0
    assert changed[start : start + int(lengths[2])].any()
    assert not changed[:start].any() and not changed[start + int(lengths[2]) :].any()


def test_the_first_row_of_an_example_is_no_target_of_the_one_before():
    lm = model()
    _, packed = both_ways(lm.config)
    expected = lm(**packed).loss
    starts = packed["document_lengths"].cumsum(0)[:-1]
    packed["labels"][:, starts, 0] = 5
    assert torch.equal(lm(**packed).loss, expected)


def test_activations_are_computed_twice_with_the_same_packing():
    lm = model(bidirectional_conditions=True)
    _, packed = both_ways(lm.config)
    lm(**packed).loss.backward()
    expected = {name: p.grad.clone() for name, p in lm.named_parameters()}
    lm.zero_grad()
    lm.activation_checkpointing_enable()
    lm(**packed).loss.backward()
    for name, p in lm.named_parameters():
        assert torch.equal(p.grad, expected[name]), name


def test_in_bfloat16_losses_agree_roughly():
    lm = model()
    padded, packed = both_ways(lm.config)
    with torch.autocast("cpu", torch.bfloat16):
        one, two = lm(**padded), lm(**packed)
    two.loss.backward()
    torch.testing.assert_close(two.loss, one.loss, rtol=0.01, atol=0)
    assert float(two.loss.detach()) != float(model()(**packed).loss.detach())


@pytest.mark.parametrize("both", [False, True])
def test_nothing_is_made_of_rows_by_rows(both):
    lm = model(bidirectional_conditions=both)
    _, packed = both_ways(lm.config, [("tts", 4 + n % 9) for n in range(60)])
    size = packed["input_ids"].shape[1]
    assert size > 800
    with Largest() as largest:
        lm(**packed).loss.backward()
    assert largest.size < size * size / 4, (largest.size, size)


@torch.no_grad()
@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("both", [False, True])
def test_flex_attention_computes_the_same(both, window):
    """Forward only: FlexAttention has no backward pass on a CPU."""
    config = toy_config(bidirectional_conditions=both)
    _, packed = both_ways(config, [*EXAMPLES, ("asr", 150), ("tts", 200), ("tts", 40)])
    rows = packed["input_ids"]
    packing = Packing(packed["document_lengths"], rows.shape[1], rows.device)
    packing.conditions = packed_conditions(rows, packing, config)
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.randn(1, heads, rows.shape[1], 16, generator=generator) for heads in (4, 2, 2)
    )
    layer = torch.nn.Module()
    layer.num_key_value_groups = 2
    expected, _ = packed_attention(
        layer, query, key, value, None, packing, scaling=0.3, sliding_window=window
    )
    mask = block_mask(packing, window)
    torch.testing.assert_close(flex_packed(query, key, value, mask, 0.3), expected)
    # Its blocks are those that some row needs, at least; on a GPU the others are not computed.
    size = rows.shape[1]
    needed = create_block_mask(mask.mask_mod, None, None, size, size, "cpu").to_dense()
    assert bool((mask.to_dense() >= needed).all()) and needed.sum() > 4
    assert float(mask.to_dense().float().mean()) < 0.7


def test_what_cannot_be_packed_is_refused():
    lm = model()
    padded, packed = both_ways(lm.config)
    rows, lengths = packed["input_ids"], packed["document_lengths"]
    with pytest.raises(ValueError, match=r"add up to the \d+ rows of input_ids, got \[3, 4\], 7"):
        lm(rows, document_lengths=[3, 4])
    with pytest.raises(ValueError, match="are one row, got 6 rows"):
        lm(padded["input_ids"], document_lengths=lengths)
    with pytest.raises(ValueError, match="without mask, position_ids or cache"):
        lm(rows, torch.ones(rows.shape[:2]), document_lengths=lengths)
    lm.backbone.set_attn_implementation("eager")
    enable_packing(lm)
    lm.backbone.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="sdpa or eager, got 'flash_attention_2'"):
        enable_packing(lm)
    lm.backbone.config._attn_implementation = "sdpa"
    lm.backbone.config.layer_types = ["full_attention", "linear_attention"]
    with pytest.raises(ValueError, match="full or sliding-window attention .* got 'llama'"):
        enable_packing(lm)
