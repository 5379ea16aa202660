import pickle

import numpy as np
import pytest
import torch

from almtok.lm.data import TokenDataset
from almtok.lm.data.rows import EpochIndex
from almtok.lm.data.shards import ShardError, read_codes, read_info, read_labels, shard_path

ROWS = [
    dict(text="a", speaker="x", language="en", split="train", frames=3),
    dict(text="", speaker="x", language="en", split="train", frames=9),
    dict(text="c", speaker="y", language="de", split="valid", frames=5),
    dict(text="d", speaker="x", language="en", split="test", frames=7, domain="music"),
    dict(text="e", speaker="", language="en", split="train", frames=2),
    dict(text="f", speaker="", language="en", split="train", frames=4),
]


def ids(dataset):
    return [dataset[n].id for n in range(len(dataset))]


def test_rows_come_back(make, tmp_path):
    codes = torch.arange(3 * 4).reshape(3, 4)
    make.shards(tmp_path, [*ROWS, dict(codes=codes.numpy(), samples=7000)])
    rows = TokenDataset(tmp_path)
    assert len(rows) == 7 and rows.num_frames.tolist() == [3, 9, 5, 7, 2, 4, 4]
    assert torch.equal(rows[6].codes, codes) and rows[6].codes.dtype == torch.int64
    assert rows[-1].id == rows[EpochIndex(5, 6)].id == "r6"
    assert rows[6].num_samples == 7000 and rows[6].duration == pytest.approx(7000 / 24_000)
    assert rows.seconds == pytest.approx(sum(rows[n].duration for n in range(7)))
    assert rows.lengths(3) is rows.num_frames
    measured = rows.labels(6)
    assert measured.codes.shape == (3, 4) and not measured.codes.any()
    assert measured.text == rows[6].text
    with pytest.raises(IndexError, match="row 7 of 7"):
        rows[7]


def test_filters(make, tmp_path):
    make.shards(tmp_path, ROWS)
    assert ids(TokenDataset(tmp_path, split="train")) == ["r0", "r1", "r4", "r5"]
    assert ids(TokenDataset(tmp_path, split="dev")) == ["r2"]
    assert ids(TokenDataset(tmp_path, domain="music")) == ["r3"]
    assert ids(TokenDataset(tmp_path, language="de")) == ["r2"]
    assert ids(TokenDataset(tmp_path, needs_text=True)) == ["r0", "r2", "r3", "r4", "r5"]
    assert ids(TokenDataset(tmp_path, min_seconds=0.3, max_seconds=0.6)) == ["r2", "r3", "r5"]
    with pytest.raises(ValueError, match="none of 6 rows .* fits: asked for split 'nothing'"):
        TokenDataset(tmp_path, split="nothing")


def test_a_row_without_a_split_is_for_training(make, tmp_path):
    rows = [
        dict(frames=4, text=f"row {n}", split=split) for n, split in enumerate(("", "valid", ""))
    ]
    make.shards(tmp_path, rows)
    assert len(TokenDataset(tmp_path, split="train")) == 2
    assert len(TokenDataset(tmp_path, split="valid")) == 1


def test_codecs_are_not_mixed(make, tmp_path):
    one = make.shards(tmp_path / "1", [{}], fingerprint="aaaa")
    two = make.shards(tmp_path / "2", [{}], fingerprint="bbbb")
    with pytest.raises(ValueError, match=r"two codecs .* codec aaaa, .* codec bbbb"):
        TokenDataset([one, two])
    with pytest.raises(ValueError, match=r"must be of codec bbbb, got tokens of codec aaaa"):
        TokenDataset(one, fingerprint="bbbb")
    assert len(TokenDataset([one, one], fingerprint="aaaa")) == 2


def test_damage_is_found(make, tmp_path):
    """Every byte of a small shard matters: flipped, it is an error or it changes nothing."""
    make.shards(tmp_path, ROWS, per_shard=8)
    path = shard_path(tmp_path, 0)
    whole = path.read_bytes()
    info = read_info(path)
    labels, codes = read_labels(path, info), read_codes(path, info)
    found = 0
    for place in np.random.default_rng(0).choice(len(whole), 150, replace=False).tolist():
        broken = bytearray(whole)
        broken[place] ^= 0x55
        path.write_bytes(broken)
        try:
            now = read_info(path)
            assert now == info
            assert read_labels(path, now).equals(labels)
            assert np.array_equal(read_codes(path, now).flat, codes.flat)
        except ShardError:
            found += 1
    assert found > 75
    path.write_bytes(whole[:-10])
    with pytest.raises(ValueError, match="tokens-000000.parquet"):
        TokenDataset(tmp_path)


def test_what_is_no_shard_is_refused(tmp_path):
    import pyarrow
    import pyarrow.parquet

    with pytest.raises(ValueError, match="holds no token shards"):
        TokenDataset(tmp_path)
    with pytest.raises(ValueError, match="there is no token shard"):
        TokenDataset(tmp_path / "no.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="no 'almtok' metadata"):
        TokenDataset(tmp_path)


def test_memory_stays_bounded_and_nothing_changes(make, tmp_path):
    make.shards(tmp_path, ROWS * 3, per_shard=2)
    rows = TokenDataset(tmp_path, cache_mebibytes=0)
    for _ in range(2):
        for n in torch.randperm(len(rows)).tolist():
            assert rows[n].codes.shape[1] == rows.num_frames[n]
    assert len(rows._cache._held) == 1


def test_dataset_travels_to_workers(make, tmp_path):
    make.shards(tmp_path, ROWS)
    rows = TokenDataset(tmp_path)
    copy = pickle.loads(pickle.dumps(rows))
    assert all(torch.equal(copy[n].codes, rows[n].codes) for n in range(len(rows)))


def test_companions_share_the_speaker(make, tmp_path):
    make.shards(tmp_path, ROWS)
    rows = TokenDataset(tmp_path)
    random = np.random.default_rng(0)
    others = {rows.companion(0, random) for _ in range(50)}
    assert others == {1, 3}
    assert rows.companion(2, random) is None  # alone
    assert rows.companion(4, random) is None  # nobody knows who it is
