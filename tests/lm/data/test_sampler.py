import numpy as np
import pytest

from almtok.lm.data import LengthBucketSampler
from almtok.lm.data.sampler import cut


class Lengths:
    def __init__(self, count=500, seed=0):
        self.values = np.random.default_rng(seed).integers(1, 100, count)

    def lengths(self, epoch):
        return self.values


def epoch_of(sampler):
    return list(sampler)


def test_budget_holds_and_every_item_comes_once():
    data = Lengths()
    sampler = LengthBucketSampler(data, budget=300, seed=3)
    batches = epoch_of(sampler)
    assert len(batches) == len(LengthBucketSampler(data, budget=300, seed=3))
    for batch in batches:
        assert max(data.values[pick.index] for pick in batch) * len(batch) <= 300
    assert sorted(pick.index for batch in batches for pick in batch) == list(range(500))
    assert {pick.epoch for batch in batches for pick in batch} == {0}
    assert {pick.epoch for batch in epoch_of(sampler) for pick in batch} == {1}


def test_little_is_padding_and_the_order_is_random():
    data = Lengths(5000)
    batches = epoch_of(LengthBucketSampler(data, budget=1000))
    lengths = [data.values[[pick.index for pick in batch]] for batch in batches]
    padded = sum(len(x) * x.max() for x in lengths)
    assert data.values.sum() / padded > 0.95
    means = np.asarray([x.mean() for x in lengths])
    assert abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.2


def test_seed_and_epoch_decide():
    data = Lengths()
    one, same, other = (LengthBucketSampler(data, budget=300, seed=s) for s in (1, 1, 2))
    first = epoch_of(one)
    assert first == epoch_of(same) != epoch_of(other)
    assert [[p.index for p in b] for b in epoch_of(one)] != [[p.index for p in b] for b in first]
    same.set_epoch(0)
    assert epoch_of(same) == first


@pytest.mark.parametrize("uneven", ["repeat", "drop"])
@pytest.mark.parametrize("world", [2, 3, 7])
def test_processes_share_the_batches_of_one(world, uneven):
    data = Lengths()
    alone = epoch_of(LengthBucketSampler(data, budget=300))
    ranks = [
        epoch_of(LengthBucketSampler(data, budget=300, rank=r, world=world, uneven=uneven))
        for r in range(world)
    ]
    assert len({len(rank) for rank in ranks}) == 1
    merged = [batch for turn in zip(*ranks, strict=True) for batch in turn]
    if uneven == "drop":
        assert merged == alone[: len(merged)] and len(alone) - len(merged) < world
    else:
        assert merged[: len(alone)] == alone and len(merged) - len(alone) < world


@pytest.mark.parametrize("done", [0, 1, 17])
@pytest.mark.parametrize("epoch", [0, 2])
def test_resume_is_exact(done, epoch):
    straight = LengthBucketSampler(Lengths(), budget=300, seed=5)
    straight.set_epoch(epoch)
    batches = iter(straight)
    for _ in range(done):
        next(batches)
    state = straight.state_dict()
    rest = list(batches) + epoch_of(straight)
    resumed = LengthBucketSampler(Lengths(), budget=300, seed=5)
    resumed.load_state_dict(state)
    assert epoch_of(resumed) + epoch_of(resumed) == rest


def test_resume_on_more_processes_goes_on_with_the_same_batches():
    data = Lengths()
    alone = epoch_of(LengthBucketSampler(data, budget=300))
    one = LengthBucketSampler(data, budget=300)
    state = one.state_dict(consumed=4)
    two = [LengthBucketSampler(data, budget=300, rank=r, world=2) for r in range(2)]
    for sampler in two:
        sampler.load_state_dict(state)
    assert next(iter(two[0])) == alone[4] and next(iter(two[1])) == alone[5]
    with pytest.raises(ValueError, match="3 batches were done, no multiple of 2"):
        two[0].load_state_dict(one.state_dict(consumed=3))


def test_resume_with_another_order_is_refused():
    state = LengthBucketSampler(Lengths(), budget=300, seed=5).state_dict()
    for other in (
        LengthBucketSampler(Lengths(), budget=301, seed=5),
        LengthBucketSampler(Lengths(), budget=300, seed=6),
        LengthBucketSampler(Lengths(seed=1), budget=300, seed=5),
    ):
        with pytest.raises(ValueError, match="not those of the saved run"):
            other.load_state_dict(state)


def test_what_does_not_fit_is_left_out_and_said(caplog):
    data = Lengths()
    data.values[:7] = 1000
    data.values[7:9] = 0
    batches = epoch_of(LengthBucketSampler(data, budget=300))
    assert min(pick.index for batch in batches for pick in batch) == 9
    assert "2 of 500 items are empty, 7 are longer than 300 positions" in caplog.text
    empty = Lengths_of(0 * data.values)
    empty.first_refusal = "r1: no text"
    with pytest.raises(ValueError, match="the first empty one: r1: no text"):
        len(LengthBucketSampler(empty, budget=300))
    with pytest.raises(ValueError, match="no item fits: of 500, 2 are empty and 498 are longer"):
        len(LengthBucketSampler(Lengths_of(np.where(data.values, 1000, 0)), budget=300))


def Lengths_of(values):  # noqa: N802
    data = Lengths(1)
    data.values = values
    return data


def test_evaluation_keeps_one_order():
    data = Lengths()
    sampler = LengthBucketSampler(data, budget=300, shuffle=False)
    first, second = epoch_of(sampler), epoch_of(sampler)
    indices = [[pick.index for pick in batch] for batch in first]
    assert indices == [[pick.index for pick in batch] for batch in second]
    lengths = data.values[np.concatenate(indices)]
    assert (np.diff(lengths) >= 0).all()


def test_cut_by_rows_and_by_budget():
    order, lengths = np.arange(6), np.array([1, 1, 1, 4, 4, 50])
    assert [b.tolist() for b in cut(order, lengths, 8, 2)] == [[0, 1], [2, 3], [4], [5]]
    assert [b.tolist() for b in cut(order, lengths, 8, None)] == [[0, 1, 2], [3, 4], [5]]


def test_packed_batches_fill_the_budget_without_padding():
    data = Lengths()
    batches = epoch_of(LengthBucketSampler(data, budget=300, seed=3, packing=True))
    padded = epoch_of(LengthBucketSampler(data, budget=300, seed=3))
    items = [item.index for batch in batches for item in batch]
    assert sorted(items) == sorted(item.index for batch in padded for item in batch)
    sizes = [sum(int(data.values[item.index]) for item in batch) for batch in batches]
    assert max(sizes) <= 300
    following = [int(data.values[batch[0].index]) for batch in batches[1:]]
    # A batch ends where the next item does not fit.
    assert all(a + b > 300 for a, b in zip(sizes, following, strict=False))
    few = epoch_of(LengthBucketSampler(data, budget=300, max_rows=2, seed=3, packing=True))
    assert max(len(batch) for batch in few) == 2
    state = LengthBucketSampler(data, budget=300, seed=3).state_dict()
    with pytest.raises(ValueError, match="not those of the saved run"):
        LengthBucketSampler(data, budget=300, seed=3, packing=True).load_state_dict(state)
