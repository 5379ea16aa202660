"""Generation on a pretended device gives what it gives on the CPU, and nothing assumes the CPU."""

import copy

import pytest
import torch

from almtok.lm.generation.beam_search import BeamSettings
from almtok.lm.generation.sampling import SamplingConfig
from almtok.lm.generation.stopping_criteria import RepetitionLimits
from almtok.lm.generation.streaming import stream
from almtok.lm.score import score
from almtok.lm.sequences import build_sequence

from ...codec.toy import toy_codec
from ...pretend_device import pretend_device
from ..toy import EOS, PATTERNS, toy_example, toy_lm
from .conftest import EXAMPLES, Learned

LOOSE = dict(
    audio_sampling=SamplingConfig(temperature=2.0, top_k=12, repetition_penalty=1.5),
    text_sampling=SamplingConfig(temperature=2.0, top_p=0.9, repetition_penalty=1.5),
    max_frames=9,
    max_text_tokens=9,
    eos_id=EOS,
)


@pytest.fixture
def device():
    with pretend_device() as made:
        yield made


def on(device, lm):
    return copy.deepcopy(lm).to(device)


def same(here, there):
    for one, two in zip(here, there, strict=True):
        left, right = (x.codes if x.codes is not None else x.ids for x in (one, two))
        assert right.device.type == "cpu" and torch.equal(left, right)
        assert one.finish == two.finish
        assert one.log_probability == pytest.approx(two.log_probability, abs=1e-3)


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cache": "dynamic", "min_frames": [1, 5, 2, 3]},
        {"guidance_scale": 2.0},
        {"guards": RepetitionLimits(audio_limit=2, audio_period=1, text_limit=2, text_period=2)},
    ],
)
def test_every_pattern_writes(device, pattern, options):
    lm = toy_lm(pattern=pattern)
    here = lm.generate(**Learned(lm).prompts(), seeds=[5, 6, 7, 8], **{**LOOSE, **options})
    lm = on(device, lm)
    prompts = {name: value.to(device) for name, value in Learned(lm).prompts().items()}
    same(here, lm.generate(**prompts, seeds=[5, 6, 7, 8], **{**LOOSE, **options}))


@pytest.mark.parametrize("settings", [
    BeamSettings(beams=4), BeamSettings(beams=3, lm_weight=0.5, views=2),
])  # fmt: skip
def test_beams_search(device, settings):
    lm = toy_lm(ctc_weight=1.0)
    lm.config.backbone.pad_token_id, lm.config.backbone.eos_token_id = 0, EOS
    examples = [toy_example("asr", count, seed) for count, seed in ((9, 1), (7, 2))]
    options = dict(eos_id=EOS, guards=None, max_text_tokens=6, beam=settings)
    here = lm.generate(**Learned(lm).prompts(examples), **options)
    there = on(device, lm)
    prompts = {name: value.to(device) for name, value in Learned(lm).prompts(examples).items()}
    same(here, there.generate(**prompts, **options))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_targets_are_scored(device, pattern):
    lm = toy_lm(pattern=pattern)
    sequences = [build_sequence(example, lm.config, eos_id=EOS) for example in EXAMPLES]
    for here, there in zip(score(lm, sequences), score(on(device, lm), sequences), strict=True):
        assert there.log_probability == pytest.approx(here.log_probability, rel=1e-6)
        assert there.num_targets == here.num_targets


@pytest.mark.parametrize("pattern", PATTERNS)
def test_sound_is_made_while_codes_are(device, pattern):
    lm, codec = toy_lm(pattern=pattern), toy_codec(codebook_size=16)
    audio = (EXAMPLES[0], EXAMPLES[2])
    options = dict(audio_sampling=SamplingConfig(temperature=3.0), max_frames=8, seed=3)
    here = lm.generate(**Learned(lm).prompts(audio), **options)
    lm, codec = on(device, lm), on(device, codec)
    prompts = {name: value.to(device) for name, value in Learned(lm).prompts(audio).items()}
    chunks = list(stream(lm, codec, **prompts, chunk_frames=3, **options))
    for number, expected in enumerate(here):
        codes = [chunk.codes.cpu() for chunk in chunks if chunk.row == number]
        assert torch.equal(torch.cat(codes, dim=-1), expected.codes)
