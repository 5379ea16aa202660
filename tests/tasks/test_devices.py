"""The tasks with a model on a pretended device: they say, hear and find what they do on the CPU."""

import pytest

from almtok.tasks.evaluation.likelihood import likelihoods
from almtok.tasks.pipelines.audio_captioning import AudioCaptioner
from almtok.tasks.pipelines.audio_generation import AudioGenerator
from almtok.tasks.pipelines.base import AudioLMPipeline
from almtok.tasks.pipelines.speech_recognition import SpeechRecognizer
from almtok.tasks.pipelines.text_to_speech import TextToSpeech

from ..pretend_device import pretend_device
from .conftest import GREEDY, LINES, SOUND


@pytest.fixture(scope="module")
def pipeline(learned):
    with pretend_device() as device:
        made = AudioLMPipeline.from_pretrained(learned.folder, device=device)
        assert made.lm.device == device
        yield made


def test_a_line_is_spoken_checked_and_saved(pipeline, learned, tmp_path):
    speech = TextToSpeech(pipeline, GREEDY).speak(LINES[0], check=True)
    assert speech.tokens.codes.equal(learned.tokens[LINES[0]].codes)
    assert speech.diff.errors == 0 and speech.wav.device.type == "cpu"
    pipeline.save(speech.tokens, tmp_path / "line.wav")
    assert SpeechRecognizer(pipeline).transcribe(tmp_path / "line.wav").text == LINES[0]


def test_sounds_are_made_described_and_compared(pipeline, learned):
    sound = AudioGenerator(pipeline, GREEDY).sound(SOUND)
    assert sound.tokens.codes.equal(learned.tokens[SOUND].codes)
    assert AudioCaptioner(pipeline).caption(learned.tokens[SOUND]).text == SOUND
    tokens, texts = [learned.tokens[SOUND]] * 2, [SOUND, LINES[0]]
    here, there = (
        likelihoods(b, tokens, texts, "audio_caption") for b in (learned.pipeline, pipeline)
    )
    for one, other in zip(here, there, strict=True):
        assert other.log_probability == pytest.approx(one.log_probability, rel=1e-4)
