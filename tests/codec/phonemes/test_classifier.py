"""The phoneme classifier: frames of the codec, files, and that it learns what it is told."""

import dataclasses
import json

import numpy as np
import pytest
import soundfile
import torch

from almtok.__main__ import main
from almtok.codec.phonemes import (
    Phone,
    PhonemeClassifier,
    PhonemeClassifierConfig,
    PhonemeTrainingConfig,
    labels,
)
from almtok.codec.phonemes import classifier as module
from almtok.codec.phonemes.config import NONE, PHONES, SILENCE
from almtok.codec.phonemes.labels import LabelledFrames, frame_labels, label_frames
from almtok.codec.phonemes.train import train_phoneme_classifier
from almtok.codec.priors.config import TeacherSpec
from almtok.codec.refine import CodeRefiner
from almtok.codec.train.config import CodecTrainConfig
from almtok.recipes.mini.voices import VOICES, find_speaker

from ..toy import toy_codec

SMALL = PhonemeClassifierConfig(width=32, num_bands=24)


def test_one_row_for_each_frame_of_the_codec():
    heard = PhonemeClassifier(SMALL).target_log_posteriors(torch.randn(2, 1, 320 * 7 + 100))
    assert heard.shape == (2, 7, len(PHONES))
    torch.testing.assert_close(heard.exp().sum(dim=-1), torch.ones(2, 7))


def test_what_is_saved_is_loaded_frozen_and_the_same(tmp_path):
    phoneme_classifier = PhonemeClassifier(SMALL).eval()
    phoneme_classifier.save(tmp_path / "phoneme_classifier.safetensors")
    again = PhonemeClassifier.load(tmp_path / "phoneme_classifier.safetensors")
    wav = torch.randn(1, 1, 4800)
    assert torch.equal(
        phoneme_classifier.target_log_posteriors(wav), again.target_log_posteriors(wav)
    )
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_files_of_earlier_versions_are_read(tmp_path, monkeypatch):
    """Of another kind, beside a codec under another name, and in configurations."""
    made = PhonemeClassifier(SMALL).eval()
    monkeypatch.setattr(module, "_KIND", "almtok-listener")
    made.save(tmp_path / "listener.safetensors")
    monkeypatch.undo()
    assert CodeRefiner.of(tmp_path, toy_codec()).phoneme_classifier is not None
    assert TeacherSpec.parse("listener:x").kind == "phonemes"
    config = CodecTrainConfig.from_dict({"stage": "2", "init_from": "x", "listener": "y"})
    assert config.phoneme_classifier == "y"


def test_another_file_is_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="is not a phoneme classifier"):
        PhonemeClassifier.load(tmp_path / "x.safetensors")


def test_labels_follow_the_phones():
    labels = frame_labels([Phone("SIL", 0.0, 0.1), Phone("AA", 0.1, 0.3)], 30, 75.0)
    assert labels.tolist() == [SILENCE] * 8 + [PHONES.index("AA")] * 14 + [SILENCE] * 8


def tones() -> LabelledFrames:
    """Four phones that are four bands, and noise that is no speech."""
    rng = np.random.default_rng(0)
    features, labels, ends, speech = [], [], [], []
    for clip in range(24):
        kind = np.repeat(rng.integers(4, size=12), 10)
        part = rng.normal(-8, 0.3, (120, 24))
        if clip % 4:
            part[np.arange(120), kind * 6] = 0.0
            labels.append(kind)
        else:
            part += 8
            labels.append(np.full(120, NONE))
        features.append(part)
        ends.append(120 * (clip + 1))
        speech.append(bool(clip % 4))
    return LabelledFrames(
        np.concatenate(features).astype(np.float16),
        np.concatenate(labels).astype(np.uint8),
        np.array(ends),
        np.array(speech),
    )


def test_it_learns_to_name_what_it_is_told_at_any_level():
    training = PhonemeTrainingConfig(steps=80, batch_size=8, segment_frames=60, held_out_share=0.1)
    phoneme_classifier, heard = train_phoneme_classifier(tones(), SMALL, training, progress=False)
    again, _ = train_phoneme_classifier(tones(), SMALL, training, progress=False)
    assert heard.accuracy > 0.9  # a quarter would be chance
    for one, two in zip(phoneme_classifier.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Sentences with texts, a noise, and a recording that nobody can align."""
    pytest.importorskip("pocketsphinx")
    folder = tmp_path_factory.mktemp("listened")
    _, speak = find_speaker()
    rows = []
    # pocketsphinx aligns the first two also with other levels and other noise added.
    texts = ["My brother bought a yellow window.", "It rains again.", "Xyzzyq."]
    for number, text in enumerate(texts):
        soundfile.write(folder / f"{number}.wav", speak(text, VOICES[4], 24_000), 24_000)
        rows.append({"audio": f"{number}.wav", "text": text, "domain": "speech"})
    noise = 0.1 * np.random.default_rng(0).standard_normal(24_000)
    soundfile.write(folder / "noise.wav", noise, 24_000)
    rows.append({"audio": "noise.wav", "text": "", "domain": "sound"})
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(manifest)


def test_recordings_become_labelled_frames(corpus, caplog):
    frames = label_frames([corpus], SMALL, workers=2, progress=False)
    assert "skipped 1 of 4 clips" in caplog.text
    assert frames.speech.tolist() == [True, True, False]
    ((start, end),) = frames.clips(speech=False)
    assert (frames.labels[start:end] == NONE).all()
    first = frames.labels[slice(*frames.clips(speech=True)[0])]
    said = [PHONES[place] for place in first[np.flatnonzero(np.diff(first, prepend=-1))]]
    spoken = " ".join(name for name in said if name != "SIL")
    assert "Y EH L OW" in spoken and "W IH N D OW" in spoken


def test_the_command_trains_and_says_how_well(corpus, tmp_path, capsys):
    out = tmp_path / "phoneme_classifier.safetensors"
    assert main(["codec", "phonemes", "--data", corpus, "--out", str(out), "--steps", "2"]) == 0
    assert "held-out clips" in capsys.readouterr().out
    assert PhonemeClassifier.load(out).num_phones == len(PHONES)


def test_labels_are_kept_and_made_again_for_other_recordings(corpus, tmp_path, monkeypatch):
    cache = tmp_path / "labels.npz"
    first = label_frames([corpus], SMALL, cache=cache, progress=False)
    monkeypatch.setattr(labels, "_label_all", lambda *_: pytest.fail("aligned again"))
    again = label_frames([corpus], SMALL, cache=cache, progress=False)
    for field in dataclasses.fields(first):
        assert (getattr(first, field.name) == getattr(again, field.name)).all()
    monkeypatch.setattr(labels, "_label_all", lambda *_: first)
    other = dataclasses.replace(SMALL, num_bands=32)
    label_frames([corpus], other, cache=cache, progress=False)
    cache.write_bytes(cache.read_bytes()[:100])  # damaged: made again
    label_frames([corpus], other, cache=cache, progress=False)


def test_no_speech_with_texts_is_one_error(tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", np.zeros(2400, np.float32), 24_000)
    assert main(["codec", "phonemes", "--data", str(tmp_path), "--out", str(tmp_path / "x")]) == 1
    assert "sources must have speech with texts" in capsys.readouterr().err
