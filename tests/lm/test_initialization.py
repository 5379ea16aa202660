"""Codes that sound alike begin alike, in every table and head of codes."""

import pytest
import torch

from almtok.lm.initialization import code_vectors, initialize_tables

from ..codec.toy import toy_codec
from .toy import PATTERNS, toy_lm


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture(scope="module")
def codec():
    return toy_codec()


def lm_of(codec, **changes):
    return toy_lm(codebook_size=codec.codebook_size, num_codebooks=codec.num_codebooks, **changes)


def likeness(one: torch.Tensor, two: torch.Tensor) -> float:
    """Correlation of the distances between rows."""
    pairs = torch.stack([torch.pdist(one.double()), torch.pdist(two.double())])
    return float(torch.corrcoef(pairs)[0, 1])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_distances_of_codes_are_those_of_their_sounds(codec, pattern):
    lm = lm_of(codec, pattern=pattern)
    before = {name: value.clone() for name, value in lm.state_dict().items()}
    initialize_tables(lm, codec, generator())
    sounds, count = code_vectors(codec), codec.codebook_size
    table = lm.embedding.audio.weight.detach().view(codec.num_codebooks, -1, lm.config.hidden_size)
    outs = lm.heads.out
    for layer in range(codec.num_codebooks):
        # The toy's tables are narrower than the codec's vectors: distances are kept roughly.
        assert likeness(table[layer, :count], sounds[layer]) > 0.6
        assert likeness(outs[layer].weight.detach()[:count], sounds[layer]) > 0.4
        end = before["embedding.audio.weight"].view_as(table)[layer, count]
        assert torch.equal(table[layer, count], end)
    changed = {n for n, v in lm.state_dict().items() if not torch.equal(v, before[n])}
    assert all(n.startswith(("embedding.audio", "heads.out", "heads.codes")) for n in changed)
    for name in changed:  # the scale of a model's beginning stays
        spread = float(lm.state_dict()[name].std() / before[name].std())
        assert 0.4 < spread < 1.6, name


def test_it_is_a_function_of_the_seed(codec):
    weights = []
    for _ in range(2):
        lm = lm_of(codec)
        initialize_tables(lm, codec, generator())
        weights.append(lm.embedding.audio.weight.detach().clone())
    assert torch.equal(*weights)


def test_another_codec_is_refused(codec):
    with pytest.raises(ValueError, match="must have 3 codebooks of 5.* codes, got 3 of"):
        initialize_tables(toy_lm(codebook_size=5), codec, generator())
