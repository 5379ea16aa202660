"""A few hundred bytes of Parquet can encode gigabytes: the decoded size is checked before."""

import json

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from almtok.lm.data.shards import ShardError, read_codes, read_info, read_labels


def with_column(path, name, values):
    table = pyarrow.parquet.read_table(path)
    column = pyarrow.array(values, table.schema.field(name).type)
    place = table.column_names.index(name)
    table = table.set_column(place, table.schema.field(name), column)
    pyarrow.parquet.write_table(table, path, compression="zstd", use_dictionary=True)


@pytest.fixture
def shard(make, tmp_path):
    make.shards(tmp_path, [dict(text=f"text {n}") for n in range(4)])
    return tmp_path / "tokens-000000.parquet"


@pytest.mark.parametrize("name", ["codes", "text"])
def test_shards_that_decode_to_too_much_are_refused(shard, name, monkeypatch):
    info = read_info(shard)
    if name == "codes":
        with_column(shard, name, [np.zeros(100_000, np.uint16)] * 4)
    else:
        with_column(shard, name, ["x" * 200_000] * 4)
    assert shard.stat().st_size < 20_000
    read = read_codes if name == "codes" else read_labels
    monkeypatch.setenv("ALMTOK_MAX_SHARD_BYTES", "700000")
    with pytest.raises(ShardError, match=r"tokens-000000.*at most 700000.*ALMTOK_MAX_SHARD_BYTES"):
        read(shard, info)
    monkeypatch.setenv("ALMTOK_MAX_SHARD_BYTES", "900000")
    with pytest.raises(ShardError, match="checksum"):  # read, but other than it was
        read(shard, info)


def test_ordinary_shards_are_far_below_the_limit(shard, monkeypatch):
    monkeypatch.setenv("ALMTOK_MAX_SHARD_BYTES", "2000")
    info = read_info(shard)
    assert read_labels(shard, info)["text"].to_pylist() == [f"text {n}" for n in range(4)]
    assert len(read_codes(shard, info).flat) == 4 * 3 * 5
    assert json.loads(info.to_json())["rows"] == 4
