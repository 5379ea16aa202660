"""Tasks that stay as they were: nothing to pay where nothing changed, and less is forgotten."""

import copy

import pytest
import torch

from almtok.lm.sequences import build_sequence, collate, pack
from almtok.lm.train.distillation import DistillationTeacher, forward_with_teacher

from ..toy import EOS, PATTERNS, toy_example, toy_lm


def batch_of(lm, *examples):
    return collate([build_sequence(one, lm.config, eos_id=EOS) for one in examples], lm.config)


def taught(lm, teacher, batch, **options):
    return forward_with_teacher(lm, lm, teacher, **batch, **options)


def listening(seed=0, **changes):
    lm = toy_lm(seed, ctc_weight=0.5, **changes)
    lm.config.backbone.pad_token_id, lm.config.backbone.eos_token_id = 0, EOS
    return lm


SPOKEN = [toy_example("tts", 9, 1), toy_example("asr", 12, 2), toy_example("tts", 7, 3)]
SOUNDS = [toy_example("text_to_audio", 8, 4), toy_example("text_to_audio", 5, 5)]


def noisy(lm, scale=2.0):
    torch.manual_seed(1)
    other = copy.deepcopy(lm).requires_grad_(True)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(scale * parameter.std() * torch.randn_like(parameter))
    return other


@pytest.mark.parametrize("pattern", PATTERNS)
def test_who_knows_what_the_teacher_knows_has_nothing_to_learn(pattern):
    lm = listening(pattern=pattern)
    teacher, batch = DistillationTeacher(copy.deepcopy(lm), ["tts", "asr"]), batch_of(lm, *SPOKEN)
    out = taught(lm, teacher, batch)
    assert float(out.loss.detach()) == pytest.approx(0, abs=1e-5)
    gradients = torch.autograd.grad(out.loss, list(lm.parameters()), allow_unused=True)
    assert max(float(g.abs().max()) for g in gradients if g is not None) < 1e-5
    other = noisy(lm)
    worse = taught(other, teacher, batch)
    assert all(float(loss) > 1e-3 for loss in worse.losses.values())
    assert float(worse.ctc.total) > 1e-3


@pytest.mark.parametrize("pattern", PATTERNS)
def test_other_rows_learn_from_the_data_as_ever(pattern):
    lm = listening(pattern=pattern)
    teacher = DistillationTeacher(listening(1, pattern=pattern), ["tts", "asr"])
    sounds = batch_of(lm, *SOUNDS)
    assert torch.equal(taught(lm, teacher, sounds).loss, lm(**sounds).loss)
    # Of a batch with both kinds the sums are those of each kind alone.
    both = batch_of(lm, SPOKEN[0], SOUNDS[0], *SPOKEN[1:], SOUNDS[1])
    mixed = taught(lm, teacher, both, num_items_in_batch=1).loss
    spoken = taught(lm, teacher, batch_of(lm, *SPOKEN), num_items_in_batch=1).loss
    heard = lm(**sounds, num_items_in_batch=1).loss
    assert float(mixed) == pytest.approx(float(spoken + heard), rel=1e-4)


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_packed_examples_are_taught_as_padded_ones(pattern, both):
    lm = listening(pattern=pattern, bidirectional_conditions=both)
    known = listening(1, pattern=pattern, bidirectional_conditions=both)
    teacher = DistillationTeacher(known, ["tts", "asr"])
    mixed = [SPOKEN[0], SOUNDS[0], *SPOKEN[1:], SOUNDS[1]]
    rows = [build_sequence(one, lm.config, eos_id=EOS) for one in mixed]
    found = []
    for batch in (collate(rows, lm.config), pack(rows)):
        lm.zero_grad()
        out = taught(lm, teacher, batch)
        out.loss.backward()
        found.append((out, [p.grad.clone() for p in lm.parameters()]))
    (one, expected), (two, gradients) = found
    torch.testing.assert_close(two.loss, one.loss)
    torch.testing.assert_close(two.ctc.total, one.ctc.total, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients, expected, atol=1e-6, rtol=1e-4)


def test_labels_of_its_tasks_are_not_asked_and_it_does_not_learn():
    lm = listening()
    known = listening(1)
    teacher, batch = DistillationTeacher(known, ["tts"]), batch_of(lm, *SPOKEN)
    before = [parameter.clone() for parameter in known.parameters()]
    both = DistillationTeacher(copy.deepcopy(known), ["tts", "asr"])
    texts = batch["labels"].clone()
    texts[..., 0] = texts[..., 0].where(texts[..., 0] < 2, 2)  # other transcripts, where they were
    others = {**batch, "labels": texts}
    assert float(lm(**batch).loss) != pytest.approx(float(lm(**others).loss), rel=1e-4)
    assert torch.equal(taught(lm, both, batch).loss, taught(lm, both, others).loss)
    loss = taught(lm, teacher, batch).loss
    loss.backward()
    assert all(parameter.grad is None for parameter in known.parameters())
    assert all(map(torch.equal, before, known.parameters()))
    assert not torch.equal(loss, lm(**batch).loss)
    with pytest.raises(ValueError, match="no task 'tst'; .* did you mean 'tts'"):
        DistillationTeacher(known, ["tst"])


def forgotten(judge, lm, teacher=None):
    """Divergence from what it was on speech, after it learned sounds with some speech beside."""
    lm = copy.deepcopy(lm).train().requires_grad_(True)
    optimizer = torch.optim.Adam(lm.parameters(), 3e-3)
    batch = batch_of(lm, *SPOKEN[:2], *SOUNDS)
    for _ in range(60):
        loss = (lm(**batch) if teacher is None else taught(lm, teacher, batch)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    sounds = float(lm(**batch_of(lm, *SOUNDS)).loss.detach())
    held_out = batch_of(lm, toy_example("tts", 9, 7), toy_example("asr", 12, 8))
    return sounds, float(taught(lm, judge, held_out).loss.detach())


def test_less_is_forgotten_and_what_is_new_is_learned_as_well():
    lm = listening()
    teacher = DistillationTeacher(copy.deepcopy(lm), ["tts", "asr"])
    plain, lost = forgotten(teacher, lm)
    taught, kept = forgotten(teacher, lm, teacher=teacher)
    assert kept < lost / 3
    assert taught < max(0.3, 2 * plain)
