"""What is not understood is an error that names file and line, or it is counted: never dropped."""

import io
import json
import logging
import os

import numpy as np
import pyarrow.parquet
import pytest
import soundfile

from almtok.core.audio import AudioError
from almtok.core.data import DataConfig, EntryReader, columns
from almtok.core.data.corpus import AudioCorpus
from almtok.core.data.manifests import list_entries
from almtok.lm.data.clips import decode_buffers
from almtok.lm.data.config import TokenizeConfig

RATE = 8000


def facts(source, *names, transcripts=True):
    entries = list_entries([source], transcripts=transcripts)
    return [tuple(getattr(entry, name) for name in names) for entry in entries]


def parquet(path, texts, audio="audio", text="text"):
    wav = io.BytesIO()
    soundfile.write(wav, np.sin(np.arange(RATE)), RATE, format="WAV")
    rows = {audio: [{"bytes": wav.getvalue(), "path": None}] * len(texts), text: texts}
    pyarrow.parquet.write_table(pyarrow.table(rows), path, compression="zstd")
    return path


def refused(source, *words):
    with pytest.raises(ValueError) as caught:
        list_entries([source], transcripts=True)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


@pytest.fixture
def ramp(tmp_path):
    """20 s whose samples tell their position."""
    wav = np.linspace(-0.9, 0.9, 20 * RATE).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", wav, RATE, subtype="FLOAT")
    return wav


@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv"])
def test_rows_of_nemo_are_excerpts(ramp, tmp_path, suffix):
    starts = [0.0, 4.0, 17.5]
    rows = [
        {"audio_filepath": "long.wav", "offset": start, "duration": 2.0, "text": f"from {start}"}
        for start in starts
    ]
    path = tmp_path / f"nemo{suffix}"
    if suffix == ".csv":
        lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
        path.write_text("\n".join(lines))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    entries = list_entries([path], transcripts=True)
    assert [(e.start, e.seconds, e.text) for e in entries] == [
        (start, 2.0, f"from {start}") for start in starts
    ]
    for entry, start in zip(entries, starts, strict=True):
        wav = EntryReader().read(entry, RATE)
        first = int(start * RATE)
        assert np.array_equal(wav, ramp[first : first + 2 * RATE])
    for cached in (True, False):  # the codec's corpus honours them, too
        config = DataConfig(sample_rate=RATE, cache_pcm=cached)
        corpus = AudioCorpus.scan([path], config, tmp_path / "cache", progress=False)
        assert [clip.num_samples for clip in corpus.clips] == [2 * RATE] * 3
        part = corpus.read(corpus.clips[1], 100, 50)
        assert np.abs(part - ramp[4 * RATE + 100 : 4 * RATE + 150]).max() < 1e-4


def test_a_row_without_an_offset_begins_at_the_start_where_others_have_one(ramp, tmp_path):
    path = tmp_path / "m.jsonl"
    rows = [{"audio": "long.wav", "duration": 2}, {"audio": "long.wav", "offset": 5}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert facts(path, "start", "seconds") == [(0.0, 2.0), (5.0, None)]
    path.write_text(json.dumps(rows[0]) + "\n")  # ours: the rounded length of the whole file
    assert facts(path, "start", "seconds") == [(0.0, None)]


def test_excerpts_after_the_end_of_their_file_are_counted(ramp, tmp_path):
    rows = [{"audio": "long.wav", "offset": start, "duration": 4} for start in (10, 16.4, 17, 30)]
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    corpus = AudioCorpus.scan([path], DataConfig(sample_rate=RATE), progress=False)
    assert [clip.num_samples for clip in corpus.clips] == [4 * RATE, round(3.6 * RATE)]
    assert corpus.skipped.counts == {"empty": 1, "too_short": 1}
    assert "ends after 3.000 s of 4.000 s" in corpus.skipped.items[0].detail
    (clips,) = decode_buffers(list_entries([path], transcripts=True), RATE, TokenizeConfig())
    assert [type(clip).__name__ for clip in clips] == ["DecodedClip"] * 2 + ["RejectedClip"] * 2


@pytest.mark.parametrize(
    "row", [{"offset": -1}, {"offset": "soon"}, {"offset": 1, "duration": 0}, {"offset": True}]
)
def test_offsets_that_are_none_name_the_line(ramp, tmp_path, row):
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({"audio": "long.wav", **row}) + "\n")
    refused(
        path,
        "m.jsonl line 1",
        "must be a text or a number" if row.get("offset") is True else "seconds >",
    )


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"start": 3, "end": 5.5}, (3.0, 2.5)),
        ({"start": 3, "duration": 2.5}, (3.0, 2.5)),  # lhotse
        ({"start": 3}, (3.0, None)),
        ({"end": 2}, (0.0, 2.0)),
        ({"start": 3, "end": None}, (3.0, None)),
        ({"offset": 3, "start": 3.0, "end": 5.5, "duration": 2.5}, (3.0, 2.5)),
        ({"start": 3, "end": 5.333, "duration": 2.33}, (3.0, 5.333 - 3)),  # rounded
        ({"duration": 2, "label": "start", "text": "end"}, (0.0, None)),  # values, no columns
    ],
)
@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_start_and_end_are_excerpts(ramp, tmp_path, suffix, row, expected):
    path = tmp_path / f"m{suffix}"
    if suffix == ".csv":
        cells = ("" if value is None else str(value) for value in row.values())
        path.write_text(f"audio,{','.join(row)}\nlong.wav,{','.join(cells)}\n")
    else:
        path.write_text(json.dumps({"audio": "long.wav", **row}) + "\n")
    (entry,) = list_entries([path], transcripts=True)
    assert (entry.start, entry.seconds) == expected
    wav = EntryReader().read(entry, RATE)
    first = round(expected[0] * RATE)
    last = None if expected[1] is None else first + round(expected[1] * RATE)
    assert np.array_equal(wav, ramp[first:last])


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"offset": 1, "start": 2}, "offset and start must be the same second"),
        ({"start": 3, "end": 5, "duration": 600}, "duration must be the 2 s from 3 to 5 s"),
        ({"start": 3, "end": 3}, "end must be after the start at 3 s, got 3 s"),
        ({"start": 3, "end": 2}, "end must be after the start"),
        ({"end": 0}, "end must be after the start at 0 s"),
        ({"start": "00:00:03", "end": 5}, "start must be a number of seconds"),
        ({"start": 3, "end": -1}, "end must be a number of seconds >= 0"),
        ({"start": 3, "duration": 0}, "duration must be a number of seconds > 0"),
    ],
)
def test_columns_of_seconds_that_contradict_each_other_name_the_line(ramp, tmp_path, row, words):
    path = tmp_path / "m.jsonl"
    path.write_text(json.dumps({"audio": "long.wav", **row}) + "\n")
    refused(path, "m.jsonl line 1", words)


def test_segments_of_kaldi_are_excerpts(ramp, tmp_path):
    (tmp_path / "wav.scp").write_text("rec long.wav\n")
    (tmp_path / "segments").write_text("a rec 3 5.5\nb rec 7.25 -1\n")
    (tmp_path / "text").write_text("a one\nb two\n")
    entries = list_entries([tmp_path], transcripts=True)
    assert [(e.id, e.start, e.seconds, e.text) for e in entries] == [
        ("a", 3.0, 2.5, "one"), ("b", 7.25, None, "two"),
    ]  # fmt: skip
    wav = EntryReader().read(entries[0], RATE)
    assert np.array_equal(wav, ramp[3 * RATE : round(5.5 * RATE)])


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "Metadata.JSONL"])
@pytest.mark.parametrize("column", ["text", "transcription", "sentence"])
def test_hugging_face_audio_folder(make, tmp_path, name, column):
    make.folder(tmp_path / "train", [0.3, 0.3])
    table = tmp_path / "train" / name
    if name.endswith("csv"):
        table.write_text(f'file_name,{column}\n00.flac,"one, two"\n01.flac,three\n')
    else:
        rows = [("00.flac", "one, two"), ("01.flac", "three")]
        lines = [json.dumps({"file_name": file, column: text}) for file, text in rows]
        table.write_text("\n".join(lines))
    for folder in (tmp_path, tmp_path / "train"):
        assert facts(folder, "text", "split") == [("one, two", "train"), ("three", "train")]


def test_metadata_of_another_kind_is_named_and_not_read(make, tmp_path, caplog):
    make.folder(tmp_path, [0.3])
    (tmp_path / "metadata.csv").write_text("speaker,age\nanna,30\n")
    (tmp_path / "picture.jpg").write_bytes(b"x")
    with caplog.at_level(logging.INFO):
        assert facts(tmp_path, "text") == [("",)]
    assert "files not read: metadata.csv, .jpg" in caplog.text


def test_texts_without_audio_are_counted(make, tmp_path, caplog):
    make.folder(tmp_path, [0.3, 0.3])
    for name in ("00.txt", "01.normalized.txt", "01.original.txt", "02.txt", "03.lab", "04.txt"):
        (tmp_path / name).write_text(name)
    with caplog.at_level(logging.INFO):
        assert facts(tmp_path, "text") == [("00.txt",), ("01.normalized.txt",)]
    assert "files not read: 2 .txt without audio, .lab without audio" in caplog.text
    assert "text=files beside the audio" in caplog.text


def common_voice(make, folder):
    make.folder(folder / "clips", [0.3] * 4)
    for split, number in (("train", 0), ("dev", 1), ("test", 2), ("other", 3)):
        row = f'c{number}\t0{number}.flac\t"Leading quote {number}\t2\ten\n'
        table = f"client_id\tpath\tsentence\tup_votes\tlocale\n{row}"
        (folder / f"{split}.tsv").write_text(table)
    return folder


def test_common_voice(make, tmp_path, caplog):
    folder = common_voice(make, tmp_path / "cv")
    with caplog.at_level(logging.INFO):
        assert facts(folder, "id", "text", "speaker", "language", "split") == [
            (f"0{n}.flac", f'"Leading quote {n}', f"c{n}", "en", split)
            for n, split in ((1, "valid"), (2, "test"), (0, "train"))
        ]
    assert "audio=path, " in caplog.text and "text=sentence" in caplog.text
    assert "ignored columns: up_votes" in caplog.text
    assert facts(f"{folder}:other", "id", "split") == [("03.flac", "other")]
    assert facts(f"{folder}:train", "id", transcripts=False) == [("00.flac",)]
    assert facts(folder / "test.tsv", "id", "split") == [("02.flac", "test")]
    assert all(stamp != "missing" for (stamp,) in facts(folder, "stamp"))


def test_a_quote_in_tsv_swallows_no_rows(make, tmp_path):
    make.folder(tmp_path, [0.3, 0.3])
    (tmp_path / "m.tsv").write_text('path\tsentence\n00.flac\t"Quoted at first\n01.flac\tplain\n')
    assert facts(tmp_path / "m.tsv", "text") == [('"Quoted at first',), ("plain",)]


def test_links_to_folders_are_followed_without_end(make, tmp_path):
    make.folder(tmp_path / "disk", [0.3])
    corpus = tmp_path / "corpus"
    make.folder(corpus / "own", [0.3])
    os.symlink(tmp_path / "disk", corpus / "linked")
    os.symlink(corpus, corpus / "own" / "loop")
    os.symlink(tmp_path / "gone.wav", corpus / "gone.wav")
    assert facts(corpus, "id") == [("gone.wav",), ("linked/00.flac",), ("own/00.flac",)]
    found = AudioCorpus.scan([corpus], DataConfig(sample_rate=RATE), progress=False)
    assert found.skipped.counts == {"missing": 1} and len(found) == 2


@pytest.mark.parametrize("name", ["manifest.JSONL", "Manifest.TSV", "MANIFEST.CSV"])
def test_upper_case_manifests_keep_test_rows_apart(make, tmp_path, name):
    make.folder(tmp_path, [0.3, 0.3])
    rows = [{"audio": "00.flac", "split": "train"}, {"audio": "01.flac", "split": "test"}]
    if name.endswith("JSONL"):
        text = "".join(json.dumps(row) + "\n" for row in rows)
    else:
        mark = "," if name.endswith("CSV") else "\t"
        text = "\n".join(mark.join(line) for line in [rows[0], *(row.values() for row in rows)])
    (tmp_path / name).write_text(text)
    assert facts(tmp_path, "id", "split") == [("00.flac", "train"), ("01.flac", "test")]
    assert facts(f"{tmp_path}:train", "id", transcripts=False) == [("00.flac",)]


def test_the_column_of_splits_counts_and_not_the_name_of_the_file(make, tmp_path):
    make.parquet(tmp_path / "train.parquet", 2, split=["train", "test"])
    assert facts(f"{tmp_path}:train", "id") == [("p0",)]


def test_several_manifests_are_refused(make, tmp_path):
    for name in ("manifest.csv", "manifest.tsv"):
        (tmp_path / name).write_text("audio\na.wav\n")
    refused(tmp_path, "manifest.csv, manifest.tsv")


def test_nested_corpora_keep_their_texts(make, tmp_path):
    tmp_path = tmp_path / "corpora"
    make.folder(tmp_path / "a", [0.3])
    (tmp_path / "a" / "manifest.csv").write_text("audio,text\n00.flac,one\n")
    make.folder(tmp_path / "lj" / "wavs", [0.3])
    (tmp_path / "lj" / "metadata.csv").write_text("00.flac|two\n")
    for split in ("train", "test"):
        make.folder(tmp_path / "kaldi" / split, [0.3])
        (tmp_path / "kaldi" / split / "wav.scp").write_text(f"{split}1 00.flac\n")
        (tmp_path / "kaldi" / split / "text").write_text(f"{split}1 {split} words\n")
    make.folder(tmp_path / "z", [0.3])
    assert facts(tmp_path, "text", "split") == [
        ("one", ""), ("test words", "test"), ("train words", "train"), ("two", ""), ("", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["wav.scp", "text", "utt2spk", "a.trans.txt"])
def test_doubled_keys_are_refused(make, tmp_path, name):
    make.folder(tmp_path, [0.3])
    if "trans" not in name:
        (tmp_path / "wav.scp").write_text("u1 00.flac\n")
    (tmp_path / name).write_text("u1 00.flac\nu2 00.flac\nu1 01.flac\n")
    refused(tmp_path, f"{name} line 3", "'u1'", "line 1")


def test_lines_of_kaldi_without_audio_are_counted(make, tmp_path, caplog):
    make.folder(tmp_path, [0.3])
    (tmp_path / "wav.scp").write_text("u1 00.flac\n")
    (tmp_path / "text").write_text("u1 one\nu2 two\nu3 three\n")
    with caplog.at_level(logging.INFO):
        assert facts(tmp_path, "text") == [("one",)]
    assert "2 lines of" in caplog.text and "without audio" in caplog.text


def test_only_line_feeds_end_a_record(make, tmp_path):
    make.folder(tmp_path / "k", [0.3])
    odd = "one\u2028two\u0085three\x0cfour"
    (tmp_path / "k" / "wav.scp").write_text("u1 00.flac\n")
    (tmp_path / "k" / "text").write_text(f"u1 {odd}\n")
    make.folder(tmp_path / "lj", [0.3])
    (tmp_path / "lj" / "metadata.csv").write_text(f"00.flac|{odd}\n")
    for suffix, mark in ((".csv", ","), (".tsv", "\t")):
        (tmp_path / f"m{suffix}").write_text(f"audio{mark}text\nlj/00.flac{mark}{odd}\n")
    line = json.dumps({"audio": "lj/00.flac", "text": odd}, ensure_ascii=False)
    (tmp_path / "m.jsonl").write_text(line + "\n")
    for name in ("k", "lj", "m.csv", "m.tsv", "m.jsonl"):
        assert facts(tmp_path / name, "text") == [(odd,)], name


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("m.csv", "audio,text\na.wav,one\nb.wav,two, three\n", ["line 3", "3 cells, expected 2"]),
        ("m.csv", "audio,text\na.wav\n", ["line 2", "1 cells, expected 2"]),
        ("m.csv", 'audio,text\na.wav,"one" two\n', ["line 2", "not csv"]),
        ("m.csv", 'audio,text\na.wav,"one\nb.wav,two\n', ["line 3", "not csv"]),
        ("m.csv", "audio,text,Text\na.wav,b,c\n", ["line 2", "'text' occurs twice"]),
        ("m.tsv", "audio\ttext\na.wav\tb\tc\n", ["line 2", "3 cells, expected 2"]),
        ("m.jsonl", '{"audio": "a.wav", "text": "b", "text": "c"}', ["line 1", "occurs twice"]),
        ("m.jsonl", '{"audio": "a.wav", "text": {"en": "b"}}', ["line 1", "column 'text'", "dict"]),
        ("m.jsonl", '{"audio": 7}', ["line 1", "must name an audio file"]),
        ("m.jsonl", "[" * 100_000, ["line 1", "not JSON"]),
        ("m.jsonl", '{"audio": ' + "9" * 5000 + "}", ["line 1", "not JSON"]),
        ("m.json", '[{"audio": "a.wav"}, 3]', ["item 2", "expected a JSON object"]),
        ("metadata.csv", "a|b\nc|d|e|f\n", ["line 2", "4 columns"]),
        ("metadata.csv", "a|b\na|c\n", ["line 2", "'a'", "line 1"]),
    ],
)
def test_bad_rows_name_file_and_line(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    refused(tmp_path if name == "metadata.csv" else tmp_path / name, name, *words)


def test_json_may_be_a_list(make, tmp_path):
    make.folder(tmp_path, [0.3, 0.3])
    rows = [{"audio": "00.flac", "text": "one"}, {"audio": "01.flac", "text": "two"}]
    (tmp_path / "m.json").write_text(json.dumps(rows, indent=2))
    assert facts(tmp_path / "m.json", "text") == [("one",), ("two",)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("name", ["m.csv", "m.tsv", "m.jsonl", "metadata.csv", "00.txt"])
def test_byte_order_marks_are_read(make, tmp_path, name, encoding):
    make.folder(tmp_path, [0.3])
    text = {
        "m.csv": "audio,text\n00.flac,Käse ✓\n",
        "m.tsv": "audio\ttext\n00.flac\tKäse ✓\n",
        "m.jsonl": json.dumps({"audio": "00.flac", "text": "Käse ✓"}, ensure_ascii=False),
        "metadata.csv": "00.flac|Käse ✓\n",
        "00.txt": "Käse ✓\n",
    }[name]
    (tmp_path / name).write_text(text, encoding=encoding)
    source = tmp_path / name if name.startswith("m.") else tmp_path
    assert facts(source, "text") == [("Käse ✓",)]


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl", "metadata.csv", "00.txt", "wav.scp"])
def test_other_encodings_are_refused(make, tmp_path, name):
    make.folder(tmp_path, [0.3])
    lines = {
        "m.csv": ("audio,text", "00.flac,Käse"),
        "m.jsonl": ('{"audio": "00.flac"}', '{"audio": "00.flac", "text": "Käse"}'),
        "metadata.csv": ("00.flac|a", "01.flac|Käse"),
        "00.txt": ("a", "Käse"),
        "wav.scp": ("a 00.flac", "Käse 00.flac"),
    }[name]
    source = tmp_path / name if name.startswith("m.") else tmp_path
    (tmp_path / name).write_bytes("\n".join(lines).encode("latin-1"))
    refused(source, f"{name} line 2", "0xe4", "not UTF-8", "iconv")
    (tmp_path / name).write_bytes("\n".join(lines).encode("utf-16-le"))
    refused(source, f"{name} line 1", "zero bytes", "UTF-16")


def test_manifests_that_are_audio_and_the_reverse(make, tmp_path):
    folder = make.folder(tmp_path / "a", [0.3])
    (folder / "00.flac").rename(tmp_path / "m.csv")
    refused(tmp_path / "m.csv", "m.csv line 1", "zero bytes")
    (tmp_path / "list.txt").write_text("audio,text\na.wav,one\n")
    refused(tmp_path / "list.txt", "list.txt is a text, not audio", ".tsv")
    (tmp_path / "sound.bin").write_bytes((tmp_path / "m.csv").read_bytes())
    assert facts(tmp_path / "sound.bin", "id") == [("sound.bin",)]  # the suffix may be unknown


def test_datasets_that_are_not_there(tmp_path):
    pytest.importorskip("datasets")
    refused(f"hf:{tmp_path / 'gone'}", "existing folder", "gone")
    refused("hf:./gone:train", "existing folder")


def test_names_that_no_file_can_have_name_the_line(make, tmp_path):
    soundfile.write(tmp_path / "a.wav", make.noise(0.5), RATE)
    for number, name in enumerate((r"a\u0000.wav", r"a\ud800.wav")):
        path = tmp_path / f"m{number}.jsonl"
        path.write_text(f'{{"audio": "a.wav"}}\n{{"audio": "{name}"}}\n')
        refused(path, f"m{number}.jsonl line 2", "'audio'", "name of a file")


def test_names_that_are_too_long_are_missing_files(make, tmp_path):
    soundfile.write(tmp_path / "a.wav", make.noise(0.5), RATE)
    path = tmp_path / "m.csv"
    path.write_text(f"path,text\na.wav,x\n{'a' * 300}.wav,y\n")
    entries = list_entries([path])
    assert [entry.stamp == "missing" for entry in entries] == [False, True]
    with pytest.raises(AudioError, match="missing"):
        EntryReader().read(entries[1], None)


def test_long_names_may_have_transcripts_or_none(make, tmp_path):
    for length in (100, 250):  # .normalized.txt would be too long a name
        soundfile.write(tmp_path / f"{'a' * length}.wav", make.noise(0.5), RATE)
    (tmp_path / f"{'a' * 100}.txt").write_text("hi")
    assert facts(tmp_path, "text") == [("hi",), ("",)]
    (tmp_path / "metadata.csv").write_text(f"{'a' * 100}|x\n{'a' * 300}|y\n")
    assert facts(tmp_path, "text", "stamp")[1] == ("y", "missing")


def test_domains_in_capitals_are_read_and_others_are_noted(make, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    soundfile.write(tmp_path / "a.wav", make.noise(0.5), RATE)
    path = tmp_path / "m.csv"
    path.write_text("path,domain\na.wav,Speech\na.wav,Music\n")
    assert facts(path, "domain") == [("speech",), ("music",)]
    assert facts(f"Sound={path}", "domain") == [("sound",)] * 2
    assert "built-in tasks" not in caplog.text
    assert facts(f"spech={path}", "domain") == [("spech",)] * 2
    assert "domain spech: built-in tasks read listening, music" in caplog.text


def test_a_value_named_offset_is_no_column(make, tmp_path):
    soundfile.write(tmp_path / "a.wav", make.noise(0.5), RATE)
    path = tmp_path / "m.jsonl"
    path.write_text('{"audio": "a.wav", "duration": 0.1, "label": "offset"}\n')
    assert facts(path, "seconds") == [(None,)]


def test_segments_without_a_number_or_a_file_are_refused(make, tmp_path):
    soundfile.write(tmp_path / "a.wav", make.noise(0.5), RATE)
    (tmp_path / "wav.scp").write_text("u1 a.wav\n")
    for times in ("0.1 inf", "nan 1", "inf inf", "inf -1"):
        (tmp_path / "segments").write_text(f"s1 u1 {times}\n")
        refused(tmp_path, "segments", "s1")
    (tmp_path / "segments").unlink()
    (tmp_path / "wav.scp").write_text("u1\n")
    refused(tmp_path, "wav.scp", "u1")


def test_damaged_parquet_is_named(tmp_path):
    content = parquet(tmp_path / "whole.parquet", ["x", "y"]).read_bytes()
    for number, damaged in enumerate((b"", b"PAR1junkPAR1", content[: len(content) // 2])):
        path = tmp_path / f"damaged{number}.parquet"
        path.write_bytes(damaged)
        refused(path, path.name)
    (tmp_path / "damaged.parquet").write_bytes(
        b"\xff" * (len(content) // 3) + content[len(content) // 3 :]
    )
    with pytest.raises((ValueError, OSError), match=r"damaged\.parquet"):
        EntryReader().read(list_entries([tmp_path / "damaged.parquet"])[0], None)


def test_columns_of_parquet_in_any_case(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    path = parquet(tmp_path / "p.parquet", ["x"], audio="Audio", text="Text")
    assert facts(path, "text") == [("x",)]
    assert "audio=audio, text=text" in caplog.text
    assert "ignored" not in caplog.text
    pyarrow.parquet.write_table(
        pyarrow.table({"audio": ["a.wav"], "text": ["x"], "TEXT": ["y"]}), path
    )
    refused(path, "p.parquet", "'text' occurs twice")


def test_splits_that_a_saved_dataset_does_not_have(make, tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = {"audio": [{"bytes": make.encoded(make.noise(0.3)), "path": None}]}
    data = datasets.Dataset.from_dict(rows, split="test")
    data.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"test": data}).save_to_disk(tmp_path / "several")
    for name in ("one", "several"):
        refused(f"hf:{tmp_path / name}:train", "no split 'train'", "found test")
        assert len(list_entries([f"hf:{tmp_path / name}:test"])) == 1


TYPED = {
    "id": [7, 8, 9],
    "speaker_id": [1.0, float("nan"), 3.0],
    "text": ["one", None, "three"],
    "label": [1, -1, 0],
}


@pytest.mark.parametrize("kind", ["parquet", "saved", "jsonl"])
def test_typed_columns(make, tmp_path, kind, caplog):
    datasets = pytest.importorskip("datasets")
    if kind == "jsonl":
        make.folder(tmp_path, [0.3] * 3)
        rows = [
            {"audio": f"0{n}.flac", **{name: values[n] for name, values in TYPED.items()}}
            for n in range(3)
        ]
        for row, name in zip(rows, ("dog", None, "cat"), strict=True):
            row["label"] = name
        source = make.manifest(tmp_path / "m.jsonl", rows)
    else:
        audio = [{"bytes": make.encoded(make.noise(0.3, n)), "path": None} for n in range(3)]
        data = datasets.Dataset.from_dict({"audio": audio, **TYPED, "fold": [1, 2, 3]})
        data = data.cast_column("label", datasets.ClassLabel(names=["cat", "dog"]))
        if kind == "parquet":
            source = tmp_path / "train.parquet"
            data.to_parquet(source)
        else:
            datasets.DatasetDict({"train": data}).save_to_disk(tmp_path / "data")
            source = f"hf:{tmp_path / 'data'}:train"
    with caplog.at_level(logging.INFO):
        assert facts(source, "id", "speaker", "text", "label") == [
            ("7", "1", "one", "dog"), ("8", "", "", ""), ("9", "3", "three", "cat"),
        ]  # fmt: skip
    assert "speaker=speaker_id" in caplog.text
    assert kind == "jsonl" or "ignored columns: fold" in caplog.text


def test_every_column_of_the_role_names_the_split(ramp, tmp_path, monkeypatch):
    monkeypatch.setitem(columns.ROLES, "split", ("split", "fold"))
    rows = [{"audio": "long.wav", "id": fold, "fold": fold} for fold in ("train", "test")]
    path = tmp_path / "list.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [entry.split for entry in list_entries([f"{path}:train"])] == ["train"]


def test_a_key_with_a_no_break_space_is_named(tmp_path):
    (tmp_path / "wav.scp").write_text("a\u00a0b\n", encoding="utf-8")
    with pytest.raises(ValueError, match="wav.scp line 1: a\u00a0b must be a file, got nothing"):
        list_entries([tmp_path], transcripts=True)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("metadata.csv", "a|hello\n"),
        ("train_manifest.json", '{"audio_filepath": "a.wav", "text": "hello"}\n'),
    ],
)
def test_empty_lines_before_the_first_row(tmp_path, name, line):
    (tmp_path / "a.wav").touch()
    (tmp_path / name).write_text("\n\n" + line)
    (entry,) = list_entries([tmp_path], transcripts=True)
    assert entry.text == "hello"
