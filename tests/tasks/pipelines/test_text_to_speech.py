"""Speaking: exact lines, long texts, voices, seeds, self-check, streams, errors."""

import dataclasses

import numpy as np
import pytest
import torch

from almtok.core.audio import write_audio
from almtok.tasks.base import get_task
from almtok.tasks.pipelines.options import GenerationOptions
from almtok.tasks.pipelines.text_to_speech import TextToSpeech

from ..conftest import GREEDY, LINES

FIRST, SECOND = LINES


@pytest.fixture(scope="module")
def speaker(learned):
    return TextToSpeech(learned.pipeline, GREEDY)


def test_a_line_is_spoken_exactly_and_ends_by_itself(speaker, learned):
    speech = speaker.speak(FIRST, check=True)
    assert speech.tokens.codes.equal(learned.tokens[FIRST].codes)
    assert speech.finish == "end" and not speech.problems
    assert (speech.wav.shape[0], speech.sample_rate) == (speech.tokens.num_samples, 24_000)
    assert speech.confidence > 0.8 and speech.diff.errors == 0
    assert speech.rtf > 0 and speech.parts[0].tries == 1


def test_lists_hold_one_value_per_text(speaker, learned):
    with pytest.raises(ValueError, match=r"seeds must hold 2 values.*got 1"):
        speaker.speak_all([FIRST, FIRST], seeds=[1])
    with pytest.raises(ValueError, match=r"voice must hold 1 values.*got 2"):
        speaker.speak_all([FIRST], voice=[None, None])
    for values in ({"seeds": [1, 2]}, {"seconds": [1.0, 2.0]}):
        with pytest.raises(ValueError, match=r"must hold 1 values.*got 2"):
            learned.pipeline.run("tts", [{"text": FIRST}], **values)


def test_a_long_text_goes_on_from_the_part_before(speaker, learned, monkeypatch):
    seen = []
    run = learned.pipeline.__class__.run

    def spy(self, task, rows, **options):
        seen.append(rows)
        return run(self, task, rows, **options)

    monkeypatch.setattr(learned.pipeline.__class__, "run", spy)
    text = f"{FIRST.capitalize()}. {SECOND.capitalize()}."
    short = TextToSpeech(learned.pipeline, dataclasses.replace(GREEDY, max_chars=24))
    speech = short.speak(text)
    assert len(speech.parts) == 2
    assert seen[0][0].keys() == {"text"}
    carried = seen[1][0]
    assert (carried["prefix_text"], carried["text"]) == tuple(part.text for part in speech.parts)
    assert carried["prefix"].codes.equal(speech.parts[0].tokens.codes)
    assert speech.tokens.codes.shape[1] == sum(p.tokens.codes.shape[1] for p in speech.parts)
    seen.clear()
    short.speak(text, carry=False)
    assert [row.keys() for row in seen[0]] == [{"text"}] * 2  # both at once


def test_going_on_says_only_what_is_new(learned):
    short = TextToSpeech(learned.pipeline, dataclasses.replace(GREEDY, max_chars=24))
    speech = short.speak(f"{FIRST} {SECOND}", check=True)
    assert [part.text for part in speech.parts] == list(LINES)
    for part in speech.parts:
        assert part.tokens.codes.equal(learned.tokens[part.text].codes)
    assert not speech.problems
    chunks = list(short.stream(f"{FIRST} {SECOND}"))
    assert torch.cat([chunk.codes for chunk in chunks], dim=1).equal(speech.tokens.codes)


@pytest.mark.parametrize("apart", [False, True])
def test_a_voice_is_gone_on_from_or_stands_apart(speaker, learned, apart):
    voice = speaker.voice(learned.tokens[FIRST], FIRST, apart=apart)
    speech = speaker.speak(SECOND, voice=voice)
    assert speech.tokens.codes.equal(learned.tokens[SECOND].codes)
    assert speaker.speak(SECOND, voice=speaker.voice(learned.tokens[FIRST])).duration > 0


def test_the_same_seed_says_the_same_alone_or_among_others(learned):
    loose = TextToSpeech(
        learned.pipeline,
        GenerationOptions(temperature=1.5, guidance_scale=1.0, top_k=0, top_p=1.0, max_seconds=1.0),
    )
    both = loose.speak_all([FIRST, SECOND], seed=5)
    alone = loose.speak(SECOND, seed=6)
    assert both[1].tokens.codes.equal(alone.tokens.codes)
    other = loose.speak(SECOND, seed=7)
    assert not other.tokens.codes.equal(alone.tokens.codes)
    assert loose.speak_all([FIRST, SECOND], seeds=[9, 6])[1].tokens.codes.equal(alone.tokens.codes)


def test_wrong_words_are_spoken_again_and_the_best_is_kept(learned):
    pipeline = dataclasses.replace(learned.pipeline)
    run, asked = pipeline.run, []

    def deaf(task, given, **options):
        if task == "tts":  # whatever is asked, it says the first line
            asked.append(options["seeds"])
            given = [{"text": FIRST}] * len(given)
        return run(task, given, **options)

    pipeline.run = deaf
    speech = TextToSpeech(pipeline, GREEDY).speak(SECOND, check=True, tries=3, seed=4)
    (part,) = speech.parts
    assert len(asked) == 3 and asked[0] == [4] and len({seed for (seed,) in asked}) == 3
    assert part.tries == 1  # no later one was better
    assert part.check.diff.errors and speech.problems
    assert speech.confidence < 0.5 and "[" in str(speech.diff)


def test_a_check_hears_the_sound_unless_codes_are_asked_for(learned, monkeypatch):
    asked = []
    pipeline = dataclasses.replace(learned.pipeline)
    run = pipeline.run

    def spy(task, given, **options):
        asked.extend(row["audio"] for row in given if task == "asr")
        return run(task, given, **options)

    pipeline.run = spy
    for by in ("sound", "codes"):
        speech = TextToSpeech(pipeline, dataclasses.replace(GREEDY, check_by=by)).speak(
            FIRST, check=True
        )
        assert not speech.problems
    again = pipeline.codec.tokenize(speech.wav)
    assert asked[0].codes.equal(again.codes) and not asked[0].codes.equal(speech.tokens.codes)
    assert asked[1].codes.equal(speech.tokens.codes)
    with pytest.raises(ValueError, match="'sound' or 'codes', got 'eyes'"):
        GenerationOptions(check_by="eyes")


def test_a_good_candidate_ends_the_tries(learned, monkeypatch):
    rows = []
    good = TextToSpeech(learned.pipeline, GREEDY).speak(FIRST).parts[0]
    pipeline = dataclasses.replace(learned.pipeline)
    hot = TextToSpeech(
        pipeline,
        GenerationOptions(temperature=3.0, guidance_scale=1.0, top_k=0, top_p=1.0, max_seconds=1.2),
    )
    run = pipeline.run

    def second_time_lucky(task, given, **options):
        made = run(task, given, **options)
        if task == "tts":
            rows.append(len(given))
            if len(rows) == 2:
                made = [dataclasses.replace(made[0], row=good.row, tokens=good.tokens)]
        return made

    pipeline.run = second_time_lucky
    speech = hot.speak(FIRST, check=True, tries=4)
    assert rows == [1, 1] and speech.parts[0].tries == 2 and not speech.problems


def test_a_bound_that_was_met_is_reported(learned):
    short = TextToSpeech(learned.pipeline, dataclasses.replace(GREEDY, max_seconds=0.2))
    speech = short.speak(FIRST)
    assert speech.finish == "max_length"
    assert "did not end by itself (max_length)" in speech.problems[0]


def test_a_stream_says_what_speak_says(speaker):
    chunks = list(speaker.stream(FIRST))
    whole = speaker.speak(FIRST)
    assert torch.cat([chunk.codes for chunk in chunks], dim=1).equal(whole.tokens.codes)
    wav = torch.cat([chunk.waveform.flatten() for chunk in chunks])
    torch.testing.assert_close(wav, whole.wav, atol=1e-4, rtol=1e-3)
    assert chunks[-1].result is not None


def test_only_models_that_can_go_without_condition_are_guided(learned, monkeypatch):
    def scale(**options):
        return learned.pipeline.prompt(
            "tts", [{"text": LINES[0]}], options=GenerationOptions(**options)
        )["guidance_scale"]

    assert learned.pipeline.lm.config.condition_dropout > 0
    assert scale() == get_task("tts").guidance_scale > 1
    assert scale(guidance_scale=1.5) == 1.5
    monkeypatch.setattr(learned.pipeline.lm.config, "condition_dropout", 0.0)
    assert scale() == 1
    assert scale(guidance_scale=1.5) == 1.5


@pytest.mark.parametrize("text", ["", "  \n", "\u200b"])
def test_an_empty_text_is_refused(speaker, text):
    with pytest.raises(ValueError, match="empty|nothing"):
        speaker.speak(text)


def test_another_script_is_refused_even_in_the_middle_of_a_text(speaker):
    for text in ("早上好", f"{FIRST}. 早上好. {SECOND}."):
        with pytest.raises(ValueError, match=r"Latin letters, got '早上好' \(CJK\)"):
            speaker.speak(text)


def test_a_part_without_words_is_left_out(learned):
    short = TextToSpeech(learned.pipeline, dataclasses.replace(GREEDY, max_chars=24))
    assert short.split(f"{FIRST}\n\n* * *\n\n{SECOND}") == [FIRST, SECOND]


def test_one_string_is_one_text(speaker):
    assert [speech.text for speech in speaker.speak_all(FIRST)] == [FIRST]


def test_a_language_that_the_model_does_not_speak_is_refused(learned, speaker):
    german = TextToSpeech(learned.pipeline, dataclasses.replace(GREEDY, language="de"))
    with pytest.raises(ValueError, match="language must be 'en', .* got 'de'"):
        german.speak("Guten Tag")
    with pytest.raises(ValueError, match="language must be 'en', .* got 'de'"):
        learned.pipeline.processor(task="tts", text="Guten Tag", language="de")
    british = TextToSpeech(learned.pipeline, dataclasses.replace(GREEDY, language="en-GB"))
    assert british.split(FIRST) == [FIRST]


def test_a_processor_without_a_language_speaks_those_that_are_asked_for(learned):
    processor = learned.pipeline.processor
    several = type(processor)(processor.tokenizer, processor.config, language=None)

    def read(**options):
        ids = several(task="tts", text="5 & 6", **options)["input_ids"][0, :, 0].tolist()
        return several.tokenizer.decode(ids)

    assert "fünf und sechs" in read(language="de") and "five and six" in read(language="en")
    assert several.text_encoder.apply_form("5 & 6", transcript=True) == "5 & 6"


def test_ten_thousand_characters_become_parts_that_fit(learned):
    text = "The cat sat on the mat and said hello there. " * 225
    assert len(text) > 10_000
    speaker = TextToSpeech(
        learned.pipeline, dataclasses.replace(GREEDY, max_seconds=0.1, batch_size=32)
    )
    pieces = speaker.split(text)
    assert " ".join(pieces).split() == text.split()
    assert max(map(len, pieces)) <= 160
    speech = speaker.speak(text, carry=False)
    assert len(speech.parts) == len(pieces)


@pytest.mark.parametrize(
    ("wav", "message"),
    [
        (np.zeros(24_000, np.float32), "got silence"),
        (np.full(2_000, 0.1, np.float32), "at least 0.3 s long"),
        (np.full(24_000 * 60, 0.1, np.float32), "at most"),
    ],
)
def test_references_that_show_no_voice_are_refused(speaker, tmp_path, wav, message):
    write_audio(tmp_path / "ref.wav", wav, 24_000)
    with pytest.raises(ValueError, match=message):
        speaker.voice(tmp_path / "ref.wav")


def test_corrupt_and_missing_references_are_named(speaker, tmp_path):
    (tmp_path / "ref.wav").write_bytes(b"RIFF not a sound")
    with pytest.raises(ValueError, match="voice reference.*corrupt"):
        speaker.voice(tmp_path / "ref.wav")
    with pytest.raises(ValueError, match="missing"):
        speaker.voice(tmp_path / "none.wav")


def test_tokens_of_another_codec_are_refused(speaker, learned):
    other = dataclasses.replace(learned.tokens[FIRST], fingerprint="another")
    with pytest.raises(ValueError, match="another"):
        speaker.voice(other)
