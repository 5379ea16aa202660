"""Writing down: exact lines, long audio in windows, silence, captions; making sound."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from almtok.core.audio import AudioError, write_audio
from almtok.lm import lora
from almtok.tasks.base import get_task
from almtok.tasks.evaluation.likelihood import likelihoods
from almtok.tasks.pipelines.audio_captioning import AudioCaptioner
from almtok.tasks.pipelines.audio_generation import AudioGenerator
from almtok.tasks.pipelines.base import AudioLMPipeline
from almtok.tasks.pipelines.options import GenerationOptions
from almtok.tasks.pipelines.speech_recognition import SpeechRecognizer, join_texts, window_spans

from ..conftest import GREEDY, LINES, SOUND

FIRST, SECOND = LINES


@pytest.fixture(scope="module")
def recognizer(learned):
    return SpeechRecognizer(learned.pipeline)


def test_codes_are_read_exactly(recognizer, learned):
    found = recognizer.transcribe_all([learned.tokens[text] for text in LINES])
    assert [one.text for one in found] == list(LINES)
    assert all(one.confidence > 0.8 and not one.problems and not one.silent for one in found)


def test_text_to_file_to_text(recognizer, learned, tmp_path):
    learned.pipeline.save(learned.tokens[SECOND], tmp_path / "line.wav")
    found = recognizer.transcribe(tmp_path / "line.wav")
    assert found.text == SECOND
    assert found.rtf > 0
    for path in (tmp_path / "line.wav", str(tmp_path / "line.wav")):  # one path, not its letters
        assert [one.text for one in recognizer.transcribe_all(path)] == [SECOND]
        assert len(AudioCaptioner(recognizer.pipeline).caption_all(path)) == 1


def test_long_audio_is_heard_in_windows(recognizer, learned):
    long = learned.pipeline.join([learned.tokens[FIRST]] * 4)
    one = learned.tokens[FIRST].duration
    found = recognizer.transcribe(long, window_seconds=one + 1e-3, overlap_seconds=0.0)
    assert len(found.windows) == 4
    assert found.text == " ".join([FIRST] * 4)
    assert found.windows[-1].stop == pytest.approx(long.duration)


def test_silence_is_an_empty_text(recognizer, tmp_path):
    write_audio(tmp_path / "still.wav", np.zeros(30_000, np.float32), 24_000)
    found = recognizer.transcribe(tmp_path / "still.wav")
    assert found.text == "" and found.silent and found.confidence == 1.0
    assert AudioCaptioner(recognizer.pipeline).caption(tmp_path / "still.wav").text == ""


def test_audio_that_is_none_is_refused(recognizer, tmp_path, learned):
    (tmp_path / "bad.flac").write_bytes(b"no sound")
    with pytest.raises(AudioError, match="corrupt"):
        recognizer.transcribe(tmp_path / "bad.flac")
    with pytest.raises(AudioError, match="missing"):
        recognizer.transcribe(tmp_path / "gone.flac")
    other = dataclasses.replace(learned.tokens[FIRST], fingerprint="another")
    with pytest.raises(ValueError, match="another"):
        recognizer.transcribe(other)
    with pytest.raises(ValueError, match="overlap_seconds must be in"):
        recognizer.transcribe(learned.tokens[FIRST], window_seconds=2, overlap_seconds=2)


@pytest.mark.parametrize(("frames", "window", "overlap"), [(5, 9, 2), (10, 9, 3), (300, 50, 12)])
def test_windows_cover_everything_and_overlap(frames, window, overlap):
    spans = window_spans(frames, window, overlap)
    assert spans[0][0] == 0 and spans[-1][1] == frames
    for (first, stop), (following, _) in zip(spans, spans[1:], strict=False):
        assert first < following <= stop - overlap + 1
        assert stop - first == window


@pytest.mark.parametrize(
    ("left", "right", "most", "joined"),
    [
        ("a b c d", "c d e f", 4, "a b c d e f"),
        ("The cat sat on the ma", "sad on the mat, and", 4, "The cat sat on the mat, and"),
        ("one two", "three four", 2, "one two three four"),
        ("one two", "two three", 0, "one two two three"),
        ("", "one", 3, "one"),
        ("One, two.", "TWO three", 2, "One, two. three"),
        # Words that are alike but too far from the seam to be the same.
        ("go a b c", "d e f go", 2, "go a b c d e f go"),
    ],
)
def test_texts_are_joined_where_they_agree(left, right, most, joined):
    assert join_texts(left, right, max_overlap=most) == joined


def test_a_sound_is_described_and_made(recognizer, learned):
    assert AudioCaptioner(recognizer.pipeline).caption(learned.tokens[SOUND]).text == SOUND
    sound = AudioGenerator(learned.pipeline, GREEDY).sound(SOUND)
    assert sound.tokens.codes.equal(learned.tokens[SOUND].codes)
    assert sound.finish == "end" and sound.duration > 0.5


def test_a_sound_goes_on(learned):
    tokens = learned.tokens[SOUND]
    generator = AudioGenerator(learned.pipeline, GREEDY)
    whole = generator.continue_audio(learned.pipeline.cut(tokens, 0, 4))
    assert whole.tokens.codes.equal(tokens.codes)
    short = generator.continue_audio(learned.pipeline.cut(tokens, 0, 4), seconds=0.16)
    assert short.tokens.codes.equal(tokens.codes[:, :6]) and short.finish == "max_length"
    with pytest.raises(ValueError, match="can continue at most"):
        generator.continue_audio(learned.pipeline.join([tokens] * 50))


def test_a_folder_is_loaded_as_it_was_saved(learned):
    pipeline = AudioLMPipeline.from_pretrained(learned.folder)
    assert SpeechRecognizer(pipeline).transcribe(learned.tokens[FIRST]).text == FIRST
    assert pipeline.codec.fingerprint == learned.pipeline.codec.fingerprint


def test_run_folders_and_adapters_are_loaded(learned, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(Path(learned.folder, "lm"), run / "lm" / "model")
    shutil.copytree(Path(learned.folder, "codec"), run / "codec" / "model")
    pipeline = AudioLMPipeline.from_pretrained(run)
    lora.add_lora(pipeline.lm, lora.LoraSettings(rank=2))
    with torch.no_grad():
        for parameter in pipeline.lm.parameters():
            if parameter.requires_grad:
                parameter.zero_()  # it has forgotten everything
    lora.save_adapter(pipeline.lm, tmp_path / "adapter")
    other = AudioLMPipeline.from_pretrained(run, adapter=tmp_path / "adapter")
    assert SpeechRecognizer(other).transcribe(learned.tokens[FIRST]).text != FIRST
    lora.use_adapter(other.lm, None)
    assert SpeechRecognizer(other).transcribe(learned.tokens[FIRST]).text == FIRST


def test_a_folder_without_checkpoint_is_named(tmp_path):
    with pytest.raises(ValueError, match="no checkpoint of a language model"):
        AudioLMPipeline.from_pretrained(tmp_path)


def test_a_folder_with_adapters_of_single_tasks_is_refused(learned, tmp_path):
    shutil.copytree(learned.folder, tmp_path / "copy")
    (tmp_path / "copy/adapters/tts").mkdir(parents=True)
    (tmp_path / "copy/adapters/tts/adapter.json").write_text("{}")
    with pytest.raises(ValueError, match="adapters of single tasks, which are not supported"):
        AudioLMPipeline.from_pretrained(tmp_path / "copy")


def test_transcripts_are_searched_by_beams_where_the_model_can(learned, monkeypatch):
    def beams(task, **options):
        row = {"audio": learned.tokens[LINES[0]]} if task == "asr" else {"text": SOUND}
        prompt = learned.pipeline.prompt(task, [row], options=GenerationOptions(**options))
        return None if prompt["beam"] is None else prompt["beam"].beams

    assert beams("asr") is None  # it never learned to spell
    monkeypatch.setattr(learned.pipeline.lm.config, "ctc_weight", 1.0)
    monkeypatch.setattr(learned.pipeline.lm.config.backbone, "pad_token_id", 0)
    assert beams("asr") == 8 and beams("asr", beams=3) == 3 and beams("asr", beams=1) is None
    assert beams("asr", temperature=0.5) is None and beams("asr", compile=True) is None
    assert beams("text_to_audio") is None and beams("text_to_audio", beams=3) is None
    with pytest.raises(ValueError, match="beams must be at least 1, got 0"):
        GenerationOptions(beams=0)
    with pytest.raises(ValueError, match="lm_weight must be 0 or more, got -1"):
        GenerationOptions(lm_weight=-1)
    heard = SpeechRecognizer(learned.pipeline, GenerationOptions(beams=2)).transcribe(
        learned.tokens[LINES[0]]
    )
    assert heard.text and heard.confidence > 0


def test_of_several_sounds_the_best_described_is_kept(learned):
    """Candidates are what other seeds would have made, and the first is that of the prompt."""
    pipeline, hot = (
        learned.pipeline,
        GenerationOptions(temperature=4.0, guidance_scale=1.0, max_seconds=1.0, check_by="codes"),
    )
    rows = [{"text": SOUND}, {"text": "a bell rings"}]
    best = AudioGenerator(pipeline, dataclasses.replace(hot, best_of=3)).generate(
        "text_to_audio", rows, seeds=[7, 8]
    )
    for row, seed, kept in zip(rows, (7, 8), best, strict=True):
        seeds = [seed, seed + 1_000_003, seed + 2_000_006]
        each = [
            AudioGenerator(pipeline, hot).generate("text_to_audio", [row], seeds=[one])[0]
            for one in seeds
        ]
        found = likelihoods(
            pipeline, [one.tokens for one in each], [row["text"]] * 3, "audio_caption"
        )
        fits = [one.log_probability for one in found]
        assert len(set(fits)) == 3
        assert torch.equal(kept.tokens.codes, each[int(np.argmax(fits))].tokens.codes)
        assert kept.seconds > 0
    with pytest.raises(ValueError, match="best_of must be at least 1, got 0"):
        GenerationOptions(best_of=0)


def test_beams_hear_an_audio_in_views_and_tokens_as_they_are(learned, monkeypatch):
    pipeline, first, second = learned.pipeline, *(learned.tokens[text] for text in LINES)
    wavs = [pipeline.decode(tokens) for tokens in (first, second)]
    greedy = pipeline.shifted_encodings(wavs[0], "asr")
    assert len(greedy) == 1  # written id by id
    monkeypatch.setattr(pipeline.lm.config, "ctc_weight", 1.0)
    monkeypatch.setattr(pipeline.lm.config.backbone, "pad_token_id", 0)
    views = pipeline.shifted_encodings(wavs[0], "asr")
    window = pipeline.codec.frame_size
    for place, view in enumerate(views):
        late = torch.nn.functional.pad(wavs[0], (place * window // 3, 0))
        assert torch.equal(view.codes, pipeline.codec.tokenize(late).codes)
    assert len(views) == 3 and torch.equal(views[0].codes, greedy[0].codes)
    assert len(pipeline.shifted_encodings(wavs[0], "asr", options=GenerationOptions(views=2))) == 2
    assert (
        len(pipeline.shifted_encodings(wavs[0], "audio_caption"))
        == len(pipeline.shifted_encodings(first, "asr"))
        == 1
    )

    seen = []
    run = pipeline.run
    monkeypatch.setattr(
        pipeline, "run", lambda task, rows, **o: seen.append((len(rows), o)) or run(task, rows, **o)
    )
    steps = []
    recognizer = SpeechRecognizer(pipeline, GenerationOptions(beams=2))
    mixed = recognizer.transcribe_all([wavs[0], second, wavs[1]], progress=steps.append, seed=5)
    assert [count for count, _ in seen] == [1, 2] and steps == [1, 3]
    assert [options["seeds"] for _, options in seen] == [[6], [5, 7]]
    alone = [recognizer.transcribe(one).text for one in (wavs[0], second, wavs[1])]
    assert [one.text for one in mixed] == alone
    with pytest.raises(ValueError, match=r"equally many encodings, got \[1, 2\]"):
        pipeline.prompt("asr", [{"audio": first, "shifted_audio": [second]}, {"audio": second}])
    with pytest.raises(ValueError, match="beams must be at least 2 for 2 encodings"):
        pipeline.prompt(
            "asr", [{"audio": first, "shifted_audio": [second]}], options=GenerationOptions(beams=1)
        )
    with pytest.raises(ValueError, match="views must be at least 1, got 0"):
        GenerationOptions(views=0)
    with pytest.raises(ValueError, match="lead must be 0 for audio tokens, got 5"):
        pipeline.tokens(first, lead=5)


def test_long_audio_is_heard_in_views_of_windows(learned, monkeypatch):
    pipeline = learned.pipeline
    monkeypatch.setattr(pipeline.lm.config, "ctc_weight", 1.0)
    monkeypatch.setattr(pipeline.lm.config.backbone, "pad_token_id", 0)
    one = learned.tokens[FIRST].duration
    long = pipeline.decode(pipeline.join([learned.tokens[FIRST]] * 3))
    found = SpeechRecognizer(pipeline, GenerationOptions(beams=2)).transcribe(
        long, window_seconds=one + 1e-3, overlap_seconds=0.0
    )
    assert len(found.windows) == 3 and all(window.text for window in found.windows)
    assert found.windows[-1].stop == pytest.approx(found.duration)


def test_texts_are_weighed_where_the_model_knows_some(learned, monkeypatch):
    def weight(**options):
        row = {"audio": learned.tokens[LINES[0]]}
        return learned.pipeline.prompt("asr", [row], options=GenerationOptions(**options))[
            "beam"
        ].lm_weight

    monkeypatch.setattr(learned.pipeline.lm.config, "ctc_weight", 1.0)
    monkeypatch.setattr(learned.pipeline.lm.config, "condition_dropout", 0.1)
    assert weight() == get_task("asr").lm_weight and weight(lm_weight=0.7) == 0.7
    monkeypatch.setattr(learned.pipeline.lm.config, "condition_dropout", 0.0)
    assert weight() == weight(lm_weight=0.7) == 0


def test_beams_of_a_model_that_cannot_are_refused_in_one_line(learned):
    with pytest.raises(ValueError, match="trained with ctc_weight > 0, got 0"):
        SpeechRecognizer(learned.pipeline, GenerationOptions(beams=2)).transcribe(
            learned.tokens[LINES[0]]
        )
