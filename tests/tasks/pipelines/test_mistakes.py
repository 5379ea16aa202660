"""Wrong arguments of the pipelines are one error that names them."""

from typing import Any

import pytest

from almtok.tasks import AudioGenerator, AudioLMPipeline, TextToSpeech


@pytest.fixture(scope="module")
def pipeline(learned: Any) -> AudioLMPipeline:
    return AudioLMPipeline.from_pretrained(learned.folder, dtype="float32", device="cpu")


@pytest.mark.parametrize("text", [None, 3, b"hi"])
def test_a_text_is_a_string(pipeline: AudioLMPipeline, text: Any) -> None:
    with pytest.raises(ValueError, match="a text must be a string, got"):
        TextToSpeech(pipeline).speak(text)


def test_rows_are_fields_by_slot(pipeline: AudioLMPipeline) -> None:
    with pytest.raises(ValueError, match="rows must be mappings of fields by slot, got 'a'"):
        pipeline.run("tts", "abc")  # type: ignore[arg-type]


def test_audio_is_generated_by_tasks_with_an_audio_target(pipeline: AudioLMPipeline) -> None:
    with pytest.raises(ValueError, match="must be one with an audio target, got 'asr'"):
        AudioGenerator(pipeline).generate("asr", [{"audio": "a.wav"}])


@pytest.mark.parametrize("w", [2.5, True, 0, 99])
def test_frames_per_query_is_an_integer_in_its_range(pipeline: AudioLMPipeline, w: Any) -> None:
    with pytest.raises(ValueError, match="frames_per_query must be an integer in 1.."):
        pipeline.codec.checked_window(w)
