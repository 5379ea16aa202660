"""The fingerprint covers all that makes codes or reads them, and nothing else."""

import pytest
import torch

from almtok.codec.fingerprint import code_weights, fingerprint
from almtok.codec.model import ALMTokenizer

from .toy import toy_config

CHANGES = [
    dict(sample_rate=16_000),
    dict(strides=[2, 4, 5, 8]),
    dict(patchify="linear"),
    dict(normalize_frames=False),
    dict(normalize_queries=False),
    dict(attention_mode="causal"),
    dict(attention_window=47),
    dict(rope_theta=5_000.0),
    dict(num_attention_heads=4),
]
OTHERS = [
    dict(frames_per_query=4),  # stored with the tokens
    dict(frames_per_query_range=[3, 3]),
    dict(unpatchify="harmonic"),
    dict(unpatchify="istft"),
    dict(istft_width=8),
    dict(decoder_layers=1),
    dict(decoder_hidden_size=16),
    dict(commitment_weight=3.0),
    dict(codebook_decay=0.5),
]


def named(changes) -> str:
    return next(iter(changes))


@pytest.fixture(scope="module")
def codec():
    torch.manual_seed(0)
    return ALMTokenizer(toy_config(patchify="linear")).eval()


def test_each_weight_that_makes_or_reads_codes_counts(codec):
    before, counted = codec.fingerprint, set()
    # Bookkeeping of codebooks and running statistics, which give codes no other meaning
    silent = (".count", ".total", ".initialised", ".num_speech", ".updates")
    for name, tensor in codec.state_dict().items():
        kept = tensor.clone()
        with torch.no_grad():
            tensor.copy_(~tensor if tensor.dtype == torch.bool else tensor + 1)
            if codec.fingerprint != before:
                counted.add(name)
            tensor.copy_(kept)
        assert codec.fingerprint == before
    parts = {name.partition(".")[0] for name in codec.state_dict()}
    assert parts == {"patchify", "encoder", "quantizer", "decoder", "unpatchify"}
    assert counted == {
        name
        for name in codec.state_dict()
        if not name.startswith(("decoder.", "unpatchify.")) and not name.endswith(silent)
    }


@pytest.mark.parametrize("changes", CHANGES, ids=named)
def test_configuration_that_changes_codes_counts(codec, changes):
    weights = code_weights(codec.state_dict())
    one, other = toy_config(), toy_config(**changes)
    assert fingerprint(one, weights) != fingerprint(other, weights)


@pytest.mark.parametrize("changes", OTHERS, ids=named)
def test_configuration_that_leaves_codes_alone_does_not_count(codec, changes):
    weights = code_weights(codec.state_dict())
    assert fingerprint(toy_config(), weights) == fingerprint(toy_config(**changes), weights)


def test_pooled_queries_are_other_codes():
    found = {ALMTokenizer(toy_config(pooling=kind)).fingerprint for kind in ("queries", "mean")}
    assert len(found) == 2


def test_a_larger_or_renamed_tensor_counts():
    config, numbers = toy_config(), torch.ones(6)
    found = {
        fingerprint(config, {name: numbers.reshape(shape)})
        for name in ("a", "b")
        for shape in ((6,), (2, 3), (3, 2))
    }
    assert len(found) == 6
