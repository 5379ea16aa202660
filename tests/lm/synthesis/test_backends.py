"""What speaks: Kokoro and Piper with a session that stands in for the model, espeak-ng, errors."""

import json
import pickle

import numpy as np
import pytest

from almtok.core.reading import UnreadableFile
from almtok.lm.synthesis import kokoro, piper
from almtok.lm.synthesis.backends import load_backend
from almtok.lm.synthesis.phonemes import phonemize

pytest.importorskip("espeakng_loader")

SIGNS = '_^$ ;:,.!?—"()abcdefghijklmnopqrstuvwxyzæðŋɑɐɔəɚɛɜɡɪɹɾʃʊʌʒθˈˌː'
VOICES = {"af_bella": 1.0, "am_adam": 2.0, "bf_emma": 3.0, "bm_george": 4.0, "ff_siwis": 5.0}


class Session:
    """Keeps what it was asked, and answers with a sample per phone."""

    asked: list[dict[str, np.ndarray]] = []
    opened: list[tuple[str, int]] = []

    def __init__(self, model, seed=0):
        self.opened.append((model.name, seed))

    def run(self, outputs, feeds):
        assert outputs is None
        self.asked.append(feeds)
        tokens = feeds["tokens"] if "tokens" in feeds else feeds["input"]
        return [np.linspace(-0.5, 0.5, 10 * tokens.shape[1], dtype=np.float32).reshape(1, 1, -1)]


@pytest.fixture
def session(monkeypatch):
    for module in (kokoro, piper):
        monkeypatch.setattr(module, "check_installed", lambda: None)
        monkeypatch.setattr(module, "open_session", Session)
    monkeypatch.setattr(Session, "asked", [])
    monkeypatch.setattr(Session, "opened", [])
    return Session


@pytest.fixture
def kokoro_folder(tmp_path):
    """A folder of Kokoro; row n of a voice's table has n + a number of the voice everywhere."""
    folder = tmp_path / "kokoro"
    (folder / "voices").mkdir(parents=True)
    (folder / "model.int8.onnx").write_bytes(b"a model")
    vocabulary = {"vocab": {sign: n + 1 for n, sign in enumerate(SIGNS)}}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    for name, value in VOICES.items():
        table = np.repeat(np.arange(510, dtype=np.float32)[:, None] + value, 256, axis=1)
        table.tofile(folder / "voices" / f"{name}.bin")
    return folder


@pytest.fixture
def piper_folder(tmp_path):
    folder = tmp_path / "piper"
    folder.mkdir()
    for name, speakers in (("en_US-joe", {}), ("en_GB-many", {"p1": 0, "p2": 1})):
        config = {
            "audio": {"sample_rate": 22050},
            "espeak": {"voice": "en-us" if "US" in name else "en"},
            "inference": {"noise_scale": 0.5, "length_scale": 2, "noise_w": 0.7},
            "phoneme_id_map": {sign: [n] for n, sign in enumerate(SIGNS)},
            "speaker_id_map": speakers,
            **({"language": {"code": "en_US"}} if "US" in name else {}),
        }
        (folder / f"{name}.onnx.json").write_text(json.dumps(config))
        (folder / f"{name}.onnx").write_bytes(b"a model")
    (folder / "MODEL_CARD").write_text("# joe\n* License: CC0\n")
    return folder


def test_phones_keep_the_punctuation():
    assert phonemize("\"Well,\" she said; it's fine... isn't it?", "en-us") == (
        '"wˈɛl," ʃiː sˈɛd; ɪts fˈaɪn... ˈɪzənt ɪt?'
    )
    assert phonemize("the bath", "en-us") != phonemize("the bath", "en")
    assert phonemize(" ... ", "en-us") == "..."


def test_kokoro_speaks(session, kokoro_folder):
    backend = load_backend(str(kokoro_folder), "en")
    assert (backend.name, backend.licence) == ("kokoro", "Apache-2.0")
    assert backend.voices() == ["af_bella", "am_adam", "bf_emma", "bm_george"]
    wav, rate = backend.speak("A bad dog.", "af_bella:3+am_adam:1", 1.1, 7)
    (asked,) = session.asked
    ids = [SIGNS.index(sign) + 1 for sign in phonemize("A bad dog.", "en-us")]
    assert asked["tokens"].tolist() == [[0, *ids, 0]] and asked["tokens"].dtype == np.int64
    assert asked["style"].shape == (1, 256) and asked["style"].dtype == np.float32
    assert asked["style"][0, 0] == pytest.approx(len(ids) + 0.75 * 1 + 0.25 * 2)
    assert asked["speed"].tolist() == [pytest.approx(1.1)]
    assert wav.shape == (10 * (len(ids) + 2),) and rate == 24_000
    backend.speak("Again.", "af_bella", 1.0, 8)
    assert session.opened == [("model.int8.onnx", 0)], "the model is loaded once"
    (kokoro_folder / "model.onnx").write_bytes(b"the better one")
    load_backend(str(kokoro_folder), "en").speak("Again.", "af_bella", 1.0, 8)
    assert session.opened[-1][0] == "model.onnx"


def test_kokoro_reads_british_voices_as_british(session, kokoro_folder):
    backend = load_backend(str(kokoro_folder), "en")
    text = "The bath was better."
    cases = {
        "af_bella": ("female", "en-US"),
        "bm_george": ("male", "en-GB"),
        "bf_emma:0.6+am_adam:0.4": ("", "en-GB"),
        "bf_emma:0.4+af_bella:0.6": ("female", "en-US"),
        "ff_siwis:0.8+bf_emma:0.2": ("female", "en-GB"),
        "ff_siwis": ("female", "en-US"),
    }
    for recipe, (gender, language) in cases.items():
        backend.check_voice(recipe)
        assert backend.describe(recipe) == {"gender": gender, "language": language}
        backend.speak(text, recipe, 1.0, 0)
        phones = phonemize(text, "en" if language == "en-GB" else "en-us")
        ids = [SIGNS.index(sign) + 1 for sign in phones if sign in SIGNS]
        assert session.asked[-1]["tokens"].tolist() == [[0, *ids, 0]]
    assert load_backend(str(kokoro_folder), "fr").voices() == ["ff_siwis"]


def test_kokoro_reads_long_texts_in_parts(session, kokoro_folder):
    backend = load_backend(str(kokoro_folder), "en")
    sentence = "The old man walked slowly down to the river and looked at the water. "
    wav, _ = backend.speak(sentence * 12, "af_bella", 1.0, 0)
    lengths = [asked["tokens"].shape[1] for asked in session.asked]
    assert len(lengths) > 1 and max(lengths) <= 511
    assert len(wav) == 10 * sum(lengths)
    words = sum(feeds["tokens"].shape[1] - 2 for feeds in session.asked)
    whole = len([sign for sign in phonemize(sentence * 12, "en-us") if sign in SIGNS])
    assert abs(words - whole) <= len(lengths), "nothing is lost but spaces between parts"
    with pytest.raises(ValueError, match="can be pronounced"):
        backend.speak(" ", "af_bella", 1.0, 0)


def test_kokoro_is_pickled_without_its_session(session, kokoro_folder):
    backend = load_backend(str(kokoro_folder), "en")
    wav, _ = backend.speak("A bad dog.", "af_bella", 1.0, 0)
    again, _ = pickle.loads(pickle.dumps(backend)).speak("A bad dog.", "af_bella", 1.0, 0)
    assert np.array_equal(wav, again) and len(session.opened) == 2


def test_damaged_folders_of_kokoro(session, kokoro_folder):
    (kokoro_folder / "voices" / "af_bella.bin").write_bytes(b"1234" * 100)
    with pytest.raises(UnreadableFile, match="af_bella.bin must hold 510 vectors .* got 100"):
        load_backend(str(kokoro_folder), "en").speak("A dog.", "af_bella", 1.0, 0)
    with pytest.raises(ValueError, match="no voice for language 'de'; found af_bella, am_adam"):
        load_backend(str(kokoro_folder), "de")
    (kokoro_folder / "model.int8.onnx").unlink()
    with pytest.raises(ValueError, match="has no model.onnx or model.int8.onnx"):
        load_backend(str(kokoro_folder), "en")
    (kokoro_folder / "vocab.json").write_text('{"words": {}}')
    (kokoro_folder / "model.onnx").write_bytes(b"a model")
    with pytest.raises(UnreadableFile, match="vocab.json: 'vocab' is missing"):
        load_backend(str(kokoro_folder), "en")


def test_piper_speaks(session, piper_folder):
    backend = load_backend(str(piper_folder), "en")
    assert (backend.name, backend.licence) == ("piper", "CC0")
    assert backend.voices() == ["en_GB-many/p1", "en_GB-many/p2", "en_US-joe"]
    assert backend.describe("en_US-joe") == {"language": "en-US"}
    assert backend.describe("en_GB-many/p1") == {"language": "en"}
    _, rate = backend.speak("A bad dog.", "en_US-joe", 1.25, 7)
    backend.speak("A bad dog.", "en_GB-many/p2", 1.0, 8)
    one, other = session.asked
    phones = [SIGNS.index(sign) for sign in phonemize("A bad dog.", "en-us")]
    assert one["input"].tolist() == [[1, 0, *(n for phone in phones for n in (phone, 0)), 2]]
    assert one["input_lengths"].tolist() == [one["input"].shape[1]]
    assert one["scales"].tolist() == [0.5, pytest.approx(1.6), pytest.approx(0.7)]
    assert "sid" not in one and other["sid"].tolist() == [1]
    assert rate == 22_050
    # Random numbers are those of the reading.
    assert session.opened == [("en_US-joe.onnx", 7), ("en_GB-many.onnx", 8)]


def test_piper_refuses_what_it_has_not(session, piper_folder):
    backend = load_backend(str(piper_folder), "en")
    with pytest.raises(ValueError, match="unknown voice 'en_US-jo'; there are en_US-joe"):
        backend.check_voice("en_US-jo")
    with pytest.raises(ValueError, match="cannot be mixed"):
        backend.check_voice("en_US-joe:0.5+en_GB-many/p1:0.5")
    with pytest.raises(ValueError, match="no voice of Piper for language 'de'"):
        load_backend(str(piper_folder), "de")
    (piper_folder / "en_US-joe.onnx").unlink()
    with pytest.raises(ValueError, match="en_US-joe.onnx is missing"):
        load_backend(str(piper_folder), "en")


def test_espeak_varies_pitch_with_the_seed():
    backend = load_backend("espeak", "en")
    assert len(backend.voices()) == 8
    backend.check_voice("anna")
    assert backend.describe("glen") == {"gender": "male", "language": "en-GB"}
    with pytest.raises(ValueError, match="unknown voice"):
        backend.check_voice("zoe")
    with pytest.raises(ValueError, match="does not mix voices"):
        backend.check_voice("anna:0.5+beth:0.5")
    one, rate = backend.speak("the small cat", "anna", 1.0, 3)
    assert rate == 24_000 and np.abs(one).max() > 0.1
    same, _ = pickle.loads(pickle.dumps(backend)).speak("the small cat", "anna", 1.0, 3)
    assert np.array_equal(one, same)
    other, _ = backend.speak("the small cat", "anna", 1.0, 4)
    assert len(one) != len(other) or not np.array_equal(one, other)
    fast, _ = backend.speak("the small cat", "anna", 1.5, 3)
    assert len(fast) < 0.85 * len(one)
    with pytest.raises(ValueError, match="read English, got language 'de'"):
        load_backend("espeak", "de")


def test_what_is_no_model_is_named(hum, tmp_path):
    with pytest.raises(ValueError, match="model must be espeak, a folder of Kokoro .* got '/no"):
        load_backend("/nowhere", "en")
    with pytest.raises(ValueError, match="has no function 'spoke'"):
        load_backend(f"{hum}:spoke", "en")
    with pytest.raises(ValueError, match="there is no such file"):
        load_backend(f"{tmp_path}/none.py:speak", "en")
    for code, message in (("def speak(:", "line 1"), ("import no_such_package", "No module named")):
        (tmp_path / "bad.py").write_text(code)
        with pytest.raises(ValueError, match=f"bad.py: .*{message}"):
            load_backend(f"{tmp_path}/bad.py:speak", "en")


def test_functions_are_pickled_by_their_place(hum):
    backend = load_backend(f"{hum}:speak", "en")
    wav, rate = backend.speak("some words", "ann", 1.0, 3)
    again, _ = pickle.loads(pickle.dumps(backend)).speak("some words", "ann", 1.0, 3)
    assert rate == 16_000 and np.array_equal(wav, again)
