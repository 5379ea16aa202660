"""Timestamps of the shipped model: of its own speech, of its transcripts, and as files."""

import json
from dataclasses import replace

import pytest

from almtok import shipped
from almtok.__main__ import main
from almtok.lm.text.normalize import plain
from almtok.tasks import AudioLMPipeline, SpeechRecognizer, TextToSpeech
from almtok.tasks.pipelines.options import GenerationOptions
from almtok.tasks.pipelines.word_alignment import align_words

TEXT = "the happy dog walked near the river"
LONG = "Mr. Hill saw 12 dogs - all asleep. The happy dog walked near the river."
FAST = GenerationOptions(beams=1, max_chars=40)


@pytest.fixture(scope="module")
def pipeline():
    return AudioLMPipeline.from_pretrained(shipped())


@pytest.fixture(scope="module")
def spoken(pipeline):
    """A sentence, and a text of several parts, in one batch."""
    return TextToSpeech(pipeline, FAST).speak_all([TEXT, LONG], timestamps=True)


def check_times(words, duration):
    times = [time for word in words for time in (word.start, word.end)]
    assert times == sorted(times) and 0 <= times[0] and times[-1] <= duration
    assert all(0.01 < word.end - word.start < 1.5 for word in words)
    assert all(0 <= word.confidence <= 1 for word in words)


def test_the_words_of_speech_are_where_it_says_them(spoken):
    speech = spoken[0]
    assert [word.text for word in speech.words] == TEXT.split()
    check_times(speech.words, speech.duration)
    assert speech.words[-1].start > 0.5 * speech.duration
    assert [segment.text for segment in speech.segments] == [TEXT]


def test_parts_of_a_long_text_follow_one_another(spoken):
    speech = spoken[1]
    assert len(speech.parts) > 1
    assert " ".join(word.text for word in speech.words) == LONG
    assert "12" in [word.text for word in speech.words]
    check_times(speech.words, speech.duration)
    first = speech.parts[0]
    later = [word for word in speech.words if word.start >= first.tokens.duration]
    count = len(speech.words) - len(later)
    assert " ".join(word.text for word in speech.words[:count]) == first.text


def test_a_batch_does_not_change_the_times(pipeline, spoken):
    parts = [part for speech in spoken for part in speech.parts]
    tokens, texts = [part.tokens for part in parts], [part.text for part in parts]
    together = align_words(pipeline, tokens, texts)
    alone = [align_words(pipeline, [a], [t])[0] for a, t in zip(tokens, texts, strict=True)]
    for one, other in zip(together, alone, strict=True):
        assert [word.text for word in one] == [word.text for word in other]
        assert [word.start for word in one] == pytest.approx([word.start for word in other])


def test_transcripts_have_the_times_of_their_words(pipeline, spoken):
    speech = spoken[0]
    sound = {"array": speech.wav.numpy(), "sampling_rate": speech.sample_rate}
    recognizer = SpeechRecognizer(pipeline, FAST)
    transcript = recognizer.transcribe(sound, timestamps=True)
    assert " ".join(word.text for word in transcript.words) == transcript.text
    check_times(transcript.words, transcript.duration)
    said = {word.text: word.start for word in speech.words}
    heard = {word.text: word.start for word in transcript.words if word.text in said}
    assert len(heard) >= 3
    assert all(abs(said[text] - start) < 0.3 for text, start in heard.items())
    assert recognizer.transcribe(speech.tokens).words is None


def test_windows_are_joined_with_their_times(pipeline, spoken):
    recognizer = SpeechRecognizer(pipeline, FAST)
    transcript = recognizer.transcribe(
        spoken[1].tokens, timestamps=True, window_seconds=2.4, overlap_seconds=0.8
    )
    assert len(transcript.windows) > 1
    assert " ".join(word.text for word in transcript.words) == transcript.text
    times = [time for word in transcript.words for time in (word.start, word.end)]
    assert times == sorted(times) and times[-1] <= transcript.duration
    assert times[-1] > transcript.windows[-1].start


def test_a_text_that_does_not_fit_is_spread_evenly(pipeline, spoken):
    tokens = pipeline.cut(spoken[0].tokens, 0, 4)
    words = align_words(pipeline, [tokens, tokens], [TEXT, ""])
    assert [word.text for word in words[0]] == TEXT.split() and words[1] == ()
    assert {word.confidence for word in words[0]} == {0.0}
    assert words[0][-1].end == pytest.approx(tokens.duration)


def test_a_model_without_ctc_refuses(learned):
    tokens = learned.tokens["hello there doctor lee"]
    with pytest.raises(ValueError, match="timestamps need a model trained on .* ctc_weight > 0"):
        SpeechRecognizer(learned.pipeline).transcribe(tokens, timestamps=True)
    with pytest.raises(ValueError, match="timestamps need a model trained"):
        TextToSpeech(learned.pipeline).speak("hello there", timestamps=True)


def test_other_languages_of_numbers_are_mapped_by_their_normalizer(pipeline):
    encoder = replace(pipeline.text_encoder, language=None)
    words, ids, owners = encoder.word_pieces("zwölf 12 cats", language="de")
    assert words == "zwölf zwölf cats".split()
    assert len(ids) == len(owners) and sorted(set(owners)) == [0, 1, 2]


def test_the_commands_write_subtitles(tmp_path, capsys):
    wav = tmp_path / "dog.wav"
    assert main(["tts", TEXT, "--out", str(wav), "--timestamps"]) == 0
    shown = (tmp_path / "dog.srt").read_text()
    assert shown.startswith("1\n00:00:00,") and TEXT in shown.replace("\n", " ")
    capsys.readouterr()
    assert main(["asr", str(wav), "--beams", "1", "--format", "vtt"]) == 0
    assert capsys.readouterr().out.startswith("WEBVTT\n\n00:00:0")
    out = tmp_path / "texts"
    assert main(["asr", str(wav), "--beams", "1", "--json", "--timestamps", "--out", str(out)]) == 0
    facts = json.loads((out / "dog.json").read_text())
    assert " ".join(word["word"] for word in facts["words"]) == plain(facts["text"])
    assert facts["segments"][0]["start"] == facts["words"][0]["start"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["tts", "hello", "--out", "-", "--timestamps"], "beside the audio"),
        (["tts", "hello", "--stream", "--timestamps"], "omit --out, --check, --timestamps and"),
        (["asr", "a.wav", "--json", "--format", "srt"], "--json is --format json"),
    ],
)
def test_options_that_contradict_each_other(given, message, capsys):
    assert main(given) != 0
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_a_checkpoint_without_ctc_refuses_in_one_line(learned, tmp_path, capsys):
    place = str(tmp_path / "a.wav")
    command = ["tts", "hello there", "--out", place, "--timestamps"]
    assert main([*command, "--checkpoint", learned.folder]) != 0
    error = capsys.readouterr().err.strip().splitlines()
    assert "timestamps need a model trained" in error[-1]
