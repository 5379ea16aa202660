"""Names of outputs are unique or refused; batches are read line by line, or refused."""

import json

import pytest

from almtok.tasks.commands.inputs import audio_items, text_items
from almtok.tasks.commands.outputs import AudioDestination


def texts(batch):
    return [item.text for item in text_items([], batch, seed=0)]


@pytest.mark.parametrize("suffix", [".txt", ".jsonl"])
def test_only_line_feeds_end_a_line_of_a_batch(tmp_path, suffix):
    lines = ["one\u2028two\u0085three", "four"]
    path = tmp_path / f"batch{suffix}"
    rows = [json.dumps({"text": line}, ensure_ascii=False) for line in lines]
    path.write_text("\n".join(rows if suffix == ".jsonl" else lines))
    assert texts(path) == lines


def test_texts_in_other_encodings_are_refused_or_read_by_their_mark(tmp_path):
    path = tmp_path / "batch.txt"
    path.write_text("Käse\n", encoding="utf-16")
    assert texts(path) == ["Käse"]
    path.write_bytes("one\nKäse\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"batch\.txt line 2: byte 0xe4"):
        texts(path)
    with pytest.raises(ValueError, match=r"batch\.txt line 2: byte 0xe4"):
        text_items([str(path)], None, seed=0)


def test_files_of_one_name_are_refused_only_if_they_are_written(tmp_path):
    paths = []
    for folder in "ab":
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.wav").touch()
        paths.append(str(tmp_path / folder / "1.wav"))
    with pytest.raises(ValueError, match="both be written as '1'"):
        audio_items(paths)
    (tmp_path / "2.wav").touch()
    items = audio_items([*paths, str(tmp_path / "2.wav")], written=False)
    assert [item.id for item in items] == [*paths, "2"]


def test_long_names_leave_room_for_a_suffix(tmp_path):
    path = tmp_path / f"{'ä' * 125}.wav"
    path.touch()
    (item,) = audio_items([str(path)])
    assert len(item.id.encode()) <= 200 and item.id.startswith("äää")


@pytest.mark.parametrize("out", ["a.xyz", "folder/a.txt", "a.wav2"])
def test_an_unknown_format_is_no_folder(tmp_path, out):
    for count in (1, 3):
        with pytest.raises(ValueError, match=r"unknown format \.\w+; write .*\.wav"):
            AudioDestination(str(tmp_path / out), count, "wav")
    assert not any(tmp_path.iterdir())


def test_folders_may_have_dots(tmp_path):
    (tmp_path / "voice.v2").mkdir()
    for out in ("voice.v2", "voice.v3/", "new", "a.b/c"):
        destination = AudioDestination(str(tmp_path) + "/" + out, 1, "wav")
        assert not destination.is_file and destination.path.is_dir()
