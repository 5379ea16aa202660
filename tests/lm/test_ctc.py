"""CTC of transcripts: only of what is to be transcribed, and it reaches what hears."""

import pytest
import torch

from almtok.lm.loss import blank_id, ctc_loss
from almtok.lm.sequences import build_sequence, collate

from .toy import EOS, PATTERNS, toy_example, toy_lm


def batch_of(lm, *examples):
    return collate([build_sequence(one, lm.config, eos_id=EOS) for one in examples], lm.config)


def with_pad(**changes):
    lm = toy_lm(**changes)
    lm.config.backbone.pad_token_id = 0
    lm.config.backbone.eos_token_id = EOS
    return lm


@torch.no_grad()
def heard(lm, batch):
    hidden = lm.advance(batch["input_ids"], batch["attention_mask"])
    return ctc_loss(hidden, batch["input_ids"], batch["labels"], lm.config, lm.ctc_logits, ())


@pytest.mark.parametrize("pattern", PATTERNS)
def test_only_transcripts_count_and_their_sum_is_that_of_each(pattern):
    lm = with_pad(pattern=pattern)
    one, two = toy_example("asr", count=12, seed=1), toy_example("asr", count=9, seed=2)
    others = toy_example("tts", count=9), toy_example("audio_caption", count=9)
    assert heard(lm, batch_of(lm, *others)).count == 0
    apart = sum(float(heard(lm, batch_of(lm, example)).total) for example in (one, two))
    mixed = heard(lm, batch_of(lm, others[0], one, others[1], two))
    assert float(mixed.total) == pytest.approx(apart, rel=1e-4) and mixed.count == 10


def test_a_text_longer_than_its_audio_counts_nothing():
    lm = with_pad()
    short = heard(lm, batch_of(lm, toy_example("asr", count=3)))
    assert float(short.total) == 0 and short.count == 0


def test_it_adds_to_the_loss_and_reaches_the_audio_table():
    batch = batch_of(lm := with_pad(), toy_example("asr", count=12))
    plain = float(lm(**batch).loss)
    lm = with_pad(ctc_weight=0.5)
    out = lm(**batch)
    total, count = float(out.ctc.total), int(out.ctc.count)
    targets = int((batch["labels"][:, 1:] != -100).sum())
    assert float(out.loss) == pytest.approx(plain + 0.5 * total / targets, rel=1e-5)
    assert count == 5
    gradient = torch.autograd.grad(out.loss, lm.embedding.audio.weight)[0]
    codes = batch["input_ids"][0, :, 1]
    rows = codes[codes < lm.config.codebook_size].unique()
    assert bool((gradient[rows].abs().sum(dim=1) > 0).all())


@pytest.mark.parametrize("pad", [0, None, EOS])
def test_it_learns_to_spell_by_the_rows_of_the_audio(pad):
    """With the pad token as the blank, or a blank of its own where there is none."""
    lm = with_pad(ctc_weight=1.0).train()
    lm.config.backbone.pad_token_id = pad
    blank = 0 if pad == 0 else lm.config.vocab_size
    assert blank_id(lm.config) == blank
    batch = batch_of(lm, toy_example("asr", count=14, seed=1), toy_example("asr", count=12, seed=2))
    optimizer = torch.optim.Adam(lm.parameters(), lr=3e-3)
    for _ in range(200):
        optimizer.zero_grad()
        (out := lm(**batch)).loss.backward()
        optimizer.step()
    assert float(out.ctc.total / out.ctc.count) < 0.05
    hidden = lm.advance(batch["input_ids"], batch["attention_mask"])[0]
    is_audio = batch["input_ids"][0, :, 1] < lm.config.codebook_size
    best = lm.ctc_logits(hidden[is_audio]).argmax(dim=-1).unique_consecutive()
    target = batch["labels"][0, :, 0]
    assert best[best != blank].tolist() == target[target != -100][:-1].tolist()
