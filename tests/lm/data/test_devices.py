"""Recordings become codes on a pretended device too, also where its memory does not suffice."""

import copy
import dataclasses
from typing import Any

import pytest

from almtok.codec.model import ALMTokenizer
from almtok.lm.data import tokenize
from almtok.lm.data.clips import DecodedClip
from almtok.lm.data.tokenize import encode_clips

from ...codec.toy import noise, toy_codec
from ...pretend_device import pretend_device


@pytest.mark.parametrize("search_seconds", [0.0, 9.0])
def test_codes_are_those_of_the_cpu(search_seconds, monkeypatch):
    codec: Any = toy_codec()
    # A step of a search is hundreds of operations.
    monkeypatch.setattr(tokenize, "BY_SPECTRA", dataclasses.replace(tokenize.BY_SPECTRA, steps=4))
    count, samples = (2, 2_300) if search_seconds else (4, 9_000)
    clips: Any = [
        DecodedClip(n, str(n), noise(1, samples - 500 * n, n)[0, 0].numpy()) for n in range(count)
    ]
    options = dict(
        frames_per_query=6, batch_samples=100_000, passes=2, search_seconds=search_seconds
    )
    here = [one for batch in encode_clips(codec, clips, **options) for one in batch]
    encode, refused = ALMTokenizer.encode, []

    def small(self: Any, wav: Any, *args: Any, **kwargs: Any) -> Any:
        if len(wav) > 2:
            refused.append(len(wav))
            raise RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)")
        return encode(self, wav, *args, **kwargs)

    monkeypatch.setattr(ALMTokenizer, "encode", small)
    with pretend_device() as device:
        there = copy.deepcopy(codec).to(device)
        found = [one for batch in encode_clips(there, clips, **options) for one in batch]
    assert bool(refused) == (not search_seconds)
    for one, two in zip(here, found, strict=True):
        assert one.place == two.place and (one.codes == two.codes).all()
