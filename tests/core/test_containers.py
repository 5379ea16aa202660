"""The length of audio is what decodes, not what a header says; damaged headers cost no memory."""

import io
import re
import struct

import numpy as np
import pytest
import soundfile

from almtok.core.audio import AudioError, max_samples, read_audio, write_audio
from almtok.core.data import AudioCorpus, DataConfig
from almtok.core.data.manifests import list_entries
from almtok.lm.data.clips import decode_buffers
from almtok.lm.data.config import TokenizeConfig

RATE = 24000


def noise(seconds, seed=0, rate=RATE):
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * rate)).astype(np.float32)


def encoded(container, subtype, wav, rate=RATE):
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, 1, subtype=subtype, format=container) as out:
        out.write(wav)
    return bytearray(file.getvalue())


@pytest.fixture(params=["file", "bytes"])
def read(request, tmp_path):
    """Read bytes as such, or from a file."""

    def read(data, *args, **kwargs):
        if request.param == "bytes":
            return read_audio(bytes(data), *args, **kwargs)
        path = tmp_path / "a.bin"
        path.write_bytes(data)
        return read_audio(path, *args, **kwargs)

    return read


@pytest.fixture(autouse=True)
def warnings(request, caplog):
    """What was said of headers: nothing, except in tests of truncated and damaged files."""
    yield caplog
    said = [record for record in caplog.get_records("call") if record.name == "almtok.core.audio"]
    assert not said or request.node.name.startswith(("test_truncated", "test_samples", "test_dam"))


FORMATS = [
    ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("FLAC", "PCM_16"),
    ("AU", "PCM_16"), ("CAF", "PCM_16"), ("CAF", "ALAC_16"), ("RF64", "PCM_16"), ("W64", "PCM_16"),
]  # fmt: skip
WHOLE = [("WAV", "PCM_16"), ("AIFF", "PCM_16")]


@pytest.mark.parametrize(("container", "subtype"), FORMATS + WHOLE)
def test_what_is_written_is_read_to_its_end(read, container, subtype):
    assert len(read(encoded(container, subtype, noise(1.3)), None)) == round(1.3 * RATE)


@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_joined_files_are_read_to_their_end(read, container, subtype):
    first = encoded(container, subtype, noise(0.5))
    second = encoded(container, subtype, noise(0.3, 1))
    wav = read(first + second, None)
    assert len(wav) == 0.8 * RATE
    assert np.array_equal(wav[: RATE // 2], read(first, None))
    assert np.array_equal(wav[RATE // 2 :], read(second, None))
    assert len(read(first + first, None)) == RATE  # the same serial number twice
    part = read(first + second, None, start=0.4, seconds=0.2)
    assert np.array_equal(part, wav[round(0.4 * RATE) : round(0.6 * RATE)])


def test_joined_files_may_have_other_rates(read):
    parts = (
        encoded("OGG", "VORBIS", noise(0.5)),
        encoded("OGG", "VORBIS", noise(0.5, 1, 8000), 8000),
    )
    assert len(read(parts[0] + parts[1], 16000)) == 16000


@pytest.mark.parametrize(("container", "subtype"), WHOLE)
def test_joined_files_that_cannot_be_read_are_refused(read, container, subtype):
    with pytest.raises(AudioError, match="cannot be decoded"):
        read(encoded(container, subtype, noise(0.5)) * 2)


@pytest.mark.parametrize("size", [0, 100, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("riff", [0, 0xFFFFFFFF])
def test_wav_of_a_pipe(read, size, riff):
    wav = noise(0.5)
    data = encoded("WAV", "PCM_16", wav)
    place = data.index(b"data")
    data[4:8] = struct.pack("<I", riff)
    data[place + 4 : place + 8] = struct.pack("<I", size)
    assert np.abs(read(data, None) - wav).max() < 1e-4


def test_other_chunks_of_wav_are_no_samples(read):
    data = encoded("WAV", "PCM_16", noise(0.5))
    assert len(read(data + b"LIST\4\0\0\0abcd", None)) == RATE // 2
    assert len(read(data + b"x", None)) == RATE // 2
    empty = encoded("WAV", "PCM_16", noise(0.0))
    for rest in (b"", b"LIST\4\0\0\0abcd"):
        with pytest.raises(AudioError, match="empty"):
            read(empty + rest)


@pytest.mark.parametrize("container", ["WAV", "AIFF"])
def test_tags_behind_the_container_are_no_samples(read, container):
    data = encoded(container, "PCM_16", noise(0.5))
    tag = b"TAGTitle of the song".ljust(128, b"\xff")
    assert len(read(data + tag, None)) == RATE // 2


TRUNCATED = [
    ("WAV", "PCM_16"), ("WAV", "IMA_ADPCM"), ("AIFF", "PCM_16"), ("AU", "PCM_16"),
    ("RF64", "PCM_16"), ("W64", "PCM_16"), ("MP3", "MPEG_LAYER_III"),
]  # fmt: skip


@pytest.mark.parametrize("share", [0.5, 0.9])
@pytest.mark.parametrize(("container", "subtype"), TRUNCATED)
def test_truncated_files_are_read_with_a_warning(read, container, subtype, share, caplog):
    whole = encoded(container, subtype, noise(4.0))
    cut = whole[: round(share * len(whole))]
    wav = read(cut, None)
    assert len(wav) == pytest.approx(4 * share * RATE, abs=0.2 * RATE)
    (record,) = caplog.records
    declared, decoded = re.fullmatch(
        r".*(?:a\.bin|audio): its header declares about ([\d.]+) s, ([\d.]+) s can be decoded",
        record.getMessage(),
    ).groups()
    assert float(declared) == pytest.approx(4.0, abs=0.2)
    assert float(decoded) == pytest.approx(len(wav) / RATE, abs=0.006)
    with pytest.raises(AudioError, match="its header declares") as caught:
        read(cut, None, allow_truncated=False)
    assert caught.value.reason == "truncated"
    caplog.clear()  # an excerpt that is there is right
    assert len(read(cut, None, start=0.5, seconds=1.0, allow_truncated=False)) == RATE
    assert len(read(cut[: len(whole) - 100], None, start=0.5, seconds=1.0)) == RATE
    assert not caplog.records


def test_truncated_ogg_is_read_with_a_warning(read, caplog):
    for subtype in ("VORBIS", "OPUS"):
        data = encoded("OGG", subtype, noise(8.0))
        assert RATE < len(read(data[: len(data) // 2], None)) < 5 * RATE
        assert re.search(r"the last page is not complete; [\d.]+ s can be", caplog.messages[-1])
    assert len(caplog.records) == 2


def test_truncated_files_of_a_corpus_are_counted(tmp_path):
    (tmp_path / "a.wav").write_bytes(encoded("WAV", "PCM_16", noise(2.0)))
    cut = encoded("WAV", "PCM_16", noise(2.0))[: RATE * 2]
    (tmp_path / "b.wav").write_bytes(cut)
    corpus = AudioCorpus.scan([tmp_path], DataConfig(), progress=False)
    assert corpus.skipped.counts == {"truncated": 1}
    assert "b.wav: its header declares about 2.00 s, 1.00" in corpus.skipped.items[0].detail
    (clips,) = decode_buffers(list_entries([tmp_path]), RATE, TokenizeConfig())
    assert [type(clip).__name__ for clip in clips] == ["DecodedClip", "RejectedClip"]
    assert clips[1].skipped.reason == "truncated"


def test_samples_behind_the_size_of_the_header_are_read_with_a_warning(read, caplog):
    for container, place in (("AU", 8), ("WAV", 40)):
        data = encoded(container, "PCM_16", noise(1.0))
        order = "<I" if container == "WAV" else ">I"
        data[place : place + 4] = struct.pack(order, RATE)  # half of it
        if container == "WAV":
            data[4:8] = struct.pack("<I", 1000)
        assert len(read(data, None)) == RATE
        assert "its header declares about 0.50 s, 1.00 s can be decoded" in caplog.messages[-1]
        with pytest.raises(AudioError, match=r"declares about 0\.50 s"):
            read(data, None, allow_truncated=False)
    assert len(caplog.records) == 2


@pytest.mark.parametrize("container", ["FLAC", "CAF"])
def test_truncated_flac_is_refused(read, container):
    data = encoded(container, "PCM_16", noise(4.0))
    with pytest.raises(AudioError, match="corrupt"):
        read(data[: len(data) // 2], None)


def test_bytes_behind_a_short_mark_are_no_samples(read):
    """Formats of two to four bytes, and headers of AU and MP3 with noise behind them."""
    rng = np.random.default_rng(0)
    au, mp3 = encoded("AU", "PCM_16", noise(0.5)), encoded("MP3", "MPEG_LAYER_III", noise(0.5))
    starts = [b"\1\4", au[:8], au[:16], mp3[:4], b"ID3\4\0\0\0\0\0\0" + mp3[:4]]
    for container in ("AVR", "PAF", "PVF", "IRCAM", "WVE", "MPC2K"):
        starts.append(encoded(container, soundfile.default_subtype(container), noise(0.5))[:40])
    for start in starts:
        for _ in range(8):
            with pytest.raises(AudioError, match="corrupt"):
                read(bytes(start) + rng.bytes(3000), None)


@pytest.mark.parametrize("offset", [0, 23, 60_000, 0xFFFFFFFF])
def test_au_whose_samples_begin_nowhere_is_refused(read, offset):
    data = encoded("AU", "PCM_16", noise(0.5))
    data[4:8] = struct.pack(">I", offset)
    with pytest.raises(AudioError, match=f"begin at byte 24 to {len(data)}, got {offset}"):
        read(data, None)


def test_rf64_of_a_pipe(read):
    data = encoded("RF64", "PCM_16", noise(0.5))
    place = data.index(b"ds64")
    data[place + 8 : place + 32] = bytes(24)
    assert len(read(data, None)) == RATE // 2


@pytest.mark.parametrize(("frames", "size"), [(0, 0), (0, 8), (0xFFFFFFFF, 0xFFFFFFFF)])
def test_aiff_of_a_pipe(read, frames, size):
    data = encoded("AIFF", "PCM_16", noise(0.5))
    common, sound = data.index(b"COMM"), data.index(b"SSND")
    data[common + 10 : common + 14] = struct.pack(">I", frames)
    data[sound + 4 : sound + 8] = struct.pack(">I", size)
    assert len(read(data, None)) == RATE // 2


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_au_of_a_pipe(read, size):
    data = encoded("AU", "PCM_16", noise(0.5))
    data[8:12] = struct.pack(">I", size)
    assert len(read(data, None)) == RATE // 2


@pytest.mark.parametrize("size", [0, -1])
def test_caf_of_a_pipe(read, size):
    data = encoded("CAF", "PCM_16", noise(0.5))
    place = data.index(b"data")
    data[place + 4 : place + 12] = struct.pack(">q", size)
    assert len(read(data, None)) == RATE // 2


def test_flac_of_a_pipe(read):
    wav = noise(0.5)
    data = encoded("FLAC", "PCM_16", wav)
    data[21] &= 0xF0  # the number of samples in STREAMINFO
    data[22:26] = bytes(4)
    assert np.abs(read(data, None) - wav).max() < 1e-4
    part = read(data, None, start=0.25, seconds=0.125)
    assert np.abs(part - wav[RATE // 4 : RATE // 4 + RATE // 8]).max() < 1e-4


@pytest.mark.parametrize("rate", [8000, 16000, 24000, 44100, 48000])
def test_mp3_without_a_description(read, rate):
    """Its encoder's delay and padding are not known, so up to three frames more are decoded."""
    wav = noise(1.0, rate=rate)
    data = encoded("MP3", "MPEG_LAYER_III", wav, rate)
    place = data.index(b"Xing")
    assert len(read(data, None)) == rate
    data[place : place + 4] = bytes(4)
    assert rate <= len(read(data, None)) <= rate + 3 * 1152 + 1105
    tagged = b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + data + b"TAG" + bytes(125)
    assert len(read(tagged, None)) == len(read(data, None))


def test_mp3_with_a_wrong_description(read):
    data = encoded("MP3", "MPEG_LAYER_III", noise(1.0))
    place = data.index(b"Xing")
    data[place + 8 : place + 12] = struct.pack(">I", 5)
    assert len(read(data, None)) == RATE


@pytest.mark.parametrize("rate", [1, 100, 1_000_000])
def test_implausible_rates_are_refused(read, rate):
    data = encoded("WAV", "PCM_16", noise(0.5))
    data[24:28] = struct.pack("<I", rate)
    with pytest.raises(AudioError, match=f"must be 2000 to 768000 Hz, got {rate} Hz"):
        read(data)


def test_the_decoded_length_has_a_limit(read, monkeypatch):
    data = encoded("FLAC", "PCM_16", np.zeros(10 * RATE, np.float32))
    monkeypatch.setenv("ALMTOK_MAX_SAMPLES", str(4 * RATE))
    with pytest.raises(AudioError, match=f"more than {4 * RATE} samples.*ALMTOK_MAX_SAMPLES") as e:
        read(data)
    assert e.value.reason == "too_long"
    assert len(read(data, start=1.0, seconds=2.0)) == 2 * RATE
    slow = encoded("FLAC", "PCM_16", noise(8.0, rate=4000), 4000)
    with pytest.raises(AudioError, match="too_long"):
        read(slow, 24000)  # short, but not at this rate
    joined = encoded("OGG", "VORBIS", noise(3.0)) * 2
    with pytest.raises(AudioError, match="too_long"):
        read(joined)
    monkeypatch.setenv("ALMTOK_MAX_SAMPLES", str(20 * RATE))
    assert len(read(data)) == 10 * RATE
    with max_samples(9 * RATE), pytest.raises(AudioError, match="too_long"):
        read(data)
    assert len(read(data)) == 10 * RATE


def test_blocks_of_many_channels_are_small(tmp_path, monkeypatch):
    wanted = []
    plain = soundfile.SoundFile.read

    def read(self, frames=-1, *args, **kwargs):
        wanted.append(frames * self.channels)
        return plain(self, frames, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "read", read)
    soundfile.write(tmp_path / "a.wav", np.zeros((100, 1024), np.float32), RATE)
    assert len(read_audio(tmp_path / "a.wav", None)) == 100
    assert max(wanted) <= 1 << 20


@pytest.mark.parametrize("scale", [128, 32768])
def test_floats_at_the_scale_of_integers_are_refused(tmp_path, scale):
    soundfile.write(tmp_path / "a.wav", noise(0.5) * scale * 2, RATE, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"must lie in \[-1, 1\], got \d+"):
        read_audio(tmp_path / "a.wav")
    soundfile.write(tmp_path / "b.wav", noise(0.5) * 8, RATE, subtype="FLOAT")
    assert len(read_audio(tmp_path / "b.wav")) == RATE // 2


OGG_FLAC = b"OggS\0\x02" + bytes(20) + b"\x01\x33\x7fFLAC\x01\0"


@pytest.mark.parametrize(
    "start", [b"\0\0\0\x20ftypM4A ", b"\x1aE\xdf\xa3", b"\xff\xf1\x50\x80", OGG_FLAC]
)
def test_formats_of_ffmpeg_say_what_to_install(read, start, monkeypatch):
    monkeypatch.setattr("almtok.core.audio._torchcodec_decoder", lambda: None)
    with pytest.raises(AudioError, match=r"FFmpeg.*pip install 'almtok\[torchcodec\]'"):
        read(start + bytes(100))
    with pytest.raises(AudioError) as caught:
        read(b"no audio at all")
    assert "torchcodec" not in str(caught.value)


def test_excerpts_of_a_file_examine_it_once(tmp_path, monkeypatch):
    from almtok.core import sound_files

    write_audio(tmp_path / "a.mp3", noise(1.0), RATE)
    calls = []
    plain = sound_files.split
    monkeypatch.setattr(sound_files, "split", lambda data: calls.append(1) or plain(data))
    for start in (0.0, 0.2, 0.4):
        assert len(read_audio(tmp_path / "a.mp3", start=start, seconds=0.1)) == 2400
    assert len(calls) == 1


def test_damage_is_an_audio_error_or_harmless(read, capfd):
    rng = np.random.default_rng(0)
    whole = {pair: encoded(*pair, noise(0.1)) for pair in FORMATS + WHOLE}
    failed = 0
    for number, data in enumerate(list(whole.values()) * 20):
        broken = data[: rng.integers(4, len(data))] if number % 4 == 0 else bytearray(data)
        for place in rng.integers(0, min(len(broken), 100), 3):
            broken[place] = rng.integers(256)
        try:
            read(broken)
        except AudioError:
            failed += 1
    assert failed > 50
    assert "Exception ignored" not in capfd.readouterr().err
    with pytest.raises(AudioError, match="corrupt"):
        read(b"ID3 and no frames" * 10)
