import os
import pickle

import numpy as np
import pytest
import soundfile

from almtok.core import audio
from almtok.core.audio import AudioError, read_audio, resample, to_mono, write_audio


def tone(seconds=0.5, rate=24000, hertz=440.0, level=0.3):
    time = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def main_frequency(wav, rate):
    return np.abs(np.fft.rfft(wav * np.hanning(len(wav)))).argmax() * rate / len(wav)


@pytest.mark.parametrize(
    ("suffix", "tolerance"), [(".wav", 1e-4), (".flac", 1e-4), (".ogg", 0.05), (".mp3", 0.05)]
)
def test_write_then_read(tmp_path, suffix, tolerance):
    wav = tone()
    path = tmp_path / "folder" / f"a{suffix}"
    write_audio(path, wav, 24000)
    back = read_audio(path)
    assert back.dtype == np.float32 and back.ndim == 1
    inner = slice(2400, 9600)  # lossy formats soften the edges
    assert np.abs(back[inner] - wav[inner]).max() < tolerance
    assert os.listdir(path.parent) == [path.name]  # nothing aside is left over


def test_long_vorbis_is_written_in_blocks(tmp_path):
    write_audio(tmp_path / "long.ogg", tone(400.0, 8000), 8000)
    assert len(read_audio(tmp_path / "long.ogg", None)) == 400 * 8000


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000])
def test_any_rate_keeps_pitch_and_length(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(1.0, rate, 1000.0), rate)
    wav = read_audio(tmp_path / "a.wav")
    assert abs(len(wav) - 24000) <= 1
    assert abs(main_frequency(wav, 24000) - 1000) < 2
    assert abs(np.abs(wav[2000:-2000]).max() - 0.3) < 0.01


def test_none_keeps_the_rate_of_the_file(tmp_path):
    soundfile.write(tmp_path / "a.wav", tone(1.0, 8000), 8000)
    assert len(read_audio(tmp_path / "a.wav", None)) == 8000


@pytest.mark.parametrize("rate", [24000, 16000, 44100, 8000])
def test_a_part_equals_that_part_of_the_whole(tmp_path, rate):
    noise = np.random.default_rng(0).normal(0, 0.1, 2 * rate).astype(np.float32)
    soundfile.write(tmp_path / "a.flac", noise, rate)
    whole = read_audio(tmp_path / "a.flac")
    for first, count in [(0, 100), (1, 2400), (12345, 4000), (30000, 18000)]:
        part = read_audio(tmp_path / "a.flac", start=first / 24000, seconds=count / 24000)
        assert part.shape == (count,)
        assert np.abs(part - whole[first : first + count]).max() < 1e-4


def test_a_part_past_the_end_is_shorter_or_refused(tmp_path):
    write_audio(tmp_path / "a.wav", tone(0.5), 24000)
    assert len(read_audio(tmp_path / "a.wav", start=0.4, seconds=1.0)) == 2400
    with pytest.raises(AudioError) as caught:
        read_audio(tmp_path / "a.wav", start=2.0)
    assert caught.value.reason == "empty"


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_sample_formats(tmp_path, subtype):
    wav = tone()
    soundfile.write(tmp_path / "a.wav", wav, 24000, subtype=subtype)
    assert np.abs(read_audio(tmp_path / "a.wav") - wav).max() < 0.01


def test_stereo_becomes_the_mean(tmp_path):
    left, right = tone(hertz=440.0), tone(hertz=880.0)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], 1), 24000, subtype="FLOAT")
    assert np.allclose(read_audio(tmp_path / "a.wav"), (left + right) / 2, atol=1e-6)


def test_long_files_are_read_in_blocks(tmp_path, monkeypatch):
    wav = tone(1.0)
    write_audio(tmp_path / "a.flac", wav, 24000)
    whole = read_audio(tmp_path / "a.flac")
    monkeypatch.setattr(audio, "_READ_FRAMES", 1000)
    assert np.array_equal(read_audio(tmp_path / "a.flac"), whole)


@pytest.mark.parametrize("wrong", [".mp3", ".ogg", ".txt", ".raw", ""])
def test_the_suffix_may_lie(tmp_path, wrong):
    write_audio(tmp_path / "a.flac", tone(), 24000)
    path = (tmp_path / "a.flac").rename(tmp_path / f"b{wrong}")
    assert len(read_audio(path)) == 12000


def test_bytes_are_read_like_the_file(tmp_path):
    write_audio(tmp_path / "a.ogg", tone(), 24000)
    data = (tmp_path / "a.ogg").read_bytes()
    assert np.array_equal(read_audio(data, 16000), read_audio(tmp_path / "a.ogg", 16000))


@pytest.fixture
def bad_files(tmp_path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "corrupt.wav").write_bytes(b"this is no audio" * 100)
    write_audio(tmp_path / "good.flac", tone(), 24000)
    data = (tmp_path / "good.flac").read_bytes()
    (tmp_path / "corrupt.flac").write_bytes(data[:60] + b"\0" * 2000)
    soundfile.write(tmp_path / "empty.flac", np.zeros(0, np.float32), 24000)
    (tmp_path / "corrupt_folder.wav").mkdir()
    wav = tone()
    wav[7] = np.nan
    soundfile.write(tmp_path / "nan.wav", wav, 24000, subtype="FLOAT")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    ["empty.wav", "empty.flac", "corrupt.wav", "corrupt.flac", "corrupt_folder.wav", "nan.wav"]
    + ["missing.wav"],
)
def test_bad_files_say_why(bad_files, name):
    with pytest.raises(AudioError) as caught:
        read_audio(bad_files / name)
    assert caught.value.reason == name.split(".")[0].split("_")[0]
    assert name in str(caught.value)
    assert isinstance(caught.value, ValueError)
    again = pickle.loads(pickle.dumps(caught.value))  # errors travel back from worker processes
    assert (again.reason, again.detail) == (caught.value.reason, caught.value.detail)


def test_bad_bytes_say_why():
    for data, reason in [(b"", "empty"), (b"abc", "corrupt")]:
        with pytest.raises(AudioError) as caught:
            read_audio(data)
        assert caught.value.reason == reason


def test_torchcodec_reads_what_soundfile_cannot(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    (tmp_path / "a.m4a").write_bytes(b"something that soundfile does not know")

    class Decoder:
        def __init__(self, source):
            assert source == str(tmp_path / "a.m4a")

        def get_all_samples(self):
            class Samples:
                data = torch.ones(2, 48000) * torch.tensor([[0.1], [0.3]])
                sample_rate = 48000

            return Samples()

    monkeypatch.setattr(audio, "_torchcodec_decoder", lambda: Decoder)
    wav = read_audio(tmp_path / "a.m4a", 24000, start=0.25, seconds=0.5)
    assert wav.shape == (12000,)
    assert np.allclose(wav[1000:-1000], 0.2, atol=1e-3)


def test_write_takes_tensors_and_clips(tmp_path):
    torch = pytest.importorskip("torch")
    write_audio(tmp_path / "a.wav", torch.full((1, 100), 2.0, requires_grad=True), 24000)
    assert np.allclose(read_audio(tmp_path / "a.wav"), 1.0, atol=1e-4)


def test_write_refuses(tmp_path):
    with pytest.raises(ValueError, match=r"\.flac.*, got a\.xyz"):
        write_audio(tmp_path / "a.xyz", tone(), 24000)
    with pytest.raises(ValueError, match=r"\[2, 3\]"):
        write_audio(tmp_path / "a.wav", np.zeros((2, 3)), 24000)
    with pytest.raises(AudioError, match="nan"):
        write_audio(tmp_path / "a.wav", [np.nan], 24000)
    assert os.listdir(tmp_path) == []


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    write_audio(tmp_path / "a.wav", tone(), 24000)

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(audio.soundfile.SoundFile, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        write_audio(tmp_path / "a.wav", tone(0.1), 24000)
    assert os.listdir(tmp_path) == ["a.wav"]
    assert len(read_audio(tmp_path / "a.wav")) == 12000


def test_small_functions():
    assert to_mono(np.ones((2, 5))).shape == (5,)
    assert to_mono(np.ones(5)).shape == (5,)
    with pytest.raises(ValueError, match="3"):
        to_mono(np.ones((1, 2, 3)))
    same = tone()
    assert np.array_equal(resample(same, 24000, 24000), same)
    with pytest.raises(ValueError, match="0"):
        resample(same, 0, 24000)
    with pytest.raises(ValueError, match="start"):
        read_audio(b"x", start=-1.0)
