"""The pipelines of transformers on the shipped checkpoint, after `import almtok` alone."""

import numpy as np
import pytest
from transformers import GenerationConfig, pipeline

from almtok import AudioLM, AudioLMProcessor, shipped
from almtok.recipes.publish import set_task_defaults

MODEL = str(shipped() / "lm")
TEXT = "the happy dog walked near the river"


@pytest.fixture(scope="module")
def said():
    speak = pipeline("text-to-speech", model=MODEL, device="cpu")
    return speak(TEXT, generate_kwargs={"seed": 0})


def test_text_becomes_speech_and_speech_text(said):
    assert said["sampling_rate"] == 24_000 and said["audio"].dtype == np.float32
    assert 1 < len(said["audio"]) / said["sampling_rate"] < 5
    hear = pipeline("automatic-speech-recognition", model=MODEL, device="cpu")
    text = hear({"array": said["audio"], "sampling_rate": said["sampling_rate"]})["text"]
    assert len(set(text.split()) & set(TEXT.split())) >= 4


def test_options_reach_the_model(said):
    speak = pipeline("text-to-audio", model=MODEL, device="cpu")
    two = speak([TEXT, TEXT], generate_kwargs={"max_new_tokens": 3, "min_new_tokens": 3})
    assert [len(one["audio"]) for one in two] == [3 * 1920] * 2
    sound = speak(
        "a dog barks",
        preprocess_params={"task": "text_to_audio"},
        generate_kwargs={"max_new_tokens": 4},
    )
    assert len(sound["audio"]) <= 4 * 1920


def test_the_shipped_defaults_are_those_of_the_tasks():
    lm = AudioLM.from_pretrained(MODEL)
    shipped_defaults = lm.generation_config.task_specific_params
    set_task_defaults(lm)
    assert lm.generation_config.task_specific_params == shipped_defaults
    batch = AudioLMProcessor.from_pretrained(MODEL)(text=TEXT)
    options = dict(shipped_defaults["tts"], max_new_tokens=5)
    codes = lm.generate(**batch, max_new_tokens=5).sequences
    lm.generation_config = GenerationConfig()
    assert (lm.generate(**batch, **options).sequences == codes).all()
    assert not (lm.generate(**batch, max_new_tokens=5).sequences == codes).all()
