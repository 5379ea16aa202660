"""A model that moves to other codes says what it said, where the codes only changed names."""

import pytest
import torch

from almtok.lm.initialization import remap_codebooks

from .toy import PATTERNS, toy_codes, toy_lm

FRAMES = 4000


@pytest.fixture
def renamed():
    """Codes `[N, K]`, the same under other names, and what was renamed to what, `[K, C]`."""
    old = toy_codes(FRAMES).T
    names = torch.stack(
        [torch.randperm(16, generator=torch.Generator().manual_seed(k)) for k in range(3)]
    )
    return old, torch.stack([names[k][old[:, k]] for k in range(3)], dim=1), names


def logits(lm, codes):
    """Of frames `[N, K]` after a text, `[N, K, C + 1]`."""
    hidden = lm.embedding.audio.weight.new_zeros(len(codes), lm.config.hidden_size)
    table = lm.embedding.audio.weight.view(3, -1, lm.config.hidden_size)
    hidden = hidden + sum(table[k][codes[:, k]] for k in range(3))
    return lm.heads.teacher_forced(hidden, codes)


@pytest.mark.parametrize("pattern", PATTERNS)
@torch.no_grad()
def test_codes_under_other_names_keep_their_logits(renamed, pattern):
    old, new, names = renamed
    lm = toy_lm(pattern=pattern)
    before, end = logits(lm, old[:50]), lm.embedding.audio.weight.view(3, 17, -1)[:, 16].clone()
    remap_codebooks(lm, old, new, prior_frames=0.0)
    after = logits(lm, new[:50])
    for k in range(3):
        torch.testing.assert_close(after[:, k, names[k]], before[:, k, :16], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after[..., 16], before[..., 16], atol=1e-4, rtol=1e-4)
    assert torch.equal(lm.embedding.audio.weight.view(3, 17, -1)[:, 16], end)


@torch.no_grad()
def test_ends_and_empty_places_stay_in_every_table(renamed):
    old, new, _ = renamed
    lm = toy_lm(pattern="depth")
    tables = [*(head.weight for head in lm.heads.out), *(t.weight for t in lm.heads.codes)]
    before = [table[16:].clone() for table in tables]
    remap_codebooks(lm, old, new)
    assert [len(rows) for rows in before] == [1, 1, 1, 2, 2]
    assert all(torch.equal(table[16:], rows) for table, rows in zip(tables, before, strict=True))


@torch.no_grad()
def test_a_code_that_was_never_seen_is_an_average_one(renamed):
    old, new, names = renamed
    lm = toy_lm()
    kept = new[:, 0] != 5
    table = lm.embedding.audio.weight.view(3, 17, -1)
    expected = table[0][old[kept, 0]].mean(dim=0)
    remap_codebooks(lm, old[kept], new[kept])
    torch.testing.assert_close(lm.embedding.audio.weight.view(3, 17, -1)[0, 5], expected)


@torch.no_grad()
def test_doubt_keeps_rare_codes_near_the_average(renamed):
    old, new, _ = renamed
    spreads = []
    for doubt in (0.0, 1e4):
        lm = toy_lm()
        remap_codebooks(lm, old, new, prior_frames=doubt)
        spreads.append(float(lm.heads.out[0].weight[:16].std(dim=0).mean()))
    assert spreads[1] < 0.1 * spreads[0]


def test_codes_that_do_not_fit_are_refused(renamed):
    old, new, _ = renamed
    with pytest.raises(ValueError, match=r"new codes must be \[4000, 3\], got \[3999, 3\]"):
        remap_codebooks(toy_lm(), old, new[1:])
    with pytest.raises(ValueError, match=r"old codes must be 0..15, got"):
        remap_codebooks(toy_lm(), old + 1, new)
    with pytest.raises(ValueError, match=r"old codes must be \[N, 3\], got \[0, 3\]"):
        remap_codebooks(toy_lm(), old[:0], new[:0])
