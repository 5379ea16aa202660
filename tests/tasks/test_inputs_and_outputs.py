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
    for name in ("voice.v2", "voice.wav"):
        (tmp_path / name).mkdir()
    for out in ("voice.v2", "voice.wav", "voice.v3/", "new", "a.b/c", "d.wav/"):
        destination = AudioDestination(str(tmp_path) + "/" + out, 1, "wav")
        assert not destination.is_file and destination.path.is_dir()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ('"seed": "x"', "seed must be a whole number"),
        ('"seed": 1.5', "seed must be a whole number"),
        ('"seed": true', "seed must be a whole number"),
        ('"seed": 99999999999999999999', "seed must lie in"),
        ('"voice": 5', "voice must be a text"),
        ('"id": {"a": 1}', "id must be a text or a whole number"),
        ('"id": false', "id must be a text or a whole number"),
        ('"reference_text": "alone"', "reference_text needs reference"),
        ('"voice": "joe", "reference": "joe.wav"', "give voice .a name. or reference"),
        ('"voice_text": "before"', "unknown voice_text; known are id, reference"),
        ('"text": "again"', "occurs twice"),
        ('"id": "\\ud800"', "half of a surrogate pair"),
    ],
)
def test_fields_of_a_batch_are_checked(tmp_path, fields, words):
    path = tmp_path / "batch.jsonl"
    path.write_text(f'{{"text": "good"}}\n{{"text": "hi", {fields}}}\n')
    with pytest.raises(ValueError, match=rf"batch\.jsonl, line 2.*{words}"):
        text_items([], path, seed=0)


def test_ids_and_missing_values_of_a_batch(tmp_path):
    path = tmp_path / "batch.jsonl"
    path.write_text('{"text": "a", "id": 0}\n{"text": "b", "id": null, "seed": null}\n')
    items = text_items([], path, seed=5)
    assert [(item.id, item.seed) for item in items] == [("0", 5), ("0002", 6)]


def test_files_that_are_no_texts_are_not_spoken(tmp_path):
    for name in ("table.csv", "table.json", "notes.md"):
        (tmp_path / name).write_text("text\nhello\n")
    for name in ("table.csv", "table.json"):
        with pytest.raises(ValueError, match=rf"{name}.*a batch is"):
            text_items([], tmp_path / name, seed=0)
    with pytest.raises(ValueError, match=r"notes\.md is a file"):
        text_items([str(tmp_path / "notes.md")], None, seed=0)
