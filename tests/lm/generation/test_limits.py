"""Ends that are forced, held back or seen by a guard: always reported; what cannot be: refused."""

import pytest
import torch

from almtok.lm.generation.sampling import GREEDY, SamplingConfig
from almtok.lm.generation.stopping_criteria import RepetitionLimits
from almtok.lm.sequences import Sequence, build_prompt, collate

from ..toy import EOS, PATTERNS, toy_codes, toy_example, toy_lm
from .conftest import EXAMPLES

TTS, ASR = EXAMPLES[0], EXAMPLES[1]


def test_a_maximum_ends_a_row_and_says_so(learned):
    batch = learned.prompts([TTS, ASR])
    out = learned.lm.generate(
        **batch, eos_id=EOS, audio_sampling=GREEDY, max_frames=4, max_text_tokens=2
    )
    assert [row.finish for row in out] == ["max_length"] * 2 and not out[0].ended
    # Delayed codebooks hear of the end before they are complete: only the first is certain.
    sure = 1 if learned.lm.config.pattern == "delay" else 3
    assert torch.equal(out[0].codes[:sure], TTS.segments[-1].codes[:sure, :4])
    assert out[0].codes.shape == (3, 4)
    assert tuple(out[1].ids.tolist()) == ASR.segments[-1].ids[:2]
    # Exactly as long as the maximum: the end is the row's own.
    out = learned.lm.generate(
        **batch, eos_id=EOS, audio_sampling=GREEDY, max_frames=9, max_text_tokens=5
    )
    assert [row.finish for row in out] == ["end"] * 2


def test_a_forced_end_is_no_choice(learned):
    out = learned.lm.generate(
        **learned.prompts([TTS]), audio_sampling=GREEDY, max_frames=4, eos_id=EOS
    )
    assert out[0].num_choices == 12 and out[0].confidence > 0.5


def test_an_end_that_comes_too_early_is_held_back_and_reported(learned):
    out = learned.lm.generate(
        **learned.prompts([TTS, ASR]), eos_id=EOS, audio_sampling=GREEDY, min_frames=12,
        max_frames=15, min_text_tokens=7, max_text_tokens=9,
    )  # fmt: skip
    assert out[0].codes.shape[1] >= 12 and len(out[1].ids) >= 7
    assert EOS not in out[1].ids.tolist()
    assert all(row.held_back >= 1 and not row.ended for row in out)


def test_limits_can_be_given_for_each_row(depth):
    out = depth.lm.generate(
        **depth.prompts([TTS, ASR, TTS]), eos_id=EOS, audio_sampling=GREEDY,
        max_frames=[3, 1, 99], min_frames=[1, 1, 11],
    )  # fmt: skip
    assert [out[0].codes.shape[1], out[0].finish] == [3, "max_length"]
    assert out[1].finish == "end" and out[2].codes.shape[1] >= 11


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_backbones_positions_are_a_limit_of_their_own(pattern):
    base = toy_lm().config.to_dict()["backbone"]
    lm = toy_lm(pattern=pattern, backbone={**base, "max_position_embeddings": 40})
    with torch.no_grad():
        for head in lm.heads.out:
            head.weight.zero_()  # the first code for ever, and never an end
    rows = _prompt(lm)
    out = lm.generate(rows[None], audio_sampling=GREEDY, guards=None)[0]
    room, frames = 40 - len(rows), out.codes.shape[1]
    assert out.finish == "max_positions"
    grid_rows = {name: frames + 1 for name in ("depth", "depth_delay", "parallel")}
    grid_rows |= {"delay": frames + 2}
    used = grid_rows.get(pattern, 3 * frames + 1)
    assert room - 3 < used <= room
    with pytest.raises(
        ValueError, match=rf"min_frames must be at most {frames}, .* got {frames + 1}"
    ):
        lm.generate(rows[None], min_frames=frames + 1)
    long = _prompt(lm, toy_codes(14))
    with pytest.raises(ValueError, match="shorter than the 40 positions"):
        lm.generate(torch.cat([long, long[-1:].repeat(30, 1)])[None])


def _prompt(lm, prefix=None):
    return build_prompt(
        "tts", toy_example().segments[:1], "audio", lm.config, frames_per_query=6, eos_id=EOS
    )


@pytest.mark.parametrize("pattern", PATTERNS)
def test_going_round_in_circles_is_seen(pattern):
    lm = toy_lm(pattern=pattern)
    with torch.no_grad():
        for head in lm.heads.out:
            head.weight.zero_()
    guards = RepetitionLimits(audio_limit=10, audio_period=3)
    out = lm.generate(_prompt(lm)[None], audio_sampling=GREEDY, guards=guards)[0]
    assert out.finish == "repetition" and not out.ended
    # One frame to be repeated, ten repetitions; delayed codebooks need as many rows to agree.
    assert out.codes.shape[1] == {"delay": 13, "depth_delay": 12}.get(pattern, 11)
    free = lm.generate(_prompt(lm)[None], audio_sampling=GREEDY, guards=None, max_frames=60)[0]
    assert free.finish == "max_length" and free.codes.shape[1] == 60


def test_a_text_that_goes_round_in_circles_is_seen(depth):
    lm = toy_lm()
    lm.text_logits = lambda hidden: torch.zeros(len(hidden), 60)  # id 0 for ever
    rows = depth.prompt(ASR)
    out = lm.generate(rows[None], eos_id=EOS, guards=RepetitionLimits(text_limit=6))[0]
    assert out.finish == "repetition" and out.ids.tolist() == [0] * 7


def test_a_penalty_keeps_codes_from_coming_back():
    lm = toy_lm()
    with torch.no_grad():
        for head in lm.heads.out:
            head.weight.zero_()
    config = SamplingConfig(temperature=0.0, repetition_penalty=1.5, repetition_window=5)
    out = lm.generate(_prompt(lm)[None], audio_sampling=config, max_frames=12, guards=None)[0]
    first = out.codes[0].tolist()
    assert first[:6] == list(range(6))
    assert all(code not in first[max(0, i - 5) : i] for i, code in enumerate(first))


def test_what_cannot_be_generated_is_refused(depth):
    lm, batch = depth.lm, depth.prompts()
    rows = batch["input_ids"]
    no_opening = rows[:, :2]

    def refused(match, *args, **kwargs):
        with pytest.raises(ValueError, match=match):
            lm.generate(*args, **kwargs)

    refused("at least one prompt, got none", rows[:0])
    refused(r"rows \[B, L, 4\], got \[4, 3\]", rows[:, 0, :3])
    refused(r"attention_mask must be \[4, ", rows, torch.ones(4, 2))
    refused("prompt 0 must have a row with open_text", no_opening[2:3])
    refused("must begin with a task and a rate", rows[:1, -1:])
    refused("targets of the prompts must be .*, got .*'text'", **batch, target="audio", eos_id=EOS)
    refused("min_frames must be 0 or more and at most max_frames, got 9 and 4",
            **batch, min_frames=9, max_frames=4)  # fmt: skip
    refused("max_frames must be one number or 4, got 2", **batch, max_frames=[1, 2])
    refused("seeds must be 4", **batch, seeds=[1])
    refused("guidance_scale must be 0 or more", **batch, guidance_scale=-1)
    refused(r"eos_id must be in \[0, 60\), .* got 60", **batch, eos_id=60)
    refused("cache must be 'static' or 'dynamic'", **batch, eos_id=EOS, cache="big")
    refused("one SamplingConfig or 3, got 2", **batch, audio_sampling=[GREEDY, GREEDY])
    refused("targets of the unconditional", **depth.prompts([TTS]), eos_id=EOS, guidance_scale=2,
            unconditional_ids=depth.prompts([ASR])["input_ids"])  # fmt: skip


def test_logits_that_are_no_numbers_are_refused():
    lm = toy_lm()
    with torch.no_grad():
        lm.backbone.model.norm.weight.fill_(torch.nan)
    with pytest.raises(ValueError, match="must be finite, got NaN"):
        lm.generate(_prompt(lm)[None], max_frames=3)


def test_an_empty_or_foreign_mask_row_is_refused(depth):
    batch = collate([Sequence(depth.prompt(TTS), depth.prompt(TTS))], depth.lm.config)
    with pytest.raises(ValueError, match="got 0 rows"):
        depth.lm.generate(batch["input_ids"], torch.zeros_like(batch["attention_mask"]))
