"""almtok synthesize: what it writes, that it goes on where it was stopped, and what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from almtok.__main__ import main
from almtok.core.audio import read_audio
from almtok.core.data.manifests import list_entries
from almtok.core.levels import measure_levels
from almtok.core.reading import UnreadableFile
from almtok.lm.synthesis.backends import load_backend
from almtok.lm.synthesis.corpus import ReadingWriter, synthesize
from almtok.lm.synthesis.plan import Plan
from almtok.lm.synthesis.voices import Voice


def rows(out):
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def contents(out):
    """Every file by its path, but the lock."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def command(hum, texts, out, *words, function="speak"):
    voices = ["--voices", "ann", "bob"]
    start = ["synthesize", texts, "--model", f"{hum}:{function}", "--no-progress", *voices]
    return [*start, "--out", str(out), *words]


def test_a_corpus_is_a_source_of_all_commands(hum, texts, tmp_path):
    out = tmp_path / "out"
    assert main(command(hum, texts, out, "--licence", "CC0")) == 0
    made = rows(out)
    assert sorted(row["text"] for row in made) == sorted(Path(texts).read_text().splitlines())
    entries = list_entries([f"{out}/manifest.jsonl:train"])
    assert [entry.id for entry in entries] == [row["id"] for row in made]
    assert {entry.speaker for entry in entries} == {"ann", "bob"}
    assert all(entry.domain == "speech" and entry.language == "en" for entry in entries)
    for row, entry in zip(made, entries, strict=True):
        number = row["text"].split()[-1].rstrip(".")
        words = "zero one two three four five six seven eight nine".split()
        # What is spoken is written out, and is what models read.
        assert entry.text == f"This is line number {words[int(number)]}."
        assert 0.85 <= row["speed"] <= 1.15 and row["licence"] == "CC0"
        wav = read_audio(out / row["audio"], 24_000)
        assert soundfile.info(out / row["audio"]).samplerate == 24_000
        assert row["duration"] == pytest.approx(len(wav) / 24_000, abs=1e-3)
        assert measure_levels(wav, 24_000).active_dbfs == pytest.approx(-23, abs=0.1)
    assert len({row["speed"] for row in made}) > 5


def test_a_killed_run_goes_on_to_the_same_corpus(hum, texts, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(command(hum, texts, whole, "--count", "25")) == 0
    words = [sys.executable, "-m", "almtok", *command(hum, texts, killed, "--count", "25")]
    process = subprocess.Popen(words, env={**os.environ, "HUM_SECONDS": "0.1"})
    manifest = killed / "manifest.jsonl"
    while not manifest.exists() or manifest.read_bytes().count(b"\n") < 3:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = len(rows(killed))
    assert 3 <= done < 25
    # What a kill between two writes can leave.
    with open(manifest, "a") as file:
        file.write('{"id": "reading')
    folder = killed / "audio" / "0000"
    (folder / f"reading-0-{done:07d}.flac").write_bytes(b"unfinished")
    (folder / f"reading-0-{done:07d}.flac.tmp-1").write_bytes(b"unfinished")
    assert main(command(hum, texts, killed, "--count", "25")) == 0
    assert contents(killed) == contents(whole)


def test_workers_do_not_change_the_corpus_and_more_can_be_made_later(hum, texts, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(command(hum, texts, one, "--hours", "0.01")) == 0
    assert main(command(hum, texts, two, "--hours", "0.005")) == 0
    fewer = rows(two)
    assert sum(row["duration"] for row in fewer[:-1]) < 18 <= sum(r["duration"] for r in fewer)
    assert main(command(hum, texts, two, "--hours", "0.01", "--workers", "2")) == 0
    assert contents(one) == contents(two)
    assert rows(two)[: len(fewer)] == fewer


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_signal_leaves_a_manifest_that_can_be_read(hum, texts, tmp_path, workers):
    out = tmp_path / "out"
    given = command(hum, texts, out, "--count", "1000", "--workers", workers)
    environment = {**os.environ, "HUM_SECONDS": "0.05"}
    process = subprocess.Popen([sys.executable, "-m", "almtok", *given], env=environment)
    while not (out / "manifest.jsonl").exists() or not (out / "manifest.jsonl").stat().st_size:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 130
    entries = list_entries([f"{out}/manifest.jsonl"])
    assert 0 < len(entries) < 1000
    assert len(list(out.glob("audio/*/*"))) == len(entries)


def test_implausible_readings_are_drawn_again_or_left_out(hum, tmp_path, capsys):
    path = tmp_path / "lines.txt"
    path.write_text("A hard one.\nNothing but silence.\nAn easy one.\n")
    out = tmp_path / "out"
    assert main(command(hum, str(path), out, "--count", "30", function="silent_twice")) == 0
    left_out = [json.loads(line) for line in (out / "left_out.jsonl").read_text().splitlines()]
    assert all(row["failures"] == ["silent"] * 3 for row in left_out)
    assert {row["text"] for row in left_out} <= {"Nothing but silence.", "A hard one."}
    assert sum(row["text"] == "Nothing but silence." for row in left_out) == 10
    made = rows(out)
    assert len(made) + len(left_out) == 30
    redrawn = [row for row in made if "failures" in row]
    assert redrawn and all(row["text"] == "A hard one." for row in redrawn)
    said = capsys.readouterr().out
    assert f"{len(made)} readings" in said and f"{len(left_out)} left out" in said
    assert "silent" in said


@pytest.mark.parametrize(
    ("function", "reason"),
    [("clipped", "clipped"), ("long", "too_long"), ("broken", "RuntimeError: no such phone")],
)
def test_a_synthesizer_that_always_fails_ends_the_run(
    hum, texts, tmp_path, capsys, function, reason
):
    given = command(hum, texts, tmp_path / "out", "--count", "60", function=function)
    assert main(given) == 1
    error = capsys.readouterr().err
    assert "50 readings in a row failed" in error and reason in error


def test_a_run_without_a_reading_is_an_error(hum, tmp_path, capsys):
    texts = tmp_path / "silent.txt"
    texts.write_text("Nothing but silence.\n")
    given = command(hum, str(texts), tmp_path / "out", function="silent_twice")
    for _ in range(2):  # resumed too
        assert main(given) == 1
        error = capsys.readouterr().err
        assert "out has no audio: 0 readings, 0.000 h; 1 left out" in error


def test_a_damaged_file_of_the_model_ends_the_run(hum, tmp_path, monkeypatch):
    backend = load_backend(f"{hum}:speak", "en")

    def speak(*arguments):
        raise UnreadableFile("voice.bin must hold 3 numbers, got 2")

    monkeypatch.setattr(backend, "speak", speak)
    writer = ReadingWriter(backend, Plan(["one text"], [Voice("ann", "ann")]), tmp_path)
    with pytest.raises(UnreadableFile, match="voice.bin must hold 3"):
        synthesize(writer, progress=False)
    assert not (tmp_path / "left_out.jsonl").read_text()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [0.0], 0", "the rate must be at least 1 Hz, got 0"),
        ("return 'abc'", "must return samples and their rate, got 'abc'"),
        ("return {}['x']", "'x' is missing"),
        ("import no_such_package", "No module named 'no_such_package'"),
    ],
)
def test_errors_of_a_function_are_one_line(texts, tmp_path, capsys, body, message):
    file = tmp_path / "mine.py"
    file.write_text(f"def speak(text, voice, speed, seed): {body}\n")
    assert main(command(file, texts, tmp_path / "out")) == 1
    error = capsys.readouterr().err
    assert "mine.py:speak" in error and message in error and error.count("\n") == 1


def test_excluded_texts_are_not_read(hum, texts, tmp_path):
    held_out = tmp_path / "held_out.txt"
    held_out.write_text("this is LINE number three\nThis is line number 7\n")
    out = tmp_path / "out"
    given = command(hum, texts, out, "--exclude", str(held_out), "--count", "40")
    assert main(given) == 0
    read = {row["text"] for row in rows(out)}
    assert len(read) == 8
    assert not read & {"This is line number 3.", "This is line number 7."}


def test_of_a_corpus_only_the_train_split_is_read(hum, tmp_path):
    lines = [
        {"id": split, "audio": f"{split}.wav", "text": f"a text of {split}", "split": split}
        for split in ("train", "valid", "test")
    ]
    path = tmp_path / "corpus.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    for line in lines:
        soundfile.write(tmp_path / line["audio"], np.zeros(10, np.float32), 24_000)
    for source, read in ((f"{path}", "train"), (f"speech={path}:valid", "valid")):
        out = tmp_path / read
        assert main(command(hum, source, out)) == 0
        assert [row["text"] for row in rows(out)] == [f"a text of {read}"]


def test_transcripts_in_capitals_are_read_as_words(hum, tmp_path):
    path = tmp_path / "capitals.txt"
    path.write_text("IT WAS US\nNASA\n")
    out = tmp_path / "out"
    assert main(command(hum, str(path), out)) == 0
    assert {row["text_normalized"] for row in rows(out)} == {"It was us", "NASA"}


def test_a_folder_of_another_plan_is_refused(hum, texts, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(command(hum, texts, out, "--count", "12")) == 0
    assert main(command(hum, texts, out, "--seed", "1", "--count", "3")) == 1
    assert "different: plan, seed" in capsys.readouterr().err
    assert main(command(hum, texts, out, "--seed", "1", "--count", "3", "--overwrite")) == 0
    assert [row["id"] for row in rows(out)] == [f"reading-1-{n:07d}" for n in range(3)]
    assert len(list(out.glob("audio/*/*"))) == 3
    (out / "synthesis.json").unlink()
    assert main(command(hum, texts, out)) == 1
    assert "a manifest that is not ours" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["flac", "opus", "ogg", "wav"])
def test_formats(hum, texts, tmp_path, suffix):
    out = tmp_path / "out"
    assert main(command(hum, texts, out, "--count", "1", "--format", suffix)) == 0
    (row,) = rows(out)
    assert row["audio"].endswith(f".{suffix}")
    assert len(read_audio(out / row["audio"], 24_000)) == pytest.approx(
        24_000 * row["duration"], 200
    )


def test_a_dry_run_says_what_would_be_made(hum, texts, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(command(hum, texts, out, "--hours", "2", "--dry-run")) == 0
    said = capsys.readouterr().out
    assert "2 hours of readings of 10 texts in 2 voices by hum.py:speak" in said
    assert not out.exists()
    assert main(command(hum, texts, out)) == 0
    assert all(f"{row['id']}  {row['speaker']}" in said for row in rows(out))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--hours", "0"], "--hours must be above 0"),
        (["--count", "0"], "--count must be positive"),
        (["--workers", "-1"], "--workers must be positive"),
        (["--speed", "1.2", "0.8"], "LOW <= HIGH"),
        (["--seed", "-1"], "seed must be at least 0"),
        (["--sentences", "5", "--language", "de"], "--sentences are English"),
        (["--mixtures", "none"], "a range like 51-60"),
        (["--level", "6"], "level must be between -60 and 0 dBFS, got 6"),
    ],
)
def test_wrong_values_are_one_line(hum, texts, tmp_path, capsys, words, message):
    assert main(command(hum, texts, tmp_path / "out", *words)) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()
