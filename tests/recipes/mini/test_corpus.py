import builtins
import hashlib
import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from almtok.core.audio import read_audio
from almtok.core.data import AudioCorpus, DataConfig
from almtok.lm.text.phones import load_espeak
from almtok.recipes.mini import corpus as mini
from almtok.recipes.mini import voices
from almtok.recipes.mini.corpus import make_corpus
from almtok.recipes.mini.phrases import FEW, SPLITS, WHOLE, split_of
from almtok.recipes.mini.sounds import SOUNDS, make_sound
from almtok.recipes.mini.tunes import INSTRUMENTS, make_tune
from almtok.recipes.mini.voices import speak_formants, spell

from ...pace import wait_until

RATE = 16000


def digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def rows_of(manifest):
    return [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return make_corpus(folder, 0, 1.0, sample_rate=RATE, progress=False)


def test_manifest_has_the_schema(made):
    rows = rows_of(made)
    keys = {"id", "audio", "text", "speaker", "language", "domain", "duration", "split"}
    assert all(set(row) == keys for row in rows)
    assert len({row["id"] for row in rows}) == len(rows)
    assert {row["domain"] for row in rows} == {"speech", "sound", "music"}
    assert {row["split"] for row in rows} == set(SPLITS)
    for row in rows:
        wav = read_audio(made.parent / row["audio"], None)
        assert row["duration"] == pytest.approx(len(wav) / RATE, abs=1e-3)
        assert -30 < 20 * np.log10(np.sqrt(np.mean(wav**2))) < -15
        assert row["text"] and (row["domain"] != "speech" or row["speaker"])
    speech = [row for row in rows if row["domain"] == "speech"]
    assert len({row["speaker"] for row in speech}) >= 6
    assert 60 <= sum(row["duration"] for row in rows) < 120


def test_splits_share_no_sentence(made):
    texts = {
        split: {r["text"] for r in rows_of(made) if r["split"] == split and r["domain"] == "speech"}
        for split in SPLITS
    }
    assert not texts["train"] & texts["test"] and not texts["train"] & texts["validation"]
    for split in SPLITS:
        source = WHOLE.sentences(split, np.random.default_rng(1))
        drawn = [next(source) for _ in range(300)]
        assert len(set(drawn)) == 300 and {split_of(text) for text in drawn} == {split}


def test_a_corpus_for_a_language_model_has_words_few_voices_and_a_grammar(tmp_path):
    manifest = make_corpus(tmp_path, 0, 2.0, kind="language", sample_rate=RATE, progress=False)
    rows = rows_of(manifest)
    speech = [row for row in rows if row["domain"] == "speech"]
    words = [row for row in speech if row["id"].startswith("words-")]
    assert {row["speaker"] for row in speech} == {voice.name for voice in mini.LANGUAGE_VOICES}
    assert {row["split"] for row in words} == {"train"}
    assert all(1 <= len(row["text"].split()) <= 3 for row in words)
    assert {word for row in speech for word in row["text"].split()} <= set(FEW.vocabulary)
    rules = (tmp_path / "grammar.jsgf").read_text()
    assert rules.startswith("#JSGF V1.0;") and "<name> has <number> <colour> <things>" in rules
    voice = rows_of(make_corpus(tmp_path / "v", 0, 0.2, kind="voice", progress=False))
    assert {row["speaker"] for row in voice} == {mini.NEW_VOICE.name}
    assert not {mini.NEW_VOICE} & set(mini.LANGUAGE_VOICES)
    with pytest.raises(ValueError, match="codec, language, voice, got 'mine'"):
        make_corpus(tmp_path / "other", kind="mine")


def test_every_clip_is_usable_by_the_corpus(made):
    corpus = AudioCorpus.scan([f"{made}:train"], DataConfig(sample_rate=RATE), progress=False)
    assert not corpus.skipped and corpus.domains == ("music", "sound", "speech")
    folders = [f"{domain}={made.parent / 'train' / domain}" for domain in corpus.domains]
    same = AudioCorpus.scan(folders, DataConfig(sample_rate=RATE), progress=False)
    assert same.seconds("speech") == corpus.seconds("speech")


def test_same_seed_same_bytes_in_another_process(made, tmp_path, quiet_environment):
    code = (
        "import sys; from almtok.recipes.mini.corpus import make_corpus;"
        f"make_corpus(sys.argv[1], 0, 1.0, sample_rate={RATE}, progress=False)"
    )
    environment = {**quiet_environment, "PYTHONHASHSEED": "7"}
    program = [sys.executable, "-c", code, str(tmp_path / "again")]
    subprocess.run(program, check=True, env=environment)
    assert digest(tmp_path / "again") == digest(made.parent)
    other = make_corpus(tmp_path / "other", 1, 0.1, sample_rate=RATE, progress=False)
    assert {row["text"] for row in rows_of(other)} != {row["text"] for row in rows_of(made)}


KILLED = f"""
import sys, time
from almtok.recipes.mini import corpus
write, written = corpus.write_audio, []
def resting(*args):
    if len(written) == 3:  # until it is killed
        time.sleep(3600)
    written.append(args)
    write(*args)
corpus.write_audio = resting
corpus.make_corpus(sys.argv[1], 0, 1.0, sample_rate={RATE}, progress=False)
"""


def test_killed_and_started_again(made, tmp_path, quiet_environment):
    folder = tmp_path / "killed"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)], env=quiet_environment)
    wait_until(lambda: len(list(folder.rglob("*.flac"))) == 3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (folder / "manifest.jsonl").exists()
    for left_over in folder.rglob("*.tmp-*"):  # the file that was being written
        left_over.unlink()
    make_corpus(folder, 0, 1.0, sample_rate=RATE, progress=False)
    assert digest(folder) == digest(made.parent)


def test_complete_corpus_is_left_alone(made, monkeypatch):
    monkeypatch.setattr(mini, "find_speaker", None)  # would fail when called
    before = os.stat(made).st_mtime_ns
    assert make_corpus(made.parent, 0, 1.0, sample_rate=RATE, progress=False) == made
    assert os.stat(made).st_mtime_ns == before
    with pytest.raises(ValueError, match="'seed': 0.*'seed': 5.*another folder"):
        make_corpus(made.parent, 5, 1.0, sample_rate=RATE)
    (made.parent / "corpus.json").rename(made.parent / "aside")
    with pytest.raises(ValueError, match="of another corpus"):
        make_corpus(made.parent, 0, 1.0, sample_rate=RATE)
    (made.parent / "aside").rename(made.parent / "corpus.json")
    with pytest.raises(ValueError, match="-1"):
        make_corpus(made.parent, 5, -1)


def test_without_espeak_the_formant_voice_speaks(tmp_path, monkeypatch, caplog):
    original = builtins.__import__

    def refuse(name, *rest, **more):
        if name == "espeakng_loader":
            raise ImportError("no module named espeakng_loader")
        return original(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    load_espeak.cache_clear()
    first = make_corpus(tmp_path / "a", 0, 0.1, sample_rate=RATE, progress=False)
    assert "espeak-ng cannot be loaded (no module named espeakng_loader)" in caplog.text
    assert "pip install espeakng-loader" in caplog.text
    make_corpus(tmp_path / "b", 0, 0.1, sample_rate=RATE, progress=False)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    assert json.loads((first.parent / "corpus.json").read_text())["synthesiser"] == "formants"
    first.unlink()
    monkeypatch.undo()
    if voices.find_speaker()[0] == "espeak-ng":
        with pytest.raises(ValueError, match="another synthesiser than espeak-ng"):
            make_corpus(tmp_path / "a", 0, 0.1, sample_rate=RATE, progress=False)


def test_espeak_says_the_same_in_any_order():
    pytest.importorskip("espeakng_loader")
    name, speak = voices.find_speaker()
    assert name == "espeak-ng"
    texts = ["the small cat sat near the tree", "call one two three"]
    jobs = [(text, voice) for text in texts for voice in voices.VOICES]
    forward = [speak(text, voice, RATE) for text, voice in jobs]
    backward = [speak(text, voice, RATE) for text, voice in reversed(jobs)][::-1]
    assert all(np.array_equal(one, two) for one, two in zip(forward, backward, strict=True))
    assert all(0.5 * RATE < len(wav) < 4 * RATE for wav in forward)


@pytest.mark.parametrize("kind", SOUNDS)
def test_sounds(kind):
    captions = set()
    for seed in range(6):
        text, wav = make_sound(kind, np.random.default_rng(seed), RATE)
        again = make_sound(kind, np.random.default_rng(seed), RATE)
        assert again[0] == text and np.array_equal(again[1], wav)
        assert wav.ndim == 1 and 0.3 < len(wav) / RATE < 6 and np.isfinite(wav).all()
        assert np.sqrt(np.mean(wav**2)) > 1e-3
        captions.add(text)
    assert len(captions) > 1 or kind == "waves"


def test_counted_sounds_are_heard_that_often():
    counts = {"once": 1, "twice": 2, "three times": 3, "four times": 4, "five times": 5}
    for seed in range(10):
        text, wav = make_sound("dog", np.random.default_rng(seed), RATE)
        envelope = np.convolve(np.abs(wav), np.ones(1600), "same")
        loud = envelope > 0.4 * envelope.max()
        heard = (np.diff(loud.astype(int)) == 1).sum() + loud[0]
        assert heard == counts[text.split("barks ")[1]]


def test_tunes():
    captions = [make_tune(np.random.default_rng(seed), RATE) for seed in range(25)]
    texts = " ".join(text for text, _ in captions)
    assert all(name in texts for name in INSTRUMENTS)
    for _, wav in captions:
        assert 4 < len(wav) / RATE < 10 and np.isfinite(wav).all() and np.abs(wav).max() > 0.1


def test_plain_tunes_say_only_what_is_heard_at_once():
    tunes = [make_tune(np.random.default_rng(seed), RATE, plain=True) for seed in range(40)]
    for text, wav in tunes:
        assert re.fullmatch(r"a (slow|fast) \w+ tune( with (chords|drums))?", text)
        assert 3 < len(wav) / RATE < 5 and np.abs(wav).max() > 0.1
    assert len({text for text, _ in tunes}) > 20


def test_formants_spell_and_speak():
    assert spell("the ship") == ["th", "e", "a pause", "sh", "i", "p"]
    wav = speak_formants("please open the red box", 120.0, 1.0, 1.0, RATE)
    assert wav.dtype == np.float32 and 1 < len(wav) / RATE < 4
    assert np.array_equal(wav, speak_formants("please open the red box", 120.0, 1.0, 1.0, RATE))
    faster = speak_formants("please open the red box", 120.0, 1.0, 1.5, RATE)
    assert len(faster) < 0.75 * len(wav)
