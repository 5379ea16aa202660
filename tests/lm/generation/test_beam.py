"""Beams: the best text there is, alone and in batches, and who may search."""

import dataclasses
import itertools

import pytest
import torch
import torch.nn.functional as F

from almtok.lm.generation.beam_search import BeamSettings
from almtok.lm.loss import blank_id
from almtok.lm.sequences import AudioSegment, Example, TextSegment, build_sequence

from ..toy import PATTERNS, toy_codes, toy_example, toy_lm
from .conftest import Learned

EOS, BLANK = 1, 0
WHOLE = {"eos_id": EOS, "guards": None}


def hearing(vocab_size=60, **changes):
    """A toy with random weights that may be asked what it hears."""
    lm = toy_lm(ctc_weight=1.0, **changes)
    lm.config.backbone.pad_token_id = BLANK
    lm.config.backbone.eos_token_id = EOS
    return lm


def prompts(lm, *examples):
    return Learned(lm).prompts(examples)


def read_of(lm, example, text, drop_condition=False):
    """Log-probability of one text, by reading it as a target, and what CTC hears."""
    *given, _ = example.segments
    whole = Example(example.task, (*given, TextSegment(text or (2,))), 6)
    sequence = build_sequence(whole, lm.config, eos_id=EOS, drop_condition=drop_condition)
    if not text:  # an empty target cannot be laid out: only its end is left of one
        rows = sequence.input_ids[:-2]
        target = [EOS]
    else:
        rows, target = sequence.input_ids, [*text, EOS]
    hidden = lm.advance(rows[None])[0]
    start = len(rows) - len(target) - (0 if text else -1)
    places = range(start - 1, start - 1 + len(target))
    logits = lm.text_logits(hidden).double()
    blank = blank_id(lm.config)
    if blank == BLANK:
        logits[:, BLANK] = -torch.inf
    read = sum(float(logits[p].log_softmax(dim=-1)[i]) for p, i in zip(places, target, strict=True))
    if drop_condition:
        return read, 0.0
    frames = hidden[rows[:, 1] < lm.config.codebook_size]
    spelled = lm.ctc_logits(frames).log_softmax(dim=-1).double()
    heard = -float(
        F.ctc_loss(spelled[:, None], torch.tensor([text or (0,)]), [len(frames)], [len(text)],
                   blank=blank, reduction="none")[0]
    )  # fmt: skip
    return read, heard


def score_of(lm, views, text, settings):
    """What the search should find of one text, where a recording is given in these views."""
    read, heard = (
        sum(v) / len(views) for v in zip(*(read_of(lm, v, text) for v in views), strict=True)
    )
    known, _ = read_of(lm, views[0], text, drop_condition=True)
    share = settings.ctc_share
    score = (1 - share) * read + share * heard + settings.lm_weight * known
    return score + settings.length_bonus * len(text)


def hearing_few_letters():
    return hearing(backbone=dict(
        model_type="llama", vocab_size=6, hidden_size=32, intermediate_size=64,
        num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        max_position_embeddings=512, tie_word_embeddings=True, initializer_range=0.4,
    ))  # fmt: skip


def said_in(count, seed):
    return Example("asr", (AudioSegment(toy_codes(count, seed)), TextSegment((2, 3))), 6)


@torch.no_grad()
@pytest.mark.parametrize("pad", [BLANK, None])
def test_with_beams_enough_it_finds_the_best_of_all_texts(pad):
    """The blank is the pad token, or one of its own, beside which id 0 is a letter."""
    lm = hearing_few_letters()
    lm.config.backbone.pad_token_id = pad
    example, found = said_in(6, 3), set()
    for share, known in itertools.product((0.0, 0.3, 1.0), (0.0, 0.8)):
        settings = BeamSettings(
            beams=200, ctc_share=share, length_bonus=0.7 + 2 * known, lm_weight=known
        )
        letters = [2, 3, 4, 5] if pad == BLANK else [0, 2, 3, 4, 5]
        texts = [t for n in range(4) for t in itertools.product(letters, repeat=n)]
        best = max(texts, key=lambda text: score_of(lm, [example], text, settings))
        made = lm.generate(**prompts(lm, example), **WHOLE, max_text_tokens=3, beam=settings)
        assert tuple(made[0].ids.tolist()) == best, share
        assert len(best) > 0
        found.add((known, best))
    assert len({best for _, best in found}) > 1  # the weights matter


@torch.no_grad()
@pytest.mark.parametrize("known", [0.0, 0.8])
def test_of_several_views_it_finds_the_text_that_fits_all(known):
    lm = hearing_few_letters()
    texts = [t for n in range(4) for t in itertools.product(range(2, 6), repeat=n)]
    settings = BeamSettings(beams=200, length_bonus=0.7 + 2 * known, lm_weight=known, views=2)
    single = dataclasses.replace(settings, views=1)
    differs = 0
    for seed in range(3):
        views = [said_in(6, 10 * seed), said_in(7, 10 * seed + 1)]
        best = max(texts, key=lambda text: score_of(lm, views, text, settings))  # noqa: B023
        (row,) = lm.generate(**prompts(lm, *views), **WHOLE, max_text_tokens=3, beam=settings)
        assert tuple(row.ids.tolist()) == best
        (first,) = lm.generate(**prompts(lm, views[0]), **WHOLE, max_text_tokens=3, beam=single)
        differs += tuple(first.ids.tolist()) != best
    assert differs  # the second view matters


@pytest.mark.parametrize(("cache", "known"), [("static", 0.5), ("dynamic", 0.0)])
def test_views_alone_and_in_a_batch_and_one_view_twice(cache, known):
    lm = hearing()
    recordings = [
        [toy_example("asr", count=count + more, seed=count + more) for more in (0, 1, 1)]
        for count in (9, 4, 14)
    ]
    flat = [view for views in recordings for view in views]
    options = {**WHOLE, "cache": cache, "beam": BeamSettings(beams=5, lm_weight=known, views=3)}
    limits, seeds = [6, 9, 3], [3, 4, 5]
    together = lm.generate(**prompts(lm, *flat), **options, max_text_tokens=limits, seeds=seeds)
    assert [row.seed for row in together] == seeds
    for views, most, row in zip(recordings, limits, together, strict=True):
        (alone,) = lm.generate(**prompts(lm, *views), **options, max_text_tokens=most)
        assert torch.equal(alone.ids, row.ids) and len(row.ids) <= most
        assert alone.log_probability == pytest.approx(row.log_probability, abs=1e-4)
    one = {**options, "beam": dataclasses.replace(options["beam"], views=1)}
    (plain,) = lm.generate(**prompts(lm, flat[0]), **one, max_text_tokens=6)
    (same,) = lm.generate(**prompts(lm, *[flat[0]] * 3), **options, max_text_tokens=6)
    assert torch.equal(plain.ids, same.ids)
    assert plain.log_probability == pytest.approx(same.log_probability, abs=1e-4)


def test_what_moves_with_the_beams_is_what_differs():
    """Only what came after the prompts is reordered while the jobs stay; all of it otherwise."""
    lm = hearing()
    flat = [toy_example("asr", count=count, seed=count) for count in (9, 10, 4, 5, 14, 15)]
    options = {**WHOLE, "beam": BeamSettings(beams=5, lm_weight=0.5, views=2)}
    options["max_text_tokens"] = [6, 9, 3]  # jobs leave one after another
    written, whole = (
        lm.generate(**prompts(lm, *flat), **options, cache=cache) for cache in ("static", "dynamic")
    )
    for one, other in zip(written, whole, strict=True):
        assert torch.equal(one.ids, other.ids)
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-4)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(("cache", "known"), [("static", 0.0), ("dynamic", 0.0), ("static", 0.5)])
def test_alone_and_in_a_batch_it_finds_the_same(pattern, cache, known):
    lm = hearing(pattern=pattern)
    examples = [toy_example("asr", count=count, seed=count) for count in (9, 4, 14)]
    options = {**WHOLE, "cache": cache, "beam": BeamSettings(beams=5, lm_weight=known)}
    limits = [6, 9, 3]
    together = lm.generate(**prompts(lm, *examples), **options, max_text_tokens=limits)
    for example, most, row in zip(examples, limits, together, strict=True):
        (alone,) = lm.generate(**prompts(lm, example), **options, max_text_tokens=most)
        assert torch.equal(alone.ids, row.ids) and len(row.ids) <= most
        assert alone.log_probability == pytest.approx(row.log_probability, abs=1e-4)
        assert row.finish == ("end" if len(row.ids) < most else "max_length")
        assert not set(row.ids.tolist()) & {EOS, BLANK}


def test_shortest_and_forbidden_are_heeded():
    lm = hearing()
    example = toy_example("asr", count=12, seed=5)
    options = {**WHOLE, "beam": BeamSettings(beams=4, length_bonus=-3.0), "max_text_tokens": 8}
    (row,) = lm.generate(**prompts(lm, example), **options)
    assert len(row.ids) < 4
    (longer,) = lm.generate(**prompts(lm, example), **options, min_text_tokens=4)
    assert len(longer.ids) >= 4
    taboo = sorted(set(longer.ids.tolist()))
    (other,) = lm.generate(
        **prompts(lm, example), **options, min_text_tokens=4, forbidden_text_ids=taboo
    )
    assert not set(other.ids.tolist()) & set(taboo)


def test_who_cannot_search_is_told_why(depth):
    beam = BeamSettings(beams=3)
    lm, example = hearing(), toy_example("asr")
    with pytest.raises(ValueError, match="trained with ctc_weight > 0, got 0"):
        depth.lm.generate(**prompts(depth.lm, example), **WHOLE, beam=beam)
    for change in ({"guidance_scale": 2.0}, {"compile": True}):
        with pytest.raises(ValueError, match="neither guidance nor compile"):
            lm.generate(**prompts(lm, example), **WHOLE, beam=beam, **change)
    with pytest.raises(ValueError, match="got 0 frames and a text target"):
        silent = Example("asr", (TextSegment((5, 6)), TextSegment((2,))), 6)
        lm.generate(**prompts(lm, silent), **WHOLE, beam=beam)
    begun = prompts(lm, example)
    one = torch.full_like(begun["input_ids"][:, :1], lm.config.codebook_size + 1)
    one[..., 0] = 7
    with pytest.raises(ValueError, match="a text target of 1 rows"):
        lm.generate(torch.cat([begun["input_ids"], one], dim=1), **WHOLE, beam=beam)
    with pytest.raises(ValueError, match="beams must be at least 1, got 0"):
        BeamSettings(beams=0)
    with pytest.raises(ValueError, match="views must be at least 1, got 0"):
        BeamSettings(views=0)
    with pytest.raises(ValueError, match="must hold 2 views of each recording, got 1 prompts"):
        lm.generate(**prompts(lm, example), **WHOLE, beam=BeamSettings(views=2))
    with pytest.raises(ValueError, match=r"ctc_share must be in \[0, 1\], got 2"):
        BeamSettings(ctc_share=2)
    with pytest.raises(ValueError, match="lm_weight must be 0 or more, got -1"):
        BeamSettings(lm_weight=-1)
