"""CTC of prefixes, against the sum over every way in which frames can spell."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from almtok.lm.generation.ctc_prefix import PrefixScorer, PrefixState

from ...pretend_device import pretend_device

BLANK = 0


def spelled(path):
    """What a path of ids spells: repetitions are one, blanks none."""
    return tuple(i for i, _ in itertools.groupby(path) if i != BLANK)


def all_texts(log_probs):
    """The probability of every text that these frames `[T, V]` can spell."""
    found = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        chance = math.exp(sum(float(log_probs[t, i]) for t, i in enumerate(path)))
        found[spelled(path)] = found.get(spelled(path), 0.0) + chance
    return found


def test_prefixes_and_ends_are_the_sums_over_all_paths():
    torch.manual_seed(0)
    log_probs = torch.randn(2, 5, 4, dtype=torch.float64).log_softmax(dim=-1)
    lengths = torch.tensor([5, 3])
    truth = [all_texts(rows[:length]) for rows, length in zip(log_probs, lengths, strict=True)]
    scorer = PrefixScorer.from_log_probs(log_probs, lengths, BLANK)
    state, last, texts = scorer.start(), torch.full((2, 1), -1), [(), ()]
    ids = torch.tensor([[[1, 2, 3]]]).expand(2, 1, 3)
    for following in (1, 1, 2):  # the same twice needs a blank between
        for n, text in enumerate(texts):
            whole = float(scorer.end_score(state)[n, 0].exp())
            assert whole == pytest.approx(truth[n].get(text, 0.0), abs=1e-9)
        begins, states = scorer.extend(state, last, ids)
        for n, text in enumerate(texts):
            for place in range(3):
                longer = (*text, place + 1)
                right = sum(p for t, p in truth[n].items() if t[: len(longer)] == longer)
                assert float(begins[n, 0, place].exp()) == pytest.approx(right, abs=1e-9)
        state = states.gather(
            torch.zeros(2, 1, dtype=torch.int64), torch.full((2, 1), following - 1)
        )
        last, texts = torch.full((2, 1), following), [(*text, following) for text in texts]


def test_a_long_text_has_the_probability_of_torchs_own_loss():
    torch.manual_seed(1)
    log_probs = (4 * torch.randn(1, 400, 30)).log_softmax(dim=-1)
    text = torch.randint(1, 30, (120,))
    scorer = PrefixScorer.from_log_probs(log_probs, torch.tensor([400]), BLANK)
    state, last = scorer.start(), torch.tensor([[-1]])
    for one in text.tolist():
        _, states = scorer.extend(state, last, torch.tensor([[[one]]]))
        state = states.gather(torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1).long())
        last = torch.tensor([[one]])
    loss = F.ctc_loss(
        log_probs.transpose(0, 1).double(), text[None], [400], [120], reduction="none"
    )
    assert float(scorer.end_score(state)[0, 0]) == pytest.approx(-float(loss[0]), rel=1e-6)


def test_a_device_without_float64_has_digits_enough_for_a_long_text():
    torch.manual_seed(1)
    log_probs, lengths = (4 * torch.randn(2, 400, 30)).log_softmax(dim=-1), torch.tensor([400, 350])
    ids = torch.randint(1, 30, (120, 2, 3, 4))

    def spell(device):
        scorer = PrefixScorer.from_log_probs(log_probs.to(device), lengths.to(device), BLANK)
        start = scorer.start()
        state = PrefixState(*(x.expand(2, 3, -1) for x in (start.label, start.blank)))
        row = torch.arange(3).expand(2, 3).to(device)
        last, heard = torch.full((2, 3), -1, device=device), []
        for one in ids.to(device):
            begins, states = scorer.extend(state, last, one)
            state, last = states.gather(row, torch.zeros_like(row)), one[..., 0]
            heard.append(begins.cpu())
        return [*heard, scorer.end_score(state).cpu()]

    with pretend_device() as device:
        there = spell(device)
    for one, other in zip(spell("cpu"), there, strict=True):
        assert one.dtype == torch.float64 and other.dtype == torch.float32
        assert float((one - other).abs().max()) < 2e-3  # of -1000


def test_some_of_a_batch_are_the_same_as_before():
    torch.manual_seed(2)
    log_probs, lengths = torch.randn(3, 6, 5).log_softmax(dim=-1), torch.tensor([6, 4, 5])
    scorer = PrefixScorer.from_log_probs(log_probs, lengths, BLANK)
    few = torch.tensor([2, 0])
    last, ids = torch.full((3, 1), -1), torch.tensor([[[1, 4]]]).expand(3, 1, 2)
    begins, _ = scorer.extend(scorer.start(), last, ids)
    part = scorer.select(few)
    fewer, _ = part.extend(scorer.start().select(few), last[few], ids[few])
    assert torch.equal(fewer, begins[few])
