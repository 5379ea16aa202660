"""The tasks as programs: text to file to text, batches that go on, streams, one clear error."""

import io
import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from almtok.__main__ import main
from almtok.core.audio import write_audio
from almtok.core.pcm import wav_header
from almtok.core.results_log import ResultsLog
from almtok.tasks.pipelines import text_to_speech as speaker_module

from .conftest import LINES, SOUND

FIRST, SECOND = LINES
EXACT = ("--temperature", "0", "--guidance", "1")


@pytest.fixture
def almtok(learned, capsys):
    """Run a command on the toy checkpoint in this process; what it prints is in the result."""

    def run(command, *arguments, status=0):
        capsys.readouterr()
        given = [command, *map(str, arguments), "--checkpoint", learned.folder]
        assert main(given) == status, capsys.readouterr().err
        return capsys.readouterr()

    return run


def test_text_to_file_to_text(almtok, tmp_path):
    said = almtok("tts", FIRST, "--out", tmp_path / "a.wav", "--check", *EXACT)
    assert "RTF" in said.err and "confidence" in said.err and not said.out
    wav, rate = soundfile.read(tmp_path / "a.wav")
    assert rate == 24_000 and len(wav) == 8 * 1920
    assert almtok("asr", tmp_path / "a.wav").out == FIRST + "\n"


def test_weights_of_8_bits_say_the_same(almtok, tmp_path):
    for kind in ("int8", "int4"):
        almtok("tts", FIRST, "--out", tmp_path / f"{kind}.wav", "--dtype", kind, *EXACT)
        assert almtok("asr", tmp_path / f"{kind}.wav", "--dtype", kind).out == FIRST + "\n"


@pytest.mark.parametrize("suffix", ["flac", "ogg"])
def test_other_formats(almtok, tmp_path, suffix):
    almtok("tts", FIRST, "--out", tmp_path / f"a.{suffix}", *EXACT)
    assert soundfile.info(tmp_path / f"a.{suffix}").samplerate == 24_000


def test_a_batch_goes_on_where_it_was_stopped(almtok, tmp_path, monkeypatch):
    batch = tmp_path / "lines.txt"
    batch.write_text(f"{FIRST}\n{SECOND}\n\n{FIRST}\n")
    out = tmp_path / "wavs"
    arguments = ("--batch", batch, "--out", out, "--batch-size", "1", *EXACT)
    calls = []
    speak_all = speaker_module.TextToSpeech.speak_all

    def killed(self, texts, **options):
        calls.append(texts)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return speak_all(self, texts, **options)

    monkeypatch.setattr(speaker_module.TextToSpeech, "speak_all", killed)
    almtok("tts", *arguments, status=130)
    assert [path.name for path in out.glob("*.wav")] == ["0001.wav"]
    first = (out / "0001.wav").stat().st_mtime_ns
    calls.append(None)
    again = almtok("tts", *arguments)
    assert "1 of 3 are done already" in again.err
    assert calls[3:] == [[SECOND], [FIRST]]
    assert sorted(path.name for path in out.iterdir()) == [
        "0001.wav", "0002.wav", "0003.wav", "journal.jsonl",
    ]  # fmt: skip
    assert (out / "0001.wav").stat().st_mtime_ns == first
    calls[:] = [None] * 3
    almtok("tts", *arguments)
    assert len(calls) == 3
    almtok("tts", *arguments, "--seed", "9")  # another question: nothing is done
    assert len(calls) == 6
    almtok("tts", *arguments)  # nor is the first one any more: its files were replaced
    assert len(calls) == 9


def test_one_bad_line_does_not_stop_a_batch(almtok, tmp_path):
    batch = tmp_path / "lines.jsonl"
    rows = [
        {"id": "good", "text": FIRST},
        {"id": "empty", "text": " "},
        {"id": "voiced", "text": SECOND, "reference": "nowhere.wav"},
    ]
    batch.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = almtok("tts", "--batch", batch, "--out", tmp_path / "o", "--json", *EXACT, status=1)
    good, empty, voiced = json.loads(result.out)
    assert good["id"] == "good" and good["file"].endswith("good.wav")
    assert {"id", "error"} == set(empty) == set(voiced)
    assert "empty: " in result.err and "voiced: " in result.err and "missing" in result.err
    assert (tmp_path / "o" / "good.wav").exists()


def test_prompts_of_a_bad_batch_are_tried_one_by_one(almtok, tmp_path):
    batch = tmp_path / "prompts.jsonl"
    rows = [{"id": "good", "text": SOUND}, {"id": "empty", "text": " "}]
    batch.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "sounds"
    result = almtok("sound", "--batch", batch, "--out", out, "--json", *EXACT, status=1)
    shown = json.loads(result.out)
    assert [(row["id"], "error" in row) for row in shown] == [("good", False), ("empty", True)]
    assert "empty: " in result.err and (out / "good.wav").exists()
    log = ResultsLog(out / "journal.jsonl")
    assert list(log.entries) == ["good", "empty"] and "error" in log.entries["empty"]
    again = almtok("sound", "--batch", batch, "--out", out, "--json", *EXACT, status=1)
    assert "1 of 2 are done already" in again.err
    assert json.loads(again.out) == shown


def test_a_voice_from_a_file(almtok, learned, tmp_path):
    learned.tokens[FIRST].save(tmp_path / "ref.safetensors")
    almtok(
        "tts", SECOND, "--reference", tmp_path / "ref.safetensors", "--reference-text", FIRST,
        "--out", tmp_path / "b.wav", *EXACT,
    )  # fmt: skip
    assert soundfile.info(tmp_path / "b.wav").duration > 0.5


def test_asr_of_a_folder_with_a_bad_file(almtok, learned, tmp_path):
    audio = tmp_path / "talks"
    audio.mkdir()
    for name, text in zip(("a", "b"), LINES, strict=True):
        learned.tokens[text].save(audio / f"{name}.safetensors")
    (audio / "c.wav").write_bytes(b"nothing")
    (audio / "d.wav").symlink_to("nowhere.wav")
    out = tmp_path / "texts"
    result = almtok("asr", audio, "--out", out, status=1)
    assert "c: corrupt" in result.err and "d: missing" in result.err
    assert [(out / f"{name}.txt").read_text() for name in "ab"] == [f"{t}\n" for t in LINES]
    before = (out / "a.txt").stat().st_mtime_ns
    almtok("asr", audio, "--out", out, status=1)
    assert (out / "a.txt").stat().st_mtime_ns == before
    shown = json.loads(almtok("asr", audio / "a.safetensors", "--json").out)
    assert shown["text"] == FIRST and shown["windows"][0]["start"] == 0.0
    quiet = almtok("asr", audio / "a.safetensors", "-q")
    assert (quiet.out, quiet.err) == (FIRST + "\n", "")


def test_sounds_are_made_described_and_gone_on_with(almtok, learned, tmp_path):
    almtok("sound", SOUND, "--out", tmp_path / "dog.wav", *EXACT)
    assert soundfile.info(tmp_path / "dog.wav").duration > 0.5
    learned.tokens[SOUND].save(tmp_path / "dog.safetensors")
    assert almtok("caption", tmp_path / "dog.safetensors").out == SOUND + "\n"
    learned.pipeline.cut(learned.tokens[SOUND], 0, 4).save(tmp_path / "start.safetensors")
    almtok("continue", tmp_path / "start.safetensors", "--out", tmp_path / "go", *EXACT)
    assert soundfile.info(tmp_path / "go" / "start.wav").duration > 0.5
    again = almtok("continue", tmp_path / "start.safetensors", "--out", tmp_path / "go", *EXACT)
    assert "done already" in again.err


def test_a_stream_is_a_wav_on_standard_output(learned, capsysbinary, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO(FIRST))
    given = ["tts", "-", "--stream", "--checkpoint", learned.folder, *EXACT]
    assert main(given) == 0
    result = capsysbinary.readouterr()
    assert result.out[:44] == wav_header(24_000, None)
    samples = np.frombuffer(result.out[44:], "<i2")
    assert len(samples) == 8 * 1920 and np.abs(samples).max() > 100
    assert b"first sound after" in result.err


def test_a_wav_to_standard_output_and_from_standard_input(learned, capsysbinary, monkeypatch):
    common = ["--checkpoint", learned.folder, *EXACT]
    assert main(["tts", FIRST, "--out", "-", *common]) == 0
    wav = capsysbinary.readouterr().out
    assert len(wav) == 44 + 2 * 8 * 1920
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(wav)))
    assert main(["asr", "-", *common]) == 0
    assert capsysbinary.readouterr().out == f"{FIRST}\n".encode()


def test_help_teaches_and_imports_nothing_heavy(quiet_environment, tmp_path):
    code = (
        "import sys\n"
        "from almtok.__main__ import main\n"
        "for words in ('tts', 'asr', 'sound', 'music', 'caption', 'continue', 'lm evaluate'):\n"
        "    try: main([*words.split(), '--help'])\n"
        "    except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'transformers', 'torchaudio', 'datasets', 'jiwer', 'soundfile'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=quiet_environment,
        cwd=tmp_path,
    )  # fmt: skip
    assert result.stdout.splitlines()[-1:] == ["HEAVY []"], result.stderr
    assert result.stdout.count("usage: almtok") == result.stdout.count("\nexamples:\n") == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tts", "", "--out", "a.wav"], "empty"),
        (["tts", "hello"], "--out is missing"),
        (["tts", "hello", "--out", "a.m4a"], "this format is read, not written"),
        (["tts", "--out", "a.wav"], "give texts"),
        (["tts", "a", "b", "--out", "a.wav"], "give a folder"),
        (["tts", "book.txt", "--out", "a.wav"], "no such file or folder: book.txt"),
        (["tts", "a", "--reference-text", "b", "--out", "a.wav"], "--reference-text needs --ref"),
        (["tts", "a", "--check", "0", "--out", "a.wav"], "at least 1"),
        (["tts", "a", "--temperature", "-1", "--out", "a.wav"], "temperature"),
        (["tts", "a", "--stream", "--check"], "--stream writes to standard output"),
        (["tts", "a", "--frames-per-query", "99", "--out", "a.wav"], "frames_per_query"),
        (["asr", "gone.wav"], "no such file or folder: gone.wav"),
        (["asr", "still.wav", "--window", "2", "--overlap", "2"], "overlap_seconds"),
        (["tts", "a", "--reference", "still.wav", "--out", "a.wav"], "got silence"),
        (["tts", "a", "--voice", "joe", "--out", "a.wav"], "this model has no voices by name"),
        (["tts", "a", "--voice", "still.wav", "--out", "a.wav"], "to imitate is a reference"),
        (["tts", "a", "--voice", "joe", "--reference", "b.wav", "--out", "a.wav"], "not both"),
        (["sound", " ", "--out", "a.wav"], "empty"),
        (["sound", "a", "--out", "a.wav", "--seconds", "-1"], "seconds must be a finite number"),
        (["tts", "a", "--out", "a.wav", "--guidance", "-1"], "guidance_scale must be 0 or more"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(almtok, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    write_audio("still.wav", np.zeros(24_000, np.float32), 24_000)
    result = almtok(*arguments, status=1)
    lines = [line for line in result.err.splitlines() if line.startswith("almtok: error:")]
    assert len(lines) == 1 and message in lines[0]
    assert not (tmp_path / "a.wav").exists()


def test_no_checkpoint_is_named(capsys, tmp_path):
    out = str(tmp_path / "a.wav")
    assert main(["tts", "hello", "--checkpoint", str(tmp_path), "--out", out]) == 1
    assert "no checkpoint of a language model" in capsys.readouterr().err
    gone = str(tmp_path / "gone")
    assert main(["tts", "hello", "--checkpoint", gone, "--out", out]) == 1
    assert "gone" in capsys.readouterr().err


def test_a_journal_forgets_a_line_that_was_cut_off(tmp_path):
    journal = ResultsLog(tmp_path / "j.jsonl")
    journal.add("a", "key", {"seconds": 1})
    with open(tmp_path / "j.jsonl", "a") as file:
        file.write('{"id": "b", "ke')
    again = ResultsLog(tmp_path / "j.jsonl")
    assert list(again.entries) == ["a"]
    again.add("c", "key", {"error": "why"})
    last = ResultsLog(tmp_path / "j.jsonl")
    assert last.get("a", "key")["seconds"] == 1
    assert last.get("a", "other") is None and last.get("c", "key") is None
    (tmp_path / "k.jsonl").write_text("hello\n")
    with pytest.raises(ValueError, match="not a line of a results log"):
        ResultsLog(tmp_path / "k.jsonl")
