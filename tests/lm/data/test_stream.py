import itertools

import pytest

from almtok.lm.data import StreamLoader, TokenStream

ROWS = [
    dict(frames=2 + n % 9, text="" if n == 3 else "x", split="valid" if n % 7 == 6 else "train")
    for n in range(40)
]


def make_sample(row):
    if row.id == "r5":
        raise ValueError("of no use")
    return [(row.id, "tts", row.draw, row.codes.shape[1]), (row.id, "asr", row.draw, 99)]


def measure(sample):
    return sample[3]


def keep(batch):
    return batch


@pytest.fixture
def folder(make, tmp_path):
    return make.shards(tmp_path, ROWS, per_shard=4)


def stream(folder, **options):
    return TokenStream(
        folder, make_sample, measure, **{"budget": 30, "window_shards": 2, **options}
    )


def take(loader, count):
    return list(itertools.islice(loader, count))


def test_an_epoch_has_every_row_once(folder):
    batches = list(StreamLoader(stream(folder, epochs=1), keep))
    assert all(max(s[3] for s in batch) * len(batch) <= 30 for batch in batches)
    ids = sorted(sample[0] for batch in batches for sample in batch)
    assert ids == sorted(f"r{n}" for n in range(40) if n != 5)  # asr is longer than the budget
    two = list(StreamLoader(stream(folder, epochs=2), keep))
    assert two[: len(batches)] == batches and len(two) > len(batches)
    assert two[len(batches) :] != batches


def test_processes_have_rows_of_their_own(folder):
    ranks = [list(StreamLoader(stream(folder, epochs=1, rank=r, world=3), keep)) for r in range(3)]
    ids = [{sample[0] for batch in rank for sample in batch} for rank in ranks]
    assert sum(map(len, ids)) == len(set().union(*ids)) == 39


@pytest.mark.parametrize("done", [0, 1, 7, 23])
def test_resume_is_exact(folder, done):
    straight = take(StreamLoader(stream(folder), keep), done + 30)
    loader = StreamLoader(stream(folder), keep)
    assert take(loader, done) == straight[:done]
    state = loader.state_dict()
    resumed = StreamLoader(stream(folder), keep)
    resumed.load_state_dict(state)
    assert take(resumed, 30) == straight[done:]


@pytest.mark.parametrize("done", [3, 10])
def test_resume_is_exact_with_workers(folder, done):
    straight = take(StreamLoader(stream(folder), keep, num_workers=2), done + 12)
    loader = StreamLoader(stream(folder), keep, num_workers=2)
    assert take(loader, done) == straight[:done]
    resumed = StreamLoader(stream(folder), keep, num_workers=2)
    resumed.load_state_dict(loader.state_dict())
    assert take(resumed, 12) == straight[done:]


def test_another_stream_is_refused(folder):
    loader = StreamLoader(stream(folder), keep)
    take(loader, 2)
    for other in (
        StreamLoader(stream(folder, seed=1), keep),
        StreamLoader(stream(folder, budget=31), keep),
        StreamLoader(stream(folder), keep, num_workers=1),
    ):
        with pytest.raises(ValueError, match="cannot be resumed exactly"):
            other.load_state_dict(loader.state_dict())


def test_filters_and_streams_of_nothing(folder):
    batches = list(StreamLoader(stream(folder, epochs=1, split="valid"), keep))
    assert {sample[0] for batch in batches for sample in batch} == {
        f"r{n}" for n in range(40) if n % 7 == 6
    }
    with pytest.raises(ValueError, match="no samples"):
        take(StreamLoader(stream(folder, split="nothing"), keep), 1)
    with pytest.raises(ValueError, match="10 shards cannot be distributed over 11 processes"):
        stream(folder, world=11)
    with pytest.raises(ValueError, match="must be of codec zzzz"):
        stream(folder, fingerprint="zzzz")
