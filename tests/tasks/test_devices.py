"""The tasks with a model on a pretended device: they say, hear and find what they do on the CPU."""

import pytest

from almtok.tasks.bundle import Bundle
from almtok.tasks.likelihood import likelihoods
from almtok.tasks.maker import Maker
from almtok.tasks.speaker import Speaker
from almtok.tasks.transcriber import Transcriber

from ..pretend_device import pretend_device
from .conftest import GREEDY, LINES, SOUND


@pytest.fixture(scope="module")
def bundle(learned):
    with pretend_device() as device:
        made = Bundle.from_pretrained(learned.folder, device=device)
        assert made.lm.device == device
        yield made


def test_a_line_is_spoken_checked_and_saved(bundle, learned, tmp_path):
    speech = Speaker(bundle, GREEDY).speak(LINES[0], check=True)
    assert speech.tokens.codes.equal(learned.tokens[LINES[0]].codes)
    assert speech.diff.errors == 0 and speech.wav.device.type == "cpu"
    bundle.save(speech.tokens, tmp_path / "line.wav")
    assert Transcriber(bundle).transcribe(tmp_path / "line.wav").text == LINES[0]


def test_sounds_are_made_described_and_compared(bundle, learned):
    sound = Maker(bundle, GREEDY).sound(SOUND)
    assert sound.tokens.codes.equal(learned.tokens[SOUND].codes)
    assert Transcriber(bundle).describe(learned.tokens[SOUND]).text == SOUND
    tokens, texts = [learned.tokens[SOUND]] * 2, [SOUND, LINES[0]]
    here, there = (likelihoods(b, tokens, texts, "audio_caption") for b in (learned.bundle, bundle))
    for one, other in zip(here, there, strict=True):
        assert other.log_probability == pytest.approx(one.log_probability, rel=1e-4)
