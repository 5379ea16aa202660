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
from almtok.tasks.merge import join_texts
from almtok.tasks.pipelines.audio_generation import AudioGenerator
from almtok.tasks.pipelines.base import AudioLMPipeline
from almtok.tasks.pipelines.options import GenerationOptions
from almtok.tasks.pipelines.speech_recognition import SpeechRecognizer, _spans

from ..conftest import GREEDY, LINES, SOUND

FIRST, SECOND = LINES


@pytest.fixture(scope="module")
def transcriber(learned):
    return SpeechRecognizer(learned.bundle)


def test_codes_are_read_exactly(transcriber, learned):
    found = transcriber.transcribe_all([learned.tokens[text] for text in LINES])
    assert [one.text for one in found] == list(LINES)
    assert all(one.confidence > 0.8 and not one.problems and not one.silent for one in found)


def test_text_to_file_to_text(transcriber, learned, tmp_path):
    learned.bundle.save(learned.tokens[SECOND], tmp_path / "line.wav")
    found = transcriber.transcribe(tmp_path / "line.wav")
    assert found.text == SECOND
    assert found.rtf > 0


def test_long_audio_is_heard_in_windows(transcriber, learned):
    long = learned.bundle.join([learned.tokens[FIRST]] * 4)
    one = learned.tokens[FIRST].duration
    found = transcriber.transcribe(long, window_seconds=one + 1e-3, overlap_seconds=0.0)
    assert len(found.windows) == 4
    assert found.text == " ".join([FIRST] * 4)
    assert found.windows[-1].stop == pytest.approx(long.duration)


def test_silence_is_an_empty_text(transcriber, tmp_path):
    write_audio(tmp_path / "still.wav", np.zeros(30_000, np.float32), 24_000)
    found = transcriber.transcribe(tmp_path / "still.wav")
    assert found.text == "" and found.silent and found.confidence == 1.0
    assert transcriber.describe(tmp_path / "still.wav").text == ""


def test_audio_that_is_none_is_refused(transcriber, tmp_path, learned):
    (tmp_path / "bad.flac").write_bytes(b"no sound")
    with pytest.raises(AudioError, match="corrupt"):
        transcriber.transcribe(tmp_path / "bad.flac")
    with pytest.raises(AudioError, match="missing"):
        transcriber.transcribe(tmp_path / "gone.flac")
    other = dataclasses.replace(learned.tokens[FIRST], fingerprint="another")
    with pytest.raises(ValueError, match="another"):
        transcriber.transcribe(other)
    with pytest.raises(ValueError, match="overlap_seconds < window_seconds"):
        transcriber.transcribe(learned.tokens[FIRST], window_seconds=2, overlap_seconds=2)


@pytest.mark.parametrize(("frames", "window", "overlap"), [(5, 9, 2), (10, 9, 3), (300, 50, 12)])
def test_windows_cover_everything_and_overlap(frames, window, overlap):
    spans = _spans(frames, window, overlap)
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
    assert join_texts(left, right, most_overlap=most) == joined


def test_a_sound_is_described_and_made(transcriber, learned):
    assert transcriber.describe(learned.tokens[SOUND]).text == SOUND
    sound = AudioGenerator(learned.bundle, GREEDY).sound(SOUND)
    assert sound.tokens.codes.equal(learned.tokens[SOUND].codes)
    assert sound.finish == "end" and sound.duration > 0.5


def test_a_sound_goes_on(learned):
    tokens = learned.tokens[SOUND]
    maker = AudioGenerator(learned.bundle, GREEDY)
    whole = maker.go_on(learned.bundle.cut(tokens, 0, 4))
    assert whole.tokens.codes.equal(tokens.codes)
    short = maker.go_on(learned.bundle.cut(tokens, 0, 4), seconds=0.16)
    assert short.tokens.codes.equal(tokens.codes[:, :6]) and short.finish == "max_length"
    with pytest.raises(ValueError, match="room for"):
        maker.go_on(learned.bundle.join([tokens] * 50))


def test_a_folder_is_loaded_as_it_was_saved(learned):
    bundle = AudioLMPipeline.from_pretrained(learned.folder)
    assert SpeechRecognizer(bundle).transcribe(learned.tokens[FIRST]).text == FIRST
    assert bundle.codec.fingerprint == learned.bundle.codec.fingerprint


def test_run_folders_and_adapters_are_loaded(learned, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(Path(learned.folder, "lm"), run / "lm" / "model")
    shutil.copytree(Path(learned.folder, "codec"), run / "codec" / "model")
    bundle = AudioLMPipeline.from_pretrained(run)
    lora.add_lora(bundle.lm, lora.LoraSettings(rank=2))
    with torch.no_grad():
        for parameter in bundle.lm.parameters():
            if parameter.requires_grad:
                parameter.zero_()  # it has forgotten everything
    lora.save_adapter(bundle.lm, tmp_path / "adapter")
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
    def beams(task, **controls):
        row = {"audio": learned.tokens[LINES[0]]} if task == "asr" else {"text": SOUND}
        prompt = learned.bundle.prompt(task, [row], controls=GenerationOptions(**controls))
        return None if prompt["beam"] is None else prompt["beam"].beams

    assert beams("asr") is None  # it never learned to spell
    monkeypatch.setattr(learned.bundle.lm.config, "ctc_weight", 1.0)
    monkeypatch.setattr(learned.bundle.lm.config.backbone, "pad_token_id", 0)
    assert beams("asr") == 8 and beams("asr", beams=3) == 3 and beams("asr", beams=1) is None
    assert beams("asr", temperature=0.5) is None and beams("asr", compile=True) is None
    assert beams("text_to_audio") is None and beams("text_to_audio", beams=3) is None
    with pytest.raises(ValueError, match="beams must be at least 1; came 0"):
        GenerationOptions(beams=0)
    with pytest.raises(ValueError, match="lm_weight must be 0 or more; came -1"):
        GenerationOptions(lm_weight=-1)
    heard = SpeechRecognizer(learned.bundle, GenerationOptions(beams=2)).transcribe(
        learned.tokens[LINES[0]]
    )
    assert heard.text and heard.confidence > 0


def test_of_several_sounds_the_best_described_is_kept(learned):
    """Candidates are what other seeds would have made, and the first is that of the prompt."""
    bundle, hot = (
        learned.bundle,
        GenerationOptions(temperature=4.0, guidance_scale=1.0, max_seconds=1.0, check_by="codes"),
    )
    rows = [{"text": SOUND}, {"text": "a bell rings"}]
    best = AudioGenerator(bundle, dataclasses.replace(hot, best_of=3)).make(
        "text_to_audio", rows, seeds=[7, 8]
    )
    for row, seed, kept in zip(rows, (7, 8), best, strict=True):
        seeds = [seed, seed + 1_000_003, seed + 2_000_006]
        each = [
            AudioGenerator(bundle, hot).make("text_to_audio", [row], seeds=[one])[0]
            for one in seeds
        ]
        found = likelihoods(
            bundle, [one.tokens for one in each], [row["text"]] * 3, "audio_caption"
        )
        fits = [one.log_probability for one in found]
        assert len(set(fits)) == 3
        assert torch.equal(kept.tokens.codes, each[int(np.argmax(fits))].tokens.codes)
        assert kept.seconds > 0
    with pytest.raises(ValueError, match="best_of must be at least 1; came 0"):
        GenerationOptions(best_of=0)


def test_beams_hear_an_audio_in_views_and_tokens_as_they_are(learned, monkeypatch):
    bundle, first, second = learned.bundle, *(learned.tokens[text] for text in LINES)
    wavs = [bundle.decode(tokens) for tokens in (first, second)]
    greedy = bundle.views(wavs[0], "asr")
    assert len(greedy) == 1  # written id by id
    monkeypatch.setattr(bundle.lm.config, "ctc_weight", 1.0)
    monkeypatch.setattr(bundle.lm.config.backbone, "pad_token_id", 0)
    views = bundle.views(wavs[0], "asr")
    window = bundle.codec.frame_size
    for place, view in enumerate(views):
        late = torch.nn.functional.pad(wavs[0], (place * window // 3, 0))
        assert torch.equal(view.codes, bundle.codec.tokenize(late).codes)
    assert len(views) == 3 and torch.equal(views[0].codes, greedy[0].codes)
    assert len(bundle.views(wavs[0], "asr", controls=GenerationOptions(views=2))) == 2
    assert len(bundle.views(wavs[0], "audio_caption")) == len(bundle.views(first, "asr")) == 1

    seen = []
    run = bundle.run
    monkeypatch.setattr(
        bundle, "run", lambda task, rows, **o: seen.append((len(rows), o)) or run(task, rows, **o)
    )
    steps = []
    transcriber = SpeechRecognizer(bundle, GenerationOptions(beams=2))
    mixed = transcriber.transcribe_all([wavs[0], second, wavs[1]], progress=steps.append, seed=5)
    assert [count for count, _ in seen] == [1, 2] and steps == [1, 3]
    assert [options["seeds"] for _, options in seen] == [[6], [5, 7]]
    alone = [transcriber.transcribe(one).text for one in (wavs[0], second, wavs[1])]
    assert [one.text for one in mixed] == alone
    with pytest.raises(ValueError, match=r"as many views; came \[1, 2\]"):
        bundle.prompt("asr", [{"audio": first, "views": [second]}, {"audio": second}])
    with pytest.raises(ValueError, match="2 views of an audio are heard by beams"):
        bundle.prompt(
            "asr", [{"audio": first, "views": [second]}], controls=GenerationOptions(beams=1)
        )
    with pytest.raises(ValueError, match="views must be at least 1; came 0"):
        GenerationOptions(views=0)
    with pytest.raises(ValueError, match="no 5 samples go before them"):
        bundle.tokens(first, lead=5)


def test_long_audio_is_heard_in_views_of_windows(learned, monkeypatch):
    bundle = learned.bundle
    monkeypatch.setattr(bundle.lm.config, "ctc_weight", 1.0)
    monkeypatch.setattr(bundle.lm.config.backbone, "pad_token_id", 0)
    one = learned.tokens[FIRST].duration
    long = bundle.decode(bundle.join([learned.tokens[FIRST]] * 3))
    found = SpeechRecognizer(bundle, GenerationOptions(beams=2)).transcribe(
        long, window_seconds=one + 1e-3, overlap_seconds=0.0
    )
    assert len(found.windows) == 3 and all(window.text for window in found.windows)
    assert found.windows[-1].stop == pytest.approx(found.duration)


def test_texts_are_weighed_where_the_model_knows_some(learned, monkeypatch):
    def weight(**controls):
        row = {"audio": learned.tokens[LINES[0]]}
        return learned.bundle.prompt("asr", [row], controls=GenerationOptions(**controls))[
            "beam"
        ].lm_weight

    monkeypatch.setattr(learned.bundle.lm.config, "ctc_weight", 1.0)
    monkeypatch.setattr(learned.bundle.lm.config, "condition_dropout", 0.1)
    assert weight() == get_task("asr").lm_weight and weight(lm_weight=0.7) == 0.7
    monkeypatch.setattr(learned.bundle.lm.config, "condition_dropout", 0.0)
    assert weight() == weight(lm_weight=0.7) == 0


def test_beams_of_a_model_that_cannot_are_refused_in_one_line(learned):
    with pytest.raises(ValueError, match="trained with ctc_weight above 0"):
        SpeechRecognizer(learned.bundle, GenerationOptions(beams=2)).transcribe(
            learned.tokens[LINES[0]]
        )
