"""Labels that are stored beside shards: the same as read ones, and never those of other shards."""

import logging
import multiprocessing
import os
import pickle

import numpy as np
import pytest
import torch

from almtok.lm.data import TokenDataset, labels
from almtok.lm.data.checked_file import open_checked, write_checked
from almtok.lm.data.shards import ShardError, shard_path

COLUMNS = [field.name for field in labels._SCHEMA]
CHANGED_NS = 10**18  # of shards that were not just written


@pytest.fixture
def rows():
    return [
        dict(
            text=f"text {n}" if n % 3 else "", speaker=f"s{n % 5}" if n % 4 else "",
            language="en", domain="music" if n % 7 == 0 else "speech",
            split=("train", "valid", "")[n % 3], frames=2 + n % 9,
        )
        for n in range(41)
    ]  # fmt: skip


@pytest.fixture
def folder(make, rows, tmp_path, monkeypatch):
    """Eleven shards, whose labels are stored; this process holds no labels."""
    monkeypatch.setattr(labels, "INDEXED_FROM", 8)
    monkeypatch.setattr(labels, "_held", type(labels._held)())
    made = make.shards(tmp_path / "tokens", rows)
    age(made)
    return made


def age(folder, changed=CHANGED_NS):
    for path in folder.glob("*.parquet"):
        os.utime(path, ns=(changed, changed))


def forget():
    """As a new process."""
    labels._held.clear()


def values(table):
    return [batch.to_pydict() for batch in table.batches]


def read(folder):
    return labels.read_shard_labels(sorted(folder.glob("*.parquet")))


def no_reading(monkeypatch):
    def fail(*arguments):
        raise AssertionError(f"{arguments} was read")

    for name in ("read_labels", "read_info"):
        monkeypatch.setattr(labels, name, fail)


def test_stored_labels_are_those_of_the_shards(folder, monkeypatch):
    plain = read(folder)
    first = labels.folder_labels(folder)
    forget()
    no_reading(monkeypatch)
    second = labels.folder_labels(folder)
    assert first.file == second.file == folder / ".index" / "labels.arrow"
    assert values(first) == values(second) == values(plain)
    assert list(second.batches[0].to_pydict()) == COLUMNS
    assert second.infos == plain.infos and second.paths == plain.paths
    assert second.digest == plain.digest and second.states == plain.states
    assert labels.folder_labels(folder) is second  # all datasets of a process share it


def test_datasets_have_the_same_rows(folder, rows):
    options = [
        {}, dict(split="train"), dict(split="dev", domain="speech"), dict(needs_text=True),
        dict(min_seconds=0.3, max_seconds=0.6), dict(language="en", split="train"),
    ]  # fmt: skip
    for chosen in options:
        stored = TokenDataset([folder, folder], **chosen)
        paths = sorted(folder.glob("*.parquet"))
        plain = TokenDataset(paths * 2, **chosen)  # of single shards nothing is stored
        assert stored._tables[0].file is not None and plain._tables[0].file is None
        assert len(stored) == len(plain) and stored.seconds == plain.seconds
        for one, two in zip(stored, plain, strict=True):
            assert torch.equal(one.codes, two.codes)
            assert [getattr(one, name) for name in COLUMNS if name != "num_frames"] == [
                getattr(two, name) for name in COLUMNS if name != "num_frames"
            ]
        draws = [np.random.default_rng(0), np.random.default_rng(0)]
        for place in range(len(stored)):
            found = stored.companion(place, draws[0])
            assert found == plain.companion(place, draws[1])
            speaker = stored.labels(place).speaker
            assert found is None or (found != place and stored.labels(found).speaker == speaker)
        assert stored.speakers() == plain.speakers() and stored.texts() == plain.texts()
        assert stored.recordings() == plain.recordings()
        assert stored.recordings({"r1", "r2", "no"}) == {
            pair for pair in plain.recordings() if pair[0] in ("r1", "r2")
        }


def test_empty_shards_hold_no_rows(make, folder):
    make.shards(folder, [{}], per_shard=1)  # in place of the first
    empty = make.shards(folder.parent / "empty", [dict(text="x")])
    path = shard_path(folder, 5)
    table = read(folder).infos[5]
    labels_before = TokenDataset(folder)
    assert len(labels_before) == 41 - 3 and table.rows == 4
    info = labels.read_info(shard_path(empty, 0))
    from almtok.lm.data.shards import write_shard

    write_shard(folder, info.__class__(**{**vars(info), "number": 5}), [], 6)
    rows = TokenDataset(folder)
    assert path.exists() and len(rows) == 41 - 3 - 4
    assert [rows[n].id for n in range(len(rows))] == [
        labels_before[n].id for n in range(len(labels_before)) if not 17 <= n < 21
    ]


def test_a_replaced_shard_is_read_again(make, folder, rows):
    labels.folder_labels(folder)
    forget()
    other = [{**row, "text": "other"} for row in rows]
    make.shards(folder, other)
    found = labels.folder_labels(folder)
    assert {row for batch in found.batches for row in batch.to_pydict()["text"]} == {"other"}
    assert [batch for batch in found.batches if len(batch)] and values(found) == values(
        read(folder)
    )


def test_a_shard_that_is_replaced_in_the_same_moment_is_read_again(make, folder, rows):
    """Neither its size nor its time of change tells: its footer does."""
    now = 4 * 10**18  # later than the index
    age(folder, now)
    before = labels.folder_labels(folder)
    make.shards(folder, [{**row, "text": row["text"].replace("text", "next")} for row in rows])
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.parquet")}
    age(folder, now)
    assert sum(sizes[name] == size for name, size, _ in before.states) > 5
    for held in (True, False):
        found = labels.folder_labels(folder)
        assert values(found) == values(read(folder)) != values(before)
        if held:
            forget()


@pytest.mark.parametrize("held", [True, False])
def test_a_damaged_shard_is_named(folder, held):
    labels.folder_labels(folder)
    if not held:
        forget()
    path = shard_path(folder, 3)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ShardError, match="tokens-000003.parquet"):
        TokenDataset(folder)


def test_damaged_codes_are_named_when_they_are_read(folder):
    rows = TokenDataset(folder)
    path = shard_path(folder, 0)
    whole, status = path.read_bytes(), path.stat()
    place = whole.index(b"PAR1") + 40  # in the first column chunks
    found = 0
    for shift in range(0, 400, 8):
        broken = bytearray(whole)
        broken[place + shift] ^= 0x55
        path.write_bytes(broken)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        again = TokenDataset(folder)
        assert again.texts() == rows.texts()  # those that were verified
        try:
            codes = again[0].codes
        except ShardError as error:
            assert "tokens-000000.parquet is damaged" in str(error)
            found += 1
        else:
            assert torch.equal(codes, rows[0].codes)
    assert found


def test_a_damaged_index_is_made_again(folder, caplog):
    plain = values(labels.folder_labels(folder))
    path = folder / ".index" / "labels.arrow"
    whole = path.read_bytes()
    for place in np.random.default_rng(0).choice(len(whole), 30, replace=False).tolist():
        broken = bytearray(whole)
        broken[place] ^= 0x55
        path.write_bytes(broken)
        forget()
        caplog.clear()
        assert values(labels.folder_labels(folder)) == plain
        assert f"{path} is damaged" in caplog.text
        assert path.read_bytes()[64:].count(b"infos") == whole[64:].count(b"infos")
    path.write_bytes(whole[: len(whole) // 2])  # as a full disk leaves it
    forget()
    assert values(labels.folder_labels(folder)) == plain


def test_a_killed_writer_leaves_nothing_behind(folder, tmp_path):
    aside = folder / ".index" / "labels.arrow.tmp-1"
    aside.parent.mkdir()
    aside.write_bytes(b"half")
    assert values(labels.folder_labels(folder)) == values(read(folder))
    assert sorted(path.name for path in aside.parent.iterdir()) == ["labels.arrow", "lock"]

    def half(file):
        file.write(b"half")
        raise KeyboardInterrupt

    path = tmp_path / "file"
    write_checked(path, lambda file: file.write(b"whole"))
    with pytest.raises(KeyboardInterrupt):
        write_checked(path, half)
    assert bytes(open_checked(path)) == b"whole"
    assert [found.name for found in tmp_path.glob("file*")] == ["file"]


def test_read_only_folders(folder, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(labels, "writable", lambda place: folder not in place.parents)
    with caplog.at_level(logging.INFO):
        plain = labels.folder_labels(folder)
    assert plain.file is None and f"{folder} is read-only" in caplog.text
    assert not (folder / ".index").exists()
    forget()
    spare = tmp_path / "run" / ".index"
    stored = labels.folder_labels(folder, spare)
    assert spare in stored.file.parents and values(stored) == values(plain)
    forget()
    no_reading(monkeypatch)
    assert labels.folder_labels(folder, spare).file == stored.file


def test_processes_that_begin_together(folder):
    plain = values(read(folder))
    with multiprocessing.get_context("fork").Pool(3) as pool:
        found = pool.map(_digest_in_process, [folder] * 6, chunksize=1)
    assert set(found) == {labels.folder_labels(folder).digest}
    assert values(labels.folder_labels(folder)) == plain


def _digest_in_process(folder):
    forget()
    return labels.folder_labels(folder).digest


def test_a_dataset_travels_without_its_labels(make, folder, rows):
    dataset = TokenDataset(folder, split="train")
    text = pickle.dumps(dataset)
    assert b"text 1" not in text
    copy = pickle.loads(text)
    assert all(torch.equal(copy[n].codes, dataset[n].codes) for n in range(len(dataset)))
    assert copy.texts() == dataset.texts()
    make.shards(folder, [{**row, "text": "other"} for row in rows])
    TokenDataset(folder)
    with pytest.raises(ShardError, match="was changed while it was used"):
        pickle.loads(text)


def test_few_shards_are_not_stored(make, tmp_path, rows):
    folder = make.shards(tmp_path / "few", rows)
    assert len(TokenDataset(folder)) == len(rows)
    assert not (folder / ".index").exists()
