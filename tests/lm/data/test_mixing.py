import collections
import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from almtok.lm.config import AudioLMConfig
from almtok.lm.data import (
    Collator,
    LengthBucketSampler,
    MixedDataset,
    SequenceLength,
    TaskSource,
    TokenDataset,
)
from almtok.lm.data.mixing import apportion, draws
from almtok.lm.data.rows import EpochIndex
from almtok.lm.sequences import AudioSegment, Example, TextSegment, build_sequence

CONFIG = AudioLMConfig.preset("tiny", codebook_size=16)


def text(row):
    if row.text == "unspeakable":
        raise ValueError("no words")
    return TextSegment(tuple(row.text.encode()))


def tts(row, tokenizer):
    voice = () if row.companion is None else (AudioSegment(row.companion.codes),)
    return Example("tts", (*voice, text(row), AudioSegment(row.codes)), row.frames_per_query)


def asr(row, tokenizer):
    return Example("asr", (AudioSegment(row.codes), text(row)), row.frames_per_query)


def continuation(row, tokenizer):
    """Begins somewhere: its length depends on the draw."""
    begin = row.draw % row.codes.shape[1]
    return Example("continuation", (AudioSegment(row.codes[:, begin:]),), row.frames_per_query)


@pytest.fixture
def speech(make, tmp_path):
    rows = [dict(text="t" * (n % 5 + 1), speaker=f"s{n % 3}", frames=3 + n) for n in range(20)]
    return TokenDataset(make.shards(tmp_path / "speech", rows))


@pytest.fixture
def music(make, tmp_path):
    rows = [dict(text="m", domain="music", frames=4) for _ in range(5)]
    return TokenDataset(make.shards(tmp_path / "music", rows))


def mixed(*sources, **options):
    return MixedDataset(sources, None, SequenceLength(CONFIG), **options)


def same(one, two):
    assert (one.task, one.drop_condition) == (two.task, two.drop_condition)
    for a, b in zip(one.example.segments, two.example.segments, strict=True):
        assert (a.ids == b.ids) if isinstance(a, TextSegment) else torch.equal(a.codes, b.codes)


def test_one_corpus_serves_two_tasks(speech):
    data = mixed(
        TaskSource(dataset=speech, task="tts", to_example=tts),
        TaskSource(dataset=speech, task="asr", to_example=asr),
    )
    assert len(data) == 40 and data.counts == {"tts": 20, "asr": 20}
    found = collections.Counter(data[n].example.task for n in range(40))
    assert found == {"tts": 20, "asr": 20}


@pytest.mark.parametrize("pattern", ["depth", "delay", "parallel", "flat"])
def test_lengths_are_those_of_the_sequences(speech, pattern):
    config = AudioLMConfig.preset("tiny", codebook_size=16, pattern=pattern)
    data = MixedDataset(
        [
            TaskSource(dataset=speech, task="tts", to_example=tts, companions=0.5),
            TaskSource(dataset=speech, task="asr", to_example=asr),
            TaskSource(dataset=speech, task="continuation", to_example=continuation, varies=True),
        ],
        None,
        SequenceLength(config),
    )
    seen = set()
    for epoch in (0, 1):
        lengths = data.lengths(epoch)
        for index in range(len(data)):
            sample = data[EpochIndex(epoch, index)]
            seen.add((sample.task, len(sample.example.segments)))
            assert lengths[index] == len(build_sequence(sample.example, config, eos_id=0))
    assert seen == {("tts", 2), ("tts", 3), ("asr", 2), ("continuation", 1)}


def test_shares_follow_weights_and_temperature(speech, music):
    def shares(temperature, *weights):
        sources = [
            TaskSource(dataset=d, task="tts", to_example=tts, weight=w)
            for d, w in zip((speech, music), weights, strict=True)
        ]
        return mixed(*sources, temperature=temperature).shares

    assert shares(1.0, 1, 1) == pytest.approx([0.8, 0.2])
    assert shares(2.0, 1, 1) == pytest.approx([2 / 3, 1 / 3])
    assert shares(float("inf"), 1, 1) == pytest.approx([0.5, 0.5])
    assert shares(float("inf"), 3, 1) == pytest.approx([0.75, 0.25])
    assert shares(1.0, 1, 0) == pytest.approx([1, 0])


def test_every_row_is_seen_equally_often(speech, music):
    data = mixed(
        TaskSource(dataset=speech, task="tts", to_example=tts),
        TaskSource(dataset=music, task="text_to_music", to_example=tts),
        temperature=float("inf"),
        rows_per_epoch=30,
    )
    seen = collections.Counter()
    for epoch in range(4):
        plan = data._plan(epoch)
        seen.update(zip(plan.sources.tolist(), plan.rows.tolist(), strict=True))
    assert {seen[0, row] for row in range(20)} == {3}
    assert {seen[1, row] for row in range(5)} == {12}


def test_everything_random_depends_on_seed_epoch_and_index_only(speech):
    def data(seed=0):
        source = TaskSource(dataset=speech, task="tts", to_example=tts, companions=0.5)
        return mixed(source, condition_dropout=0.3, seed=seed)

    one, two, other = data(), data(), data(1)
    for epoch, index in [(3, 4), (0, 0), (3, 4), (1, 19)]:
        same(one[EpochIndex(epoch, index)], two[EpochIndex(epoch, index)])
    same(pickle.loads(pickle.dumps(one))[EpochIndex(2, 2)], one[EpochIndex(2, 2)])
    drops = [
        [d[EpochIndex(e, n)].drop_condition for n in range(20)]
        for d in (one, other)
        for e in (0, 1)
    ]
    assert len({tuple(row) for row in drops}) == 4
    many = [one[EpochIndex(epoch, n)].drop_condition for epoch in range(30) for n in range(20)]
    assert 0.24 < np.mean(many) < 0.36


def test_rows_of_no_use_are_left_out(make, tmp_path, caplog):
    rows = TokenDataset(make.shards(tmp_path, [dict(text="unspeakable"), dict(text="fine")]))
    data = mixed(TaskSource(dataset=rows, task="tts", to_example=tts))
    assert sorted(data.lengths(0) > 0) == [False, True]
    batches = list(LengthBucketSampler(data, budget=100))
    assert [len(batch) for batch in batches] == [1]
    assert "1 of 2 items are empty" in caplog.text


def test_workers_and_resume_give_the_same_batches(speech, music):
    def loader(sampler, workers=0):
        return DataLoader(
            data, batch_sampler=sampler, collate_fn=Collator(CONFIG, 0), num_workers=workers
        )

    data = mixed(
        TaskSource(dataset=speech, task="tts", to_example=tts, companions=0.5),
        TaskSource(dataset=music, task="text_to_music", to_example=tts),
        condition_dropout=0.5,
    )
    sampler = LengthBucketSampler(data, budget=120)
    first = [*loader(sampler)]
    straight = [*first, *loader(sampler)]
    for batch in straight:
        rows, length, streams = batch["input_ids"].shape
        assert streams == 4 and rows * length <= 120
        assert batch["labels"].shape == batch["input_ids"].shape
    again = LengthBucketSampler(data, budget=120)
    parallel = [*loader(again, workers=2)]
    assert len(parallel) == len(first)
    resumed = LengthBucketSampler(data, budget=120)
    resumed.load_state_dict(LengthBucketSampler(data, budget=120).state_dict(consumed=3))
    pairs = [*zip(straight, parallel, strict=False), *zip(straight[3:], loader(resumed))]  # noqa: B905
    for one, two in pairs:
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_sources_that_cannot_be_mixed(make, speech, tmp_path):
    other = TokenDataset(make.shards(tmp_path / "other", [{}], fingerprint="bbbb"))
    good = TaskSource(dataset=speech, task="tts", to_example=tts)
    with pytest.raises(ValueError, match="codec aaaa, asr has codec bbbb"):
        mixed(good, TaskSource(dataset=other, task="asr", to_example=asr))
    with pytest.raises(ValueError, match="sources must be at least one"):
        mixed()
    with pytest.raises(ValueError, match="temperature must be positive"):
        mixed(good, temperature=0)
    with pytest.raises(ValueError, match="weights must be"):
        mixed(TaskSource(dataset=speech, task="tts", to_example=tts, weight=0))


def test_apportion_adds_up():
    shares = np.array([0.5, 0.3, 0.15, 0.05])
    for total in range(50):
        counts = apportion(shares, total)
        assert counts.sum() == total and (abs(counts - total * shares) < 1).all()


def test_draws_are_passes():
    whole = draws(7, 0, 21, seed=1, number=0)
    assert all(sorted(whole[n : n + 7].tolist()) == list(range(7)) for n in (0, 7, 14))
    assert np.array_equal(whole[5:18], draws(7, 5, 13, seed=1, number=0))
    assert len(draws(7, 3, 0, seed=1, number=0)) == 0
