"""What a later stage needs is asked for before the first one begins, and by --dry-run."""

import importlib.util
import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from almtok.__main__ import main
from almtok.codec.priors import random_prior
from almtok.recipes import cli, run

from ..codec.tiny_whisper import save_whisper
from .conftest import save_text_model


@pytest.fixture
def sources(tmp_path):
    """Training, validation and test recordings, with texts."""
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "x.wav", np.zeros(24_000), 24_000)
        (tmp_path / name / "x.txt").write_text("one two three")
    parts = zip(("--train", "--valid", "--test"), "abc", strict=True)
    return [word for flag, name in parts for word in (flag, f"speech={tmp_path / name}")]


@pytest.fixture
def backbone(tmp_path):
    """A text model without a pad token, as LLaMA 3.2 is one."""
    return str(save_text_model(tmp_path / "text"))


def refused(words, capsys, monkeypatch):
    """The line by which both a dry run and a run refuse, before any stage."""
    monkeypatch.setattr(run, "run_process", None)
    lines = []
    for more in (["--dry-run"], []):
        assert main(["run", *words, *more]) == 1
        lines.append(capsys.readouterr().err.splitlines()[-1])
    assert lines[0] == lines[1]
    return lines[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--adapt.device", "xpu"], "stage adapt: device 'xpu' is not available"),
        (["--stage2.model", '{"codebook_size": 1024}'], "codebook_size must be 2048, as in the"),
        (["--stage2.autoregressive", '{"depth": 3}', "--stage2.weight-autoregressive", "1"],
         "stage stage2: AutoregressiveDepthConfig option must be one of"),
        (["--stage2.prior", "none.safetensors"], "stage stage2: none.safetensors does not exist"),
        (["--stage2.prior", "{small}"], "codebook_size must be 8"),
        (["--adapt.init-from", "elsewhere"], "stage adapt: elsewhere does not exist"),
        (["--teacher-sound", "beats:none.pt"], "stage prior: none.pt does not exist"),
        (["--teacher-speech", "wavlm:{whisper}"], "must be 'wavlm', got 'whisper'"),
        (["--stage2.teacher-speech", "whisper:{small}", "--stage2.weight-distillation", "1"],
         "{small}' is not a valid JSON file"),
    ],
)  # fmt: skip
def test_what_a_later_stage_of_the_codec_would_refuse(
    words, message, sources, tmp_path, capsys, monkeypatch
):
    small = tmp_path / "small.safetensors"
    random_prior(seed=0, codebook_size=8, dim=4).save(small)
    whisper = save_whisper(tmp_path / "whisper")
    words = [word.replace("{small}", str(small)).replace("{whisper}", whisper) for word in words]
    message = message.replace("{small}", str(small))
    words = ["codec", *sources, "--out", str(tmp_path / "out"), *words]
    assert message in refused(words, capsys, monkeypatch)


@pytest.mark.parametrize("part", ["b", "c"])
def test_sources_of_later_stages_are_opened(part, sources, tmp_path, capsys, monkeypatch):
    place = tmp_path / part / "x.wav"
    place.unlink()
    words = ["codec", *sources, "--out", str(tmp_path / "out")]
    assert "names no audio" in refused(words, capsys, monkeypatch)
    place.parent.rename(tmp_path / "elsewhere")
    assert "does not exist" in refused(words, capsys, monkeypatch)


def test_texts_that_a_language_model_needs(sources, tmp_path, capsys, monkeypatch):
    (tmp_path / "a/x.txt").unlink()
    words = ["tts", *sources, "--out", str(tmp_path / "out")]
    assert "no recording of --train has a text, which tts needs" in refused(
        words, capsys, monkeypatch
    )


def test_splits_of_a_hub_dataset_are_opened(at_the_hub, tmp_path, capsys, monkeypatch):
    given = ["tts", "--out", str(tmp_path / "out"), "--train", "speech=hf:MikhailT/lj-speech:full"]
    given += ["--valid", "speech=hf:MikhailT/lj-speech:full[:9]", "--test"]
    assert main(["run", *given, "speech=hf:MikhailT/lj-speech:full", "--dry-run"]) == 0
    capsys.readouterr()
    error = refused([*given, "speech=hf:MikhailT/lj-speech:test"], capsys, monkeypatch)
    assert "no split test; found full" in error


@pytest.mark.parametrize("recipe", ["asr", "multitask"])
def test_a_backbone_is_opened(recipe, backbone, sources, tmp_path, capsys, monkeypatch):
    words = [recipe, *sources, "--out", str(tmp_path / "out"), "--backbone"]
    assert main(["run", *words, backbone, "--dry-run"]) == 0
    assert '"lora_rank": 32' in capsys.readouterr().out
    assert "nowhere" in refused([*words, str(tmp_path / "nowhere")], capsys, monkeypatch)
    model = ["--lm.model", json.dumps({"depth_heads": 7})]
    error = refused([*words, backbone, *model], capsys, monkeypatch)
    assert "stage lm: depth_width must be a multiple of depth_heads (7), got 64" in error


@pytest.mark.parametrize("size", ["mini", "base", "paper"])
def test_a_run_that_can_be_made_is_not_refused(size, sources, tmp_path, capsys):
    words = ["codec", *sources, "--size", size, "--out", str(tmp_path / "out"), "--words"]
    assert main(["run", *words, "--dry-run"]) == 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("domain", "share"), [("speech", "2048"), ("music", "0")])
def test_a_corpus_for_one_half_gives_it_the_whole_codebook(domain, share):
    words = ["--train", f"{domain}=a/", "--valid", "speech=b/", "--test", "speech=c/"]
    command = cli.parse("codec", words)[1].stages[0].command
    assert command[command.index("--num-speech") + 1] == share
    _, both = cli.parse("codec", ["--train", "speech=a/", "sound=d/", *words[2:]])
    assert "--num-speech" not in both.stages[0].command


@pytest.mark.parametrize(
    ("recipe", "changes", "message"),
    [
        ("tts", {"c/x.txt": None}, "stage lm: no recording of --test has a text, which tts needs"),
        ("tts", {"b/x.txt": None}, "stage lm: no recording of --valid has a text, which tts needs"),
        ("text_to_audio", {}, "no recording of --train has the domain sound, which text_to_audio"),
    ],
)
def test_recordings_that_a_training_would_miss(
    recipe, changes, message, sources, tmp_path, capsys, monkeypatch
):
    for name in changes:
        (tmp_path / name).unlink()
    error = refused([recipe, *sources, "--out", str(tmp_path / "out")], capsys, monkeypatch)
    assert message in error
    assert "sound" not in message or "found: speech" in error


def test_audio_files_that_are_all_missing(sources, tmp_path, capsys, monkeypatch):
    (tmp_path / "b" / "manifest.jsonl").write_text('{"audio": "gone.wav", "text": "one"}')
    words = ["asr", *sources, "--out", str(tmp_path / "out")]
    error = refused(words, capsys, monkeypatch)
    assert "none of the 1 audio files of --valid exists" in error and "gone.wav" in error


def test_a_folder_that_cannot_be_written(sources, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("x")
    words = ["asr", *sources, "--out", str(tmp_path / "file")]
    assert main(["run", *words, "--dry-run"]) == 1
    assert "is a file, expected a folder" in capsys.readouterr().err


def test_a_disk_without_space(sources, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=60_000_000))
    error = refused(["asr", *sources, "--out", str(tmp_path / "out")], capsys, monkeypatch)
    assert "0.06 GB of disk are free, about" in error


def test_packages_of_the_last_stage(sources, tmp_path, capsys, monkeypatch):
    find = importlib.util.find_spec
    absent = ("jiwer", "pocketsphinx")
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name in absent else find(name, *more),
    )
    error = refused(["tts", *sources, "--out", str(tmp_path / "out")], capsys, monkeypatch)
    assert (
        "stage scores: needs jiwer, pocketsphinx, not installed: pip install 'almtok[eval]'"
        in error
    )
    assert (
        main(["run", "tts", *sources, "--out", str(tmp_path / "o"), "--dry-run", "--to", "lm"]) == 0
    )


def test_a_tokenizer_without_the_letters(sources, tmp_path, capsys, monkeypatch):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(models.WordLevel({"[UNK]": 0, "</s>": 1, "one": 2}, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="[UNK]", eos_token="</s>")
    folder = save_text_model(tmp_path / "text")
    tokenizer.save_pretrained(tmp_path / "words")
    words = ["asr", *sources, "--out", str(tmp_path / "out"), "--backbone", str(folder)]
    error = refused([*words, "--lm.tokenizer", str(tmp_path / "words")], capsys, monkeypatch)
    assert "has no tokens for parts of 1 of 1 texts, such as 'one two three'" in error


def test_a_vocabulary_below_the_alphabet(sources, tmp_path, capsys, monkeypatch):
    model = ["--lm.model", json.dumps({"backbone": {"vocab_size": 100}})]
    words = ["asr", *sources, "--out", str(tmp_path / "out"), *model]
    assert "vocab_size must be at least" in refused(words, capsys, monkeypatch)
