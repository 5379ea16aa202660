import os

import pytest

from almtok.core.data import DataConfig
from almtok.core.data.corpus import AudioCorpus
from almtok.core.data.manifests import list_entries
from almtok.core.data.sources import parse_source


def ids(*sources):
    return [entry.id for entry in list_entries(list(sources))]


def test_parse(tmp_path):
    source = parse_source(f"speech={tmp_path}:train")
    assert (source.location, source.domain, source.split) == (str(tmp_path), "speech", "train")
    assert parse_source(tmp_path).split is None
    hub = parse_source("music=hf:owner/name:test")
    assert (hub.location, hub.domain, hub.split, hub.hub) == ("owner/name", "music", "test", True)
    odd = tmp_path / "a=b:c"
    odd.mkdir()
    assert parse_source(odd).location == str(odd)


def test_missing_source_says_what_was_expected(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere does not exist.*parquet"):
        list_entries([tmp_path / "nowhere"])
    with pytest.raises(ValueError, match="no source"):
        list_entries([])


def test_folder_is_walked_in_order(make, tmp_path):
    make.folder(tmp_path / "b", [0.3, 0.3])
    make.folder(tmp_path / "a" / "deep", [0.3])
    make.folder(tmp_path / ".hidden", [0.3])
    (tmp_path / "notes.txt").write_text("no audio")
    assert ids(tmp_path) == ["a/deep/00.flac", "b/00.flac", "b/01.flac"]
    assert {entry.domain for entry in list_entries([f"sound={tmp_path}"])} == {"sound"}
    assert ids(f"{tmp_path}:b") == ["b/00.flac", "b/01.flac"]
    assert ids(tmp_path / "b" / "00.flac") == ["00.flac"]


def test_folder_without_audio_says_so(tmp_path):
    (tmp_path / "notes.txt").write_text("no audio")
    with pytest.raises(ValueError, match=r"names no audio.*\.flac.*\.parquet"):
        list_entries([tmp_path])


def test_equal_names_of_two_sources_get_own_ids(make, tmp_path):
    one, two = make.folder(tmp_path / "1", [0.3]), make.folder(tmp_path / "2", [0.3])
    assert ids(one, two) == ["00.flac", "00.flac#2"]


ROWS = [
    {"id": "x", "audio": "audio/00.flac", "text": "hello", "speaker": "s1", "language": "en"}
    | {"domain": "speech", "split": "train", "duration": 0.3},
    {"id": "y", "audio": "audio/01.flac", "text": "rain", "domain": "sound", "split": "validation"},
]


def test_jsonl_manifest(make, tmp_path):
    make.folder(tmp_path / "audio", [0.3, 0.3])
    path = make.manifest(tmp_path / "manifest.jsonl", ROWS)
    first, second = list_entries([path])
    assert (first.id, first.text, first.speaker, first.language, first.domain) == (
        "x", "hello", "s1", "en", "speech",
    )  # fmt: skip
    assert first.path == str(tmp_path / "audio/00.flac")
    assert second.domain == "sound"
    assert ids(tmp_path) == ["x", "y"]  # a folder with a manifest is the manifest
    assert ids(f"{tmp_path}:train") == ["x"]
    assert ids(f"{path}:valid") == ids(f"{path}:dev") == ["y"]
    with pytest.raises(ValueError, match="names no audio"):
        list_entries([f"{path}:test"])


@pytest.mark.parametrize(("suffix", "mark"), [(".csv", ","), (".tsv", "\t")])
def test_tables(tmp_path, suffix, mark):
    path = tmp_path / f"table{suffix}"
    lines = [["audio", "text", "kind"], ["a.wav", "one two", "music"], ["b.wav", "", ""]]
    path.write_text("\n".join(mark.join(line) for line in lines))
    first, second = list_entries([path])
    assert (first.text, first.domain, first.id) == ("one two", "music", "a.wav")
    assert (second.text, second.domain) == ("", "audio")


def test_bad_manifests_name_the_line(make, tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"audio": "a.wav"}\n\n{"audio": \n')
    with pytest.raises(ValueError, match="line 3: not JSON"):
        list_entries([path])
    path.write_text('["a.wav"]\n')
    with pytest.raises(ValueError, match="line 1: expected a JSON object"):
        list_entries([path])
    make.manifest(path, [{"text": "no audio here"}])
    with pytest.raises(ValueError, match="line 1: .* must name an audio file, got text"):
        list_entries([path])


def test_parquet_with_audio_column(make, tmp_path):
    path = make.parquet(tmp_path / "a.parquet", 3, kind=["speech", "music", "sound"])
    entries = list_entries([path])
    assert [(e.id, e.row, e.domain) for e in entries] == [
        ("p0", 0, "speech"), ("p1", 1, "music"), ("p2", 2, "sound"),
    ]  # fmt: skip
    assert {e.domain for e in list_entries([f"speech={path}"])} == {"speech"}


def test_nested_parquet_folders_and_splits(make, tmp_path):
    make.parquet(tmp_path / "x" / "train-00000-of-00002.parquet", 2)
    make.parquet(tmp_path / "x" / "train-00001-of-00002.parquet", 2, first=2)
    make.parquet(tmp_path / "y" / "validation.parquet", 1, first=4)
    make.parquet(tmp_path / "z" / "all.parquet", 2, first=5, split=["train", "test"])
    assert ids(tmp_path) == [f"p{n}" for n in range(7)]
    assert ids(f"{tmp_path}:train") == ["p0", "p1", "p2", "p3", "p5"]
    assert ids(f"{tmp_path}:valid") == ["p4"]
    assert ids(f"{tmp_path}:test") == ["p6"]


def test_parquet_without_audio_says_what_is_there(tmp_path):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table({"text": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(ValueError, match="no column 'audio'.*found text"):
        list_entries([tmp_path / "a.parquet"])


def test_parquet_rows_may_name_files_or_be_bytes(make, tmp_path):
    import pyarrow
    import pyarrow.parquet

    make.folder(tmp_path / "audio", [0.4])
    structs = [{"bytes": None, "path": "audio/00.flac"}, {"bytes": None, "path": None}]
    data = {"clip": structs + [{"bytes": b"", "path": None}]}
    pyarrow.parquet.write_table(pyarrow.table(data), tmp_path / "paths.parquet")
    plain = {"audio": [make.encoded(make.noise(0.6))]}
    pyarrow.parquet.write_table(pyarrow.table(plain), tmp_path / "plain.parquet")
    corpus = AudioCorpus.scan([tmp_path / "paths.parquet", tmp_path / "plain.parquet"],
                              DataConfig(sample_rate=8000), progress=False)  # fmt: skip
    assert [clip.num_samples for clip in corpus.clips] == [3200, 4800]
    assert corpus.skipped.counts == {"missing": 1, "empty": 1}


@pytest.mark.parametrize("saved", [False, True])
def test_hugging_face_datasets(make, tmp_path, saved, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    if saved:
        rows = {
            "audio": [{"bytes": make.encoded(make.noise(0.5, n)), "path": None} for n in range(3)]
        }
        data = datasets.Dataset.from_dict({**rows, "text": ["a", "b", "c"]})
        data = data.cast_column("audio", datasets.Audio(decode=False))
        datasets.DatasetDict({"train": data}).save_to_disk(tmp_path / "data")
    else:
        make.parquet(tmp_path / "data" / "train.parquet", 3, text=["a", "b", "c"])
    source = f"sound=hf:{tmp_path / 'data'}:train"
    entries = list_entries([source])
    assert [entry.text for entry in entries] == ["a", "b", "c"]
    corpus = AudioCorpus.scan([source], DataConfig(sample_rate=8000), progress=False)
    assert len(corpus) == 3 and corpus.domains == ("sound",)
    assert len(corpus.read(corpus.clips[0], 100, 50)) == 50


def test_entries_change_with_the_file(make, tmp_path):
    folder = make.folder(tmp_path / "a", [0.3])
    before = list_entries([folder])
    assert list_entries([folder]) == before
    os.utime(folder / "00.flac", ns=(1, 1))
    assert list_entries([folder]) != before
