"""Conditions read in both directions: they see each other, never a target; stepwise is the same."""

import pytest
import torch
from transformers import DynamicCache

from almtok.lm.export import to_plain
from almtok.lm.generation.cache import new_cache
from almtok.lm.generation.sampling import SamplingConfig
from almtok.lm.sequences import build_prompt, build_sequence, collate

from .toy import EOS, PATTERNS, toy_config, toy_example, toy_lm


def two_way(**changes):
    return toy_lm(bidirectional_conditions=True, **changes)


def rows_of(lm, task="asr", **options):
    """Rows `[1, L, 1+K]` of an example, and how many of them come before its target."""
    example = toy_example(task, **options)
    sequence = build_sequence(example, lm.config, eos_id=EOS)
    kind = "text" if task == "asr" else "audio"
    prompt = build_prompt(
        task, example.segments[:1], kind, lm.config, frames_per_query=6, eos_id=EOS
    )
    return sequence.input_ids[None], len(prompt)


@torch.no_grad()
def changed(lm, rows, place):
    """Which of the hidden states are others when the row at `place` is another."""
    other = rows.clone()
    other[:, place] = rows[:, place - 1]
    return (lm.advance(rows) - lm.advance(other)).abs().amax(dim=(0, 2)) > 1e-6


@pytest.mark.parametrize("task", ["tts", "asr"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_conditions_see_each_other_and_nothing_sees_a_target_that_is_to_come(pattern, task):
    lm = two_way(pattern=pattern)
    rows, first = rows_of(lm, task)
    inside = first - 3  # of the condition: three rows before its target
    assert changed(lm, rows, inside).all()
    of_target = changed(lm, rows, first + 2)
    assert not of_target[: first + 2].any() and of_target[first + 2 :].all()
    # A causal model of the same weights hears only what was before.
    causal = toy_lm(pattern=pattern)
    assert not changed(causal, rows, inside)[:inside].any()


@torch.no_grad()
@pytest.mark.parametrize("kind", ["dynamic", "static"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_teacher_forced_equals_stepwise(pattern, attention, kind):
    lm = two_way(pattern=pattern)
    lm.backbone.set_attn_implementation(attention)
    rows, first = rows_of(lm, "tts")
    whole = lm.advance(rows)
    cache = new_cache(lm.config, kind, rows.shape[1])
    steps = [lm.advance(rows[:, :first], cache=cache, use_cache=True)]
    for p in range(first, rows.shape[1]):
        steps.append(lm.advance(rows[:, p : p + 1], cache=cache, use_cache=True))
    torch.testing.assert_close(torch.cat(steps, dim=1), whole, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_batch_is_its_rows_on_either_side_of_padding(side, attention):
    lm = two_way()
    lm.backbone.set_attn_implementation(attention)
    examples = [toy_example("asr", count=4, seed=1), toy_example("tts", count=11, seed=2)]
    sequences = [build_sequence(x, lm.config, eos_id=EOS) for x in examples]
    padded = collate(sequences, lm.config, side)
    mask = padded["attention_mask"]
    positions = (mask.cumsum(dim=1) - 1).clamp_min(0)
    together = lm.advance(padded["input_ids"], mask, positions)
    assert together.isfinite().all()
    for hidden, own, sequence in zip(together, mask.bool(), sequences, strict=True):
        alone = lm.advance(sequence.input_ids[None])[0]
        torch.testing.assert_close(hidden[own], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_what_was_learned_by_heart_is_said_again(pattern):
    lm = two_way(pattern=pattern).train()
    given = {"tts": dict(count=9, seed=1), "asr": dict(count=7, seed=2)}
    examples = {task: toy_example(task, **options) for task, options in given.items()}
    sequences = [build_sequence(x, lm.config, eos_id=EOS) for x in examples.values()]
    batch = collate(sequences, lm.config)
    optimizer = torch.optim.AdamW(lm.parameters(), lr=5e-3)
    for _ in range(250):
        optimizer.zero_grad()
        loss = lm(**batch).loss
        loss.backward()
        optimizer.step()
    assert loss < 0.05
    greedy = SamplingConfig(temperature=0)
    for task, options in given.items():
        rows, first = rows_of(lm, task, **options)
        out = lm.eval().generate(
            rows[:, :first], audio_sampling=greedy, text_sampling=greedy, eos_id=EOS
        )[0]
        wanted = examples[task].segments[-1]
        if task == "tts":
            assert torch.equal(out.codes, wanted.codes)
        else:
            assert tuple(out.ids.tolist()) == wanted.ids


@torch.no_grad()
def test_a_prompt_in_two_parts_is_refused():
    lm = two_way()
    rows, first = rows_of(lm)
    cache = DynamicCache(config=lm.config.backbone)
    lm.advance(rows[:, :4], cache=cache, use_cache=True)
    with pytest.raises(ValueError, match="a prompt must be read at once, got"):
        lm.advance(rows[:, 4:first], cache=cache, use_cache=True)
    # What goes on with a target may come in parts.
    cache = DynamicCache(config=lm.config.backbone)
    head = lm.advance(rows[:, :first], cache=cache, use_cache=True)
    tail = lm.advance(rows[:, first:], cache=cache, use_cache=True)
    torch.testing.assert_close(torch.cat([head, tail], dim=1), lm.advance(rows), atol=1e-5, rtol=0)


def test_backbones_and_engines_that_cannot_are_refused():
    window = {
        **toy_config().to_dict()["backbone"], "model_type": "qwen2", "use_sliding_window": True,
        "sliding_window": 4, "max_window_layers": 0, "layer_types": ["sliding_attention"] * 2,
    }  # fmt: skip
    with pytest.raises(ValueError, match="needs full attention in all layers"):
        two_way(backbone=window)
    with pytest.raises(ValueError, match="exported models are causal"):
        to_plain(two_way(pattern="flat"))
    lm = two_way()
    lm.config.backbone._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="got 'flash_attention_2'"):
        lm.advance(rows_of(lm)[0])
