"""Whisper as a judge, with random weights: batches, long audio, languages, names, spelling."""

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from transformers import BertConfig

from almtok.core.judges.base import RATE, JudgedAudio
from almtok.core.judges.load import load_recognizer
from almtok.core.judges.whisper import Whisper, cut
from almtok.tasks.evaluation.scores import text_errors

from ...tiny_judges import save_whisper


def noise(seconds, seed):
    """Noise that swells and fades [S]."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    return (0.1 * rng.standard_normal(t.size) * np.sin(2 * t + seed)).astype(np.float32)


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    folder = save_whisper(tmp_path_factory.mktemp("whisper") / "tiny")
    return load_recognizer(f"whisper:{folder}", device="cpu")


def test_a_clip_alone_and_in_a_batch_has_the_same_transcript(whisper):
    clips = [
        JudgedAudio(noise(seconds, number), rate, language)
        for number, (seconds, rate, language) in enumerate(
            [(1, RATE, ""), (40, RATE, "en-GB"), (2, 24_000, "de"), (0.3, 8_000, "")]
        )
    ]
    together = whisper.transcribe_all(clips)
    assert len(set(together)) == 4 and all(together)
    assert together == [
        whisper.transcribe(clip.wav, clip.sample_rate, clip.language) for clip in clips
    ]
    whisper.batch_size = 2
    assert whisper.transcribe_all(clips[::-1]) == together[::-1]


def test_the_language_of_the_clip_is_given_to_multilingual_models(whisper, tmp_path):
    wav = noise(1, 0)
    assert whisper.transcribe(wav, RATE, "de") != whisper.transcribe(wav, RATE, "en")
    assert whisper.transcribe(wav, RATE) == whisper.transcribe(wav, RATE, "en")
    with pytest.raises(ValueError, match="language 'xx' is not one of the recognizer's"):
        whisper.transcribe(wav, RATE, "xx")
    english = Whisper(str(save_whisper(tmp_path / "tiny.en", multilingual=False)), device="cpu")
    assert english.transcribe(wav, RATE, "de") == english.transcribe(wav, RATE)
    assert "English only" in english.name and "English only" not in whisper.name


def test_no_sequence_of_six_words_is_repeated(whisper):
    words = whisper.transcribe(noise(2, 3), RATE).split()
    sixes = [tuple(words[n : n + 6]) for n in range(len(words) - 5)]
    assert len(sixes) > 10 and len(set(sixes)) == len(sixes)


def test_long_audio_is_cut_at_its_quietest_moment():
    wav = np.ones(65 * RATE, np.float32)
    wav[25 * RATE : 25 * RATE + RATE // 2] = 0.01
    pieces = list(cut(wav))
    assert np.concatenate(pieces).size == wav.size
    assert all(piece.size <= 30 * RATE for piece in pieces)
    assert 25 * RATE < pieces[0].size < 25.5 * RATE
    assert [piece.size for piece in cut(wav[: 30 * RATE])] == [30 * RATE]


def test_silence_is_an_empty_transcript(whisper):
    assert whisper.transcribe(np.zeros(RATE, np.float32), RATE) == ""
    assert whisper.transcribe(np.zeros(70 * RATE, np.float32), RATE) == ""
    speech = noise(1, 0)
    first = np.concatenate([speech, np.zeros(50 * RATE, np.float32)])
    assert len(whisper.transcribe(first, RATE).split()) < 30


def test_the_name_tells_weights_and_decoding(whisper, tmp_path):
    assert whisper.name.startswith("whisper:tiny (weights ")
    for part in ("greedy", "no_repeat_ngram_size=6", "float32", "0 British spellings"):
        assert part in whisper.name
    assert "transformers 5" in whisper.pinned
    other = save_whisper(tmp_path / "tiny", spelling={"colour": "color"})
    judge = Whisper(str(other), device="cpu")
    assert "1 British spellings" in judge.name
    assert text_errors("My colour", "my color!", spelling=judge.spelling).errors == 0
    assert text_errors("My colour", "my color!", spelling=whisper.spelling).errors == 1


def test_what_is_no_whisper_is_refused_in_a_line(tmp_path):
    for name in ("whisper", "whisper:", "other:x"):
        with pytest.raises(ValueError, match="unknown recognizer .* must be one of pocketsphinx"):
            load_recognizer(name)
    with pytest.raises(ValueError, match=r"whisper:.* must be a folder or a hub id") as caught:
        load_recognizer(f"whisper:{tmp_path / 'none'}")
    assert "\n" not in str(caught.value)
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="must be 'whisper', got 'bert'"):
        load_recognizer(f"whisper:{tmp_path}")


def test_damaged_and_missing_weights_are_refused_in_a_line(tmp_path):
    folder = save_whisper(tmp_path / "tiny")
    path = folder / "model.safetensors"
    weights = load_file(path)
    lost = "model.encoder.conv1.weight"
    save_file({name: w for name, w in weights.items() if name != lost}, path, {"format": "pt"})
    with pytest.raises(ValueError, match=f"lacks weights of whisper: {lost}"):
        load_recognizer(f"whisper:{folder}")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="not a readable safetensors file") as caught:
        load_recognizer(f"whisper:{folder}")
    assert "\n" not in str(caught.value)
