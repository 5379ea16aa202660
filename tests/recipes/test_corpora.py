"""Recipes on public corpora: every source lists and reads, and every recipe trains for a step."""

import pytest

from almtok.__main__ import main
from almtok.codec.config import ALMTokenizerConfig
from almtok.codec.model import ALMTokenizer
from almtok.core.audio import read_audio
from almtok.core.data.entries import EntryReader
from almtok.core.data.manifests import list_entries
from almtok.core.data.sources import parse_source
from almtok.recipes.corpora import CORPORA, corpora

PARTS = ("train", "valid", "test")


@pytest.mark.parametrize("name", CORPORA)
def test_every_part_of_a_corpus_lists_and_reads(name, at_the_hub):
    for part in PARTS:
        for source in corpora([name], part):
            # The copies have few rows.
            source = source.replace("12500", "10").replace("12800", "15").replace("[:1000]", "")
            entries = list_entries([source])
            assert entries, source
            assert {entry.domain for entry in entries} == {parse_source(source).domain}
            assert name == "fma" or all(entry.text for entry in entries)
            wav = read_audio(EntryReader().open(entries[-1]), 24_000)
            assert len(wav) == pytest.approx(0.8 * 24_000, rel=0.1)
    assert {parse_source(source).domain for part in PARTS for source in corpora([name], part)} == {
        parse_source(CORPORA[name].train[0]).domain
    }


def test_the_text_is_the_one_that_is_spoken(at_the_hub):
    (first, *_) = list_entries(["speech=hf:MikhailT/lj-speech:full"])
    assert first.text == "one two three" and first.id == "LJ001-0000"
    (first, *_) = list_entries(["speech=hf:mythicinfinity/libritts/clean:dev.clean"])
    assert (first.text, first.speaker) == ("one two three", "100")
    (first, *_) = list_entries(["sound=hf:agkphysics/AudioSet/balanced:train"])
    assert first.text == "Speech, Engine 0"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("speech=hf:openslr/librispeech_asr:train.100", "a configuration is named as in"),
        ("speech=hf:openslr/librispeech_asr/clean:train.999", "cannot be loaded"),
    ],
)
def test_what_cannot_be_loaded_is_said_with_an_example(source, message, at_the_hub):
    with pytest.raises(ValueError, match=message):
        list_entries([source])


RECIPES = {
    "tts": ["libritts"],
    "asr": ["librispeech"],
    "text_to_audio": ["audiocaps", "esc50"],
    "text_to_music": ["musiccaps"],
    "captioning": ["clotho", "musiccaps"],
}


def run_here(argv):
    """Run a stage in this process, which has its libraries loaded."""
    program, *words = argv
    assert program == "almtok"
    return main(words)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_runs_for_a_step_on_its_corpora(recipe, at_the_hub, tmp_path, monkeypatch):
    monkeypatch.setattr("almtok.recipes.run.run_process", run_here)
    codec = tmp_path / "codec"
    ALMTokenizer(ALMTokenizerConfig.preset("tiny")).save_pretrained(codec)
    words = ["run", recipe, "--corpus", *RECIPES[recipe], "--out", str(tmp_path / "out")]
    words += ["--codec", str(codec), "--size", "tiny", "--limit", "2", "--to", "lm"]
    smaller = [
        "steps 1",
        "batch-positions 256",
        "samples 0",
        "warmup-steps 1",
        "validation-items 2",
    ]
    words += [word for pair in smaller for word in f"--lm.{pair}".split()]
    words += ["--lm.tracker", "none", "--lm.precision", "fp32"]
    assert main(words) == 0
    assert (tmp_path / "out/lm/model/config.json").exists()
    assert main([*words, "--from", "lm"]) == 0  # done before


def test_an_unknown_corpus_is_one_line(capsys):
    assert main(["run", "tts", "--corpus", "ljspeach", "--dry-run"]) == 1
    assert "there are ljspeech" in capsys.readouterr().err
