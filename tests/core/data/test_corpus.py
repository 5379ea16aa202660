import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from almtok.core.data import AudioCorpus, DataConfig
from almtok.core.data.shards import finished_shards
from almtok.core.levels import measure_levels

from ...pace import wait_until


def scan(sources, config, cache=None):
    sources = sources if isinstance(sources, list) else [sources]
    return AudioCorpus.scan(sources, config, cache, progress=False)


@pytest.fixture
def mixed(make, tmp_path):
    """A folder with one of everything."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    write = soundfile.write
    write(folder / "good.wav", make.noise(1.0), 8000)
    write(folder / "stereo.wav", np.stack([make.noise(1.0), make.noise(1.0)], 1), 8000)
    write(folder / "rate48.wav", make.noise(1.0, rate=48000), 48000)
    write(folder / "int24.wav", make.noise(1.0), 8000, subtype="PCM_24")
    write(folder / "loud.wav", make.noise(1.0, level=2.0), 8000, subtype="FLOAT")
    (folder / "good.wav").replace(folder / "wrong.mp3")
    (folder / "corrupt.wav").write_bytes(b"no audio" * 50)
    (folder / "empty.wav").touch()
    write(folder / "nosamples.wav", np.zeros(0), 8000)
    write(folder / "silent.wav", np.zeros(8000), 8000)
    write(folder / "hum.wav", make.noise(1.0, level=1e-4), 8000, subtype="FLOAT")
    write(folder / "short.wav", make.noise(0.05), 8000)
    wav = make.noise(1.0)
    wav[3] = np.inf
    write(folder / "infinite.wav", wav, 8000, subtype="FLOAT")
    return folder


@pytest.mark.parametrize("cached", [True, False])
def test_bad_files_are_skipped_counted_and_listed(mixed, config, tmp_path, caplog, cached):
    corpus = scan(mixed, config, tmp_path / "cache" if cached else None)
    usable = ["int24.wav", "loud.wav", "rate48.wav", "stereo.wav", "wrong.mp3"]
    assert [clip.id for clip in corpus.clips] == usable
    assert corpus.skipped.counts == {
        "empty": 2,
        "corrupt": 1,
        "nan": 1,
        "silent": 2,
        "too_short": 1,
    }
    assert {item.id: item.reason for item in corpus.skipped.items}["short.wav"] == "too_short"
    assert "skipped 7 of 12 clips: 2 empty, 1 corrupt" in caplog.text
    assert "short.wav" in corpus.skipped.listing()
    assert "and 6 more" in corpus.skipped.listing(1)
    assert all(clip.num_samples == 8000 for clip in corpus.clips)
    for clip in corpus.clips:
        wav = corpus.read(clip)
        assert wav.shape == (8000,) and wav.dtype == np.float32
        assert np.abs(wav).max() <= 1.0
    if cached:
        assert (next((tmp_path / "cache").iterdir()) / "skipped.json").is_file()


def test_nothing_usable_says_why(mixed, config, tmp_path):
    for name in ("int24.wav", "loud.wav", "rate48.wav", "stereo.wav", "wrong.mp3"):
        (mixed / name).unlink()
    for _ in range(2):  # the second time from the cache
        with pytest.raises(ValueError, match=r"none of 7 clips is usable: 2 empty, 1 corrupt") as e:
            scan(mixed, config, tmp_path / "cache")
        assert "hum.wav" in str(e.value)


def test_manifest_with_missing_file(make, config, tmp_path):
    make.folder(tmp_path, [0.5])
    rows = [{"audio": "00.flac"}, {"audio": "gone.flac"}]
    corpus = scan(make.manifest(tmp_path / "m.jsonl", rows), config)
    assert [clip.id for clip in corpus.clips] == ["00.flac"]
    assert corpus.skipped.counts == {"missing": 1}


def test_cache_equals_files(make, config, tmp_path):
    folder = make.folder(tmp_path / "a", [0.5, 0.7])
    make.parquet(folder / "b.parquet", 5)
    cached, direct = scan(folder, config, tmp_path / "cache"), scan(folder, config)
    assert len(cached) == 7
    assert [c.id for c in cached.clips] == [c.id for c in direct.clips]
    for one, two in zip(cached.clips, direct.clips, strict=True):
        whole = cached.read(one)
        assert np.array_equal(whole, direct.read(two))  # 16-bit files: nothing is lost
        for start, count in [(0, 10), (100, 400), (one.num_samples - 5, 100)]:
            part = cached.read(one, start, count)
            assert np.array_equal(part, whole[start : start + count])
            assert np.array_equal(part, direct.read(two, start, count))


def test_index_only_cache_reads_from_files(make, tmp_path):
    config = DataConfig(sample_rate=8000, cache_pcm=False)
    folder = make.folder(tmp_path / "a", [0.5])
    corpus = scan(folder, config, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("*.pcm"))
    assert len(corpus.read(corpus.clips[0])) == 4000
    (folder / "00.flac").rename(folder / "x")  # same cache key is gone with the file
    with pytest.raises(ValueError, match="missing"):
        corpus.read(corpus.clips[0])


def test_second_scan_only_reads_the_index(make, config, tmp_path, monkeypatch):
    folder = make.folder(tmp_path / "a", [0.5, 0.5])
    first = scan(folder, config, tmp_path / "cache")
    monkeypatch.setattr("almtok.core.data.corpus.read_audio", None)  # would fail when called
    again = scan(folder, config, tmp_path / "cache")
    assert again.clips == first.clips and again.fingerprint == first.fingerprint


def test_key_follows_sources_and_options(make, config, tmp_path):
    folder = make.folder(tmp_path / "a", [0.5, 0.5])
    keys = {scan(folder, config, tmp_path / "cache").fingerprint}
    keys.add(scan(folder, DataConfig(sample_rate=16000), tmp_path / "cache").fingerprint)
    keys.add(scan(f"speech={folder}", config, tmp_path / "cache").fingerprint)
    os.utime(folder / "00.flac", ns=(1, 1))
    keys.add(scan(folder, config, tmp_path / "cache").fingerprint)
    assert len(keys) == 4
    # how segments are cut does not need a new cache
    other = DataConfig(sample_rate=8000, segment_seconds=0.2, gain_db=(0, 0), scan_threads=1)
    assert scan(folder, other, tmp_path / "cache").fingerprint in keys


def test_threads_change_nothing(make, tmp_path):
    folder = make.folder(tmp_path / "a", np.linspace(0.1, 0.9, 20))
    clips = [
        scan(folder, DataConfig(sample_rate=8000, scan_threads=threads), tmp_path / f"{threads}")
        for threads in (1, 4)
    ]
    assert clips[0].clips == clips[1].clips


KILLED = """
import sys, time
import almtok.core.data.corpus as corpus
from almtok.core.data import AudioCorpus, DataConfig
corpus._SHARD_ENTRIES = 4
original, checked = corpus._check, []
def resting(*args):
    checked.append(args)
    if len(checked) > 10:  # until it is killed
        time.sleep(3600)
    return original(*args)
corpus._check = resting
AudioCorpus.scan([sys.argv[1]], DataConfig(sample_rate=8000, scan_threads=1), sys.argv[2])
"""


def test_killed_scan_goes_on(make, tmp_path, monkeypatch, quiet_environment):
    monkeypatch.setattr("almtok.core.data.corpus._SHARD_ENTRIES", 4)
    folder = make.folder(tmp_path / "a", [0.3] * 40)
    (folder / "05.flac").write_bytes(b"corrupt")
    config = DataConfig(sample_rate=8000)
    whole = scan(folder, config, tmp_path / "whole")
    cache = tmp_path / "killed" / whole.fingerprint
    program = [sys.executable, "-c", KILLED, str(folder), str(tmp_path / "killed")]
    process = subprocess.Popen(program, env=quiet_environment, stderr=subprocess.DEVNULL)
    wait_until((cache / "shard-00001.json").exists)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = len(list(finished_shards(cache)))
    assert done == 2
    looked_at = []
    check = scan.__globals__["AudioCorpus"].scan.__globals__["_check"]
    monkeypatch.setattr(
        "almtok.core.data.corpus._check",
        lambda entry, *rest: looked_at.append(entry.id) or check(entry, *rest),
    )
    resumed = scan(folder, config, tmp_path / "killed")
    assert len(looked_at) == 40 - 4 * done
    assert resumed.clips == whole.clips and resumed.skipped == whole.skipped
    for path in (tmp_path / "whole" / whole.fingerprint).glob("shard-*"):
        assert path.read_bytes() == (cache / path.name).read_bytes()


@pytest.mark.parametrize("damage", ["truncate", "delete", "garbage"])
def test_damaged_shards_are_made_again(make, config, tmp_path, monkeypatch, damage):
    monkeypatch.setattr("almtok.core.data.corpus._SHARD_ENTRIES", 2)
    folder = make.folder(tmp_path / "a", [0.5] * 6)
    corpus = scan(folder, config, tmp_path / "cache")
    wanted = [corpus.read(clip) for clip in corpus.clips]
    pcm = tmp_path / "cache" / corpus.fingerprint / "shard-00001.pcm"
    if damage == "truncate":
        os.truncate(pcm, 10)
    elif damage == "delete":
        pcm.unlink()
    else:
        pcm.with_suffix(".json").write_text("{")
    again = scan(folder, config, tmp_path / "cache")
    assert all(np.array_equal(again.read(c), w) for c, w in zip(again.clips, wanted, strict=True))


def test_corpus_travels_without_its_samples(make, config, tmp_path):
    corpus = scan(make.folder(tmp_path / "a", [0.5] * 3), config, tmp_path / "cache")
    wav = corpus.read(corpus.clips[1])
    data = pickle.dumps(corpus)
    assert len(data) < 4000
    assert np.array_equal(pickle.loads(data).read(corpus.clips[1]), wav)


def test_read_refuses_what_is_not_there(make, config, tmp_path):
    corpus = scan(make.folder(tmp_path / "a", [0.5]), config)
    for start, count in [(4000, 1), (-1, 1), (0, 0)]:
        with pytest.raises(ValueError, match="must lie in 0..4000, got"):
            corpus.read(corpus.clips[0], start, count)


def test_select_and_summary(make, config, tmp_path):
    speech = make.folder(tmp_path / "s", [0.5] * 10)
    music = make.folder(tmp_path / "m", [0.5, 2.0])
    corpus = scan([f"speech={speech}", f"music={music}"], config)
    assert corpus.domains == ("music", "speech") and len(corpus) == 12
    assert corpus.seconds() == pytest.approx(7.5) and corpus.seconds("music") == pytest.approx(2.5)
    assert len(corpus.select(domain="speech")) == 10
    assert len(corpus.select(max_seconds=1.0)) == 11
    some = corpus.select(limit=4, seed=1)
    assert some == corpus.select(limit=4, seed=1) != corpus.select(limit=4, seed=2)
    order = [corpus.clips.index(clip) for clip in some]
    assert order == sorted(order)
    assert "speech: 10 clips, 0.1 min" in corpus.summary()
    assert "skipped: none" in corpus.summary()


def test_levels():
    rate = 8000
    loud = np.full(rate, 0.1, np.float32)
    assert measure_levels(loud, rate).active_dbfs == pytest.approx(-20, abs=0.01)
    # pauses count for neither
    paused = np.concatenate([loud, np.zeros(9 * rate, np.float32)])
    assert measure_levels(paused, rate).active_dbfs == pytest.approx(-20, abs=0.1)
    assert measure_levels(np.zeros(5, np.float32), rate).loudest_dbfs == -140
    assert measure_levels(np.full(5, 0.1, np.float32), rate).loudest_dbfs == pytest.approx(-20)


def test_configs_refuse_nonsense():
    for bad in (
        {"sample_rate": 0},
        {"segment_seconds": 0.0},
        {"segment_seconds": 0.01, "segment_multiple": 320},
        {"gain_db": (3, -3)},
        {"gap_seconds": (-0.1, 0.3)},
        {"short_clips": "loop"},
        {"peak_limit": 0.0},
        {"domain_weights": {"speech": -1.0}},
        {"scan_threads": 0},
    ):
        with pytest.raises(ValueError):
            DataConfig(**bad)
    assert DataConfig(segment_seconds=1.0, segment_multiple=1920).segment_samples == 23040


def test_config_loads_without_torch(quiet_environment):
    code = "import sys; from almtok.core.data import DataConfig; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=quiet_environment, cwd=Path("/"))
