import collections
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from almtok.core.audio import write_audio
from almtok.core.data import AudioCorpus, CropDataset, DataConfig, collate
from almtok.core.data.crops import _whole_shares

PLAIN = {"sample_rate": 8000, "segment_seconds": 0.5, "loudness_dbfs": None, "gain_db": (0.0, 0.0)}


@pytest.fixture
def corpus(make, tmp_path):
    """Long speech, short sound, mixed music."""
    sources = [
        f"speech={make.folder(tmp_path / 'speech', [0.9, 2.0, 3.3])}",
        f"sound={make.folder(tmp_path / 'sound', [0.12, 0.2, 0.3, 0.4, 0.49])}",
        f"music={make.folder(tmp_path / 'music', [0.3, 5.0])}",
    ]
    config = DataConfig(sample_rate=8000)
    return AudioCorpus.scan(sources, config, tmp_path / "cache", progress=False)


def same(one, two):
    assert torch.equal(one.wav, two.wav)
    assert (one.ids, one.domain, one.seed) == (two.ids, two.domain, two.seed)


def test_a_segment_depends_on_seed_and_number_only(corpus):
    config = DataConfig(sample_rate=8000, segment_seconds=0.5)
    numbers = [0, 5, 17, 40, 1000, 123456]
    dataset = CropDataset(corpus, config, seed=3)
    first = [dataset[n] for n in numbers]
    other = CropDataset(corpus, config, seed=3)
    for n, segment in reversed(list(zip(numbers, first, strict=True))):
        same(other[n], segment)
    differing = CropDataset(corpus, config, seed=4)
    assert any(
        not torch.equal(differing[n].wav, s.wav) for n, s in zip(numbers, first, strict=True)
    )
    for segment in first:
        assert segment.wav.shape == (1, 4000) and segment.wav.dtype == torch.float32
        assert 0 <= segment.seed < 2**63
    assert len({segment.seed for segment in first}) == len(first)


@pytest.mark.parametrize(("method", "workers"), [("fork", 2), ("spawn", 1)])
def test_workers_equal_no_workers(corpus, method, workers):
    config = DataConfig(sample_rate=8000, segment_seconds=0.5, domain_weights={
        "speech": 1, "sound": 2, "music": 1})  # fmt: skip
    dataset = CropDataset(corpus, config, seed=1)
    numbers = range(40, 72)
    options = {"batch_size": 4, "sampler": numbers, "collate_fn": collate}
    plain = list(DataLoader(dataset, **options))
    options_of_workers = {"num_workers": workers, "multiprocessing_context": method}
    working = list(DataLoader(dataset, **options_of_workers, **options))
    assert len(plain) == len(working) == 8
    for one, two in zip(plain, working, strict=True):
        assert torch.equal(one.wav, two.wav) and torch.equal(one.seeds, two.seeds)
        assert one.ids == two.ids and one.domains == two.domains
    # two processes of two halves see the same global batch
    halves = [list(DataLoader(dataset, **{**options, "sampler": numbers[r::2]})) for r in (0, 1)]
    seen = sorted(int(seed) for half in halves for batch in half for seed in batch.seeds)
    assert seen == sorted(int(seed) for batch in plain for seed in batch.seeds)


def test_collate(corpus):
    dataset = CropDataset(corpus, DataConfig(**PLAIN))
    batch = collate([dataset[n] for n in range(3)])
    assert batch.wav.shape == (3, 1, 4000)
    assert batch.seeds.shape == (3,) and batch.seeds.dtype == torch.int64
    assert len(batch.ids) == len(batch.domains) == 3


def test_an_epoch_follows_the_durations(corpus):
    dataset = CropDataset(corpus, DataConfig(**PLAIN))
    for epoch in range(2):
        numbers = range(epoch * len(dataset), (epoch + 1) * len(dataset))
        found = [dataset[n] for n in numbers]
        count = collections.Counter(s.ids[0] for s in found if s.domain == "speech")
        assert count == {"00.flac": 2, "01.flac": 4, "02.flac": 7}  # 0.9, 2.0 and 3.3 s / 0.5 s
        sounds = {name for s in found if s.domain == "sound" for name in s.ids}
        assert len(sounds) == 5  # all short clips are heard
    orders = [
        [dataset[n].ids for n in range(e * len(dataset), (e + 1) * len(dataset))] for e in (0, 1)
    ]
    assert orders[0] != orders[1]


def find(crop, clip):
    """Where the crop begins in the clip."""
    places = np.flatnonzero(np.isclose(clip[: len(clip) - len(crop) + 1], crop[0], atol=1e-6))
    return [p for p in places if np.allclose(clip[p : p + len(crop)], crop, atol=1e-6)]


def test_crops_cover_a_long_clip(make, tmp_path):
    folder = make.folder(tmp_path / "a", [5.0])
    config = DataConfig(**PLAIN)
    corpus = AudioCorpus.scan([folder], config, tmp_path / "cache", progress=False)
    clip = corpus.read(corpus.clips[0])
    dataset = CropDataset(corpus, config)
    assert len(dataset) == 10
    starts = [find(dataset[n].wav[0].numpy(), clip) for n in range(20)]
    assert all(len(start) == 1 for start in starts)
    first, second = sorted(s[0] for s in starts[:10]), sorted(s[0] for s in starts[10:])
    assert max(np.diff([0, *first, 36000])) <= 2 * 3600  # one in each tenth
    assert first != second


def test_short_clips_are_joined_with_gaps(make, tmp_path):
    folder = make.folder(tmp_path / "a", [0.2, 0.3, 0.25, 0.15])
    config = DataConfig(**PLAIN, gap_seconds=(0.05, 0.05))
    corpus = AudioCorpus.scan([folder], config, tmp_path / "cache", progress=False)
    dataset = CropDataset(corpus, config)
    clips = {clip.id: corpus.read(clip) for clip in corpus.clips}
    for number in range(2 * len(dataset)):
        segment = dataset[number]
        assert 2 <= len(segment.ids) <= 4
        wav = segment.wav[0].numpy()
        for name in segment.ids[1:-1]:  # whole inside
            middle = clips[name][40:-40]  # without the fades
            places = np.flatnonzero(np.isclose(wav, middle[0], atol=1e-6))
            assert any(np.allclose(wav[p : p + len(middle)], middle, atol=1e-6) for p in places)
        silence = np.convolve(np.abs(wav) < 1e-6, np.ones(400), "valid").max()
        assert silence >= 399  # a gap of 50 ms lies inside


def test_one_short_clip_alone_fills_segments(make, tmp_path):
    folder = make.folder(tmp_path / "a", [0.12])
    config = DataConfig(**PLAIN)
    corpus = AudioCorpus.scan([folder], config, progress=False)
    dataset = CropDataset(corpus, config)
    assert len(dataset) == 1
    assert len(dataset[0].ids) >= 2
    assert dataset[0].wav[0].abs().reshape(-1, 500).amax(1).gt(0).sum() >= 4


def test_padding_places_a_clip_in_silence(make, tmp_path):
    folder = make.folder(tmp_path / "a", [0.2])
    config = DataConfig(**PLAIN, short_clips="pad")
    corpus = AudioCorpus.scan([folder], config, progress=False)
    dataset = CropDataset(corpus, config)
    offsets = set()
    for number in range(8):
        segment = dataset[number]
        assert segment.ids == ("00.flac",)
        loud = np.flatnonzero(segment.wav[0].numpy())
        assert loud[-1] - loud[0] < 1600
        offsets.add(int(loud[0]))
    assert len(offsets) > 4


def test_domain_weights_are_met(corpus):
    weights = {"speech": 2.0, "sound": 1.0, "music": 1.0}
    dataset = CropDataset(corpus, DataConfig(**PLAIN, domain_weights=weights))
    for start in (0, 1024):
        count = collections.Counter(dataset[start + n].domain for n in range(1024))
        assert count == {"speech": 512, "sound": 256, "music": 256}
    # within a domain every epoch still hears all
    speech = [dataset[n] for n in range(200)]
    names = [s.ids[0] for s in speech if s.domain == "speech"][:13]
    assert collections.Counter(names) == {"00.flac": 2, "01.flac": 4, "02.flac": 7}


def test_weight_zero_leaves_a_domain_out(corpus):
    weights = {"speech": 1.0, "sound": 0.0, "music": 1e-9}
    dataset = CropDataset(corpus, DataConfig(**PLAIN, domain_weights=weights))
    count = collections.Counter(dataset[n].domain for n in range(1024))
    assert count == {"speech": 1023, "music": 1}
    assert _whole_shares(np.array([1.0, 1.0, 1.0])).sum() == 1024
    with pytest.raises(ValueError, match=r"'music', 'sound', 'speech'.*, got .*speech"):
        CropDataset(corpus, DataConfig(**PLAIN, domain_weights={"speech": 1.0}))
    with pytest.raises(ValueError, match="domain_weights must not all be 0"):
        CropDataset(corpus, DataConfig(**PLAIN, domain_weights=dict.fromkeys(weights, 0.0)))


def test_loudness(make, tmp_path):
    quiet, loud = make.folder(tmp_path / "q", [2.0], 0.001), make.folder(tmp_path / "l", [2.0], 0.5)
    config = DataConfig(sample_rate=8000, segment_seconds=0.5, gain_db=(0.0, 0.0))
    corpus = AudioCorpus.scan([f"q={quiet}", f"l={loud}"], config, progress=False)
    dataset = CropDataset(corpus, config)
    for number in range(len(dataset)):
        segment = dataset[number]
        level = 20 * np.log10(float(segment.wav.square().mean().sqrt()))
        # the silence guard allows 30 dB at most
        assert level == pytest.approx(-20 if segment.domain == "l" else -30, abs=0.6)
    wide = CropDataset(corpus, DataConfig(sample_rate=8000, segment_seconds=0.5, gain_db=(-20, 40)))
    peaks = torch.stack([wide[n].wav.abs().max() for n in range(64)])
    assert peaks.max() == pytest.approx(0.99, abs=1e-4) and peaks.min() < 0.1


def test_speeds_vary_and_segments_stay_full(make, tmp_path):
    """A tone of 400 Hz is heard at other pitches, each a function of seed and number."""
    samples = 0.5 * np.sin(2 * np.pi * 400 * np.arange(5 * 8000) / 8000)
    (tmp_path / "tone").mkdir()
    write_audio(tmp_path / "tone" / "a.wav", samples.astype(np.float32), 8000)
    corpus = AudioCorpus.scan([tmp_path / "tone"], DataConfig(sample_rate=8000), progress=False)
    dataset = CropDataset(corpus, DataConfig(**PLAIN, vary=0.25), seed=2)
    assert dataset.config.drawn_samples == 5000
    heard = []
    for number in range(40):
        segment = dataset[number]
        assert segment.wav.shape == (1, 4000)
        spectrum = np.abs(np.fft.rfft(segment.wav[0].numpy() * np.hanning(4000), 32000))
        heard.append(spectrum.argmax() * 8000 / 32000)
        assert segment.wav[0, -100:].abs().max() > 0.4  # no silence where samples were missing
        same(CropDataset(corpus, DataConfig(**PLAIN, vary=0.25), seed=2)[number], segment)
    assert 400 / 1.26 < min(heard) < 340 and 470 < max(heard) < 400 * 1.26
    # Without it nothing is drawn that was not drawn before.
    plain = CropDataset(corpus, DataConfig(**PLAIN), seed=2)
    assert {round(float(plain[n].wav.abs().max()), 2) for n in range(8)} == {0.5}
    with pytest.raises(ValueError, match=r"vary must lie in \[0, 1\], got 10"):
        DataConfig(vary=10)


def test_refusals(corpus):
    with pytest.raises(ValueError, match="must be 8000 as in the corpus, got 24000"):
        CropDataset(corpus, DataConfig())
    with pytest.raises(ValueError, match="-1"):
        CropDataset(corpus, DataConfig(**PLAIN))[-1]


def test_pickled_dataset_gives_the_same(corpus):
    dataset = CropDataset(corpus, DataConfig(**PLAIN), seed=9)
    again = pickle.loads(pickle.dumps(dataset))
    for number in (0, 77):
        same(again[number], dataset[number])


def test_a_crop_reads_what_it_needs_and_no_more(make, tmp_path, monkeypatch):
    folder = make.folder(tmp_path / "a", [6.0] * 4)
    config = DataConfig(sample_rate=24000, segment_seconds=2.0)
    corpus = AudioCorpus.scan([folder], config, tmp_path / "cache", progress=False)
    read, counts = corpus.read, []

    def counting(clip, start=0, count=None):
        wav = read(clip, start, count)
        counts.append(len(wav))
        return wav

    monkeypatch.setattr(corpus, "read", counting)
    dataset = CropDataset(corpus, config)
    for number in range(60):
        dataset[number]
    assert len(counts) == 60 and max(counts) <= 2 * 24_000 + 2  # of clips of six seconds
