"""Measuring a language model: facts of clips, figures, tables, and going on after a kill."""

import json
import sys

import numpy as np
import pytest
import soundfile
import torch

from almtok.__main__ import main
from almtok.core.audio import read_audio
from almtok.core.data.entries import AudioEntry
from almtok.core.judges.load import load_recognizer
from almtok.core.judges.recognizers import CachedRecognizer, Recognizer
from almtok.recipes.mini.sounds import make_sound
from almtok.recipes.mini.voices import VOICES, find_speaker
from almtok.tasks.commands import evaluate as evaluate_module
from almtok.tasks.evaluation.classifier import SoundClassifier
from almtok.tasks.evaluation.clips import EvaluationClip, list_clips, voice_references
from almtok.tasks.evaluation.evaluator import (
    _classifier_figures,
    evaluate_facts,
    to_html,
    to_markdown,
)
from almtok.tasks.evaluation.measure import (
    MeasureConfig,
    Measurer,
    _Job,
    _Ready,
)
from almtok.tasks.evaluation.retrieval import TextRetrieval
from almtok.tasks.pipelines.audio_generation import AudioGenerator
from almtok.tasks.pipelines.outputs import GeneratedAudio

from ..conftest import LINES, RAIN, SOUND

FIRST, SECOND = LINES


class Ears(Recognizer):
    """A recognizer that always hears the first line."""

    name = "ears"

    def transcribe(self, wav, sample_rate, language=""):
        assert len(wav) and sample_rate == 24_000
        return FIRST


@pytest.fixture
def corpus(learned, tmp_path):
    """Recordings that the toy knows: two lines, two sounds, with their texts beside."""
    for folder, texts in (("voices", LINES), ("noises", (SOUND, RAIN))):
        (tmp_path / folder).mkdir()
        for number, text in enumerate(texts):
            learned.pipeline.save(learned.tokens[text], tmp_path / folder / f"{number}.wav")
            (tmp_path / folder / f"{number}.txt").write_text(text)
    (tmp_path / "voices" / "9.wav").write_bytes(b"no sound")
    (tmp_path / "voices" / "9.txt").write_text("never heard")
    return [f"speech={tmp_path / 'voices'}", f"sound={tmp_path / 'noises'}"]


def test_clips_are_those_with_texts_of_every_source(corpus):
    clips = list_clips(corpus)
    assert [(clip.domain, clip.text) for clip in clips][:2] == [("speech", FIRST), ("sound", SOUND)]
    assert len(clips) == 5
    assert len(list_clips(corpus, limit=1)) == 2


def test_evaluate_lm_measures_goes_on_and_reports(learned, corpus, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(evaluate_module, "load_recognizer", lambda *_, **__: Ears())
    measured = []
    measure = Measurer._measure

    def spy(self, batch):
        measured.extend(job.clip.id for job in batch)
        if len(measured) == 3:
            raise KeyboardInterrupt
        return measure(self, batch)

    monkeypatch.setattr(Measurer, "_measure", spy)
    out = tmp_path / "scores"
    arguments = [
        "lm", "evaluate", "--checkpoint", learned.folder, "--data", *corpus, "--out", str(out),
        "--temperature", "0", "--guidance", "1", "--html", "--check", "2", "--batch-size", "2",
    ]  # fmt: skip
    assert main(arguments) == 130
    assert len((out / "clips.jsonl").read_text().splitlines()) == 2
    assert main(arguments) == 1  # one clip cannot be read
    assert len(measured) == 3 + 3
    printed = capsys.readouterr().out
    assert "| asr | WER, own ASR on recordings (%) | 0.0 [0.0, 0.0] | 2 |  |" in printed
    assert "Not measured: 1 clips." in printed and "corrupt" in printed
    table = json.loads((out / "table.json").read_text())
    figures = {(f["task"], f["name"]): f["value"]["mean"] for f in table["figures"]}
    assert figures["tts", "WER, own ASR on its own speech (%)"] == 0
    assert 0.3 < figures["tts", "WER, ears on recordings (%)"] < 0.7
    assert figures["audio_caption", "bleu, against the caption"] == 1
    assert figures["text_to_audio", "caption found first, what was made of the caption (%)"] == 1
    assert 0.9 < figures["tts", "tempo, by the recording's"] < 1.1
    assert table["failures"][-1]["by_kind"]["no_stop"] == 0
    beside = table["failing_recordings"]
    assert list(beside) == ["recordings", "through the codec"]
    assert [len(rows) for rows in beside.values()] == [len(table["failures"])] * 2
    assert beside["recordings"][-1]["by_kind"]["tempo"] == 0  # its tempo is its own
    assert "| silent | tempo | recordings | through the codec |" in printed
    assert table["settings"]["recogniser"] == "ears"
    assert "<table>" in (out / "report.html").read_text()
    assert list((out / "audio").glob("*.tts.flac")) and list((out / "audio").glob("*.made.flac"))
    measured.clear()
    assert main(arguments) == 1
    assert len(measured) == 1  # the one that failed is tried again


def test_a_clip_is_measured_the_same_alone_and_in_a_batch(learned, corpus, tmp_path):
    def facts(name, size):
        arguments = [*("--batch-size", size), *("--temperature", "0"), *("--recognizer", "none")]
        main(["lm", "evaluate", "--checkpoint", learned.folder, "--data", *corpus,
              "--out", str(tmp_path / name), *arguments])  # fmt: skip
        lines = (tmp_path / name / "clips.jsonl").read_text().splitlines()
        found = sorted((json.loads(line) for line in lines), key=lambda one: one["id"])
        return [{k: v for k, v in one.items() if "rtf" not in k} for one in found]

    alone, together = facts("alone", "1"), facts("together", "8")
    for one, other in zip(alone, together, strict=True):
        assert one == pytest.approx(other)
    assert sum("error" in one for one in alone) == 1


def labelled(folder, kinds, seeds):
    """A manifest of made-up sounds with their classes."""
    folder.mkdir()
    rows = []
    for kind in kinds:
        for seed in seeds:
            _, wav = make_sound(kind, np.random.default_rng(seed), 24_000)
            soundfile.write(folder / f"{kind}{seed}.wav", wav, 24_000)
            rows.append({"audio": f"{kind}{seed}.wav", "label": kind})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "manifest.jsonl").write_text(lines)
    return f"sound={folder / 'manifest.jsonl'}"


def test_sounds_are_named_by_a_classifier_of_recordings(learned, corpus, tmp_path, capsys):
    known = labelled(tmp_path / "known", ("dog", "rain"), range(8))
    labelled(tmp_path / "few", ("bell",), range(3))
    noises = tmp_path / "noises"
    rows = [
        {"audio": "0.wav", "text": SOUND, "label": "dog", "domain": "sound"},
        {"audio": "1.wav", "text": RAIN, "label": "rain", "domain": "sound"},
        {"audio": "1.wav", "text": "of no class that is known", "label": "flute",
         "domain": "sound"},
        {"audio": "0.wav", "text": "a tune", "label": "dog", "domain": "music"},
    ]  # fmt: skip
    (noises / "m.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = [
        *("lm", "evaluate", "--checkpoint", learned.folder, "--data", str(noises / "m.jsonl")),
        *("--temperature", "0", "--draws", "3", "--out", str(tmp_path / "out")),
        *("--classes", known),
        str(tmp_path / "few" / "manifest.jsonl"),
    ]
    assert main(arguments) == 0
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    named = [f for f in table["figures"] if "called by its class" in f["name"]]
    # Of sounds, not of tunes: recordings, through the codec, made; by two classifiers.
    assert len(named) == 6
    for figure in named:
        assert figure["value"]["n"] == 2 and figure["note"] == "2 classes"  # three bells are few
    judge = SoundClassifier.of_sources([known])
    facts = [json.loads(x) for x in (tmp_path / "out" / "clips.jsonl").read_text().splitlines()]
    for one in facts[:2]:
        wav = read_audio(noises / f"{facts.index(one)}.wav", 24_000)
        assert one["named_recording"] == judge.name(wav, 24_000)
        assert len(one["named_made"]) == len(one["coded_made"]) == 3
        assert {one["coded_recording"], one["coded_codec"], *one["coded_made"]} <= {"dog", "rain"}
    assert "label" not in facts[2] and "label" not in facts[3]
    few = [*arguments[:-2], str(tmp_path / "few" / "manifest.jsonl")]
    capsys.readouterr()
    assert main(few) == 1
    assert "two classes or more of 8 recordings each, got {'bell': 3}" in capsys.readouterr().err


def test_clips_of_one_description_are_made_of_it_one_by_one(learned, tmp_path, monkeypatch):
    wanted = []

    def generate(self, task, rows, *, seconds, seeds):
        wanted.extend(zip((row["text"] for row in rows), seeds, strict=True))
        return [GeneratedAudio(torch.zeros(240), 24_000, None, "end", 0.1) for _ in rows]

    monkeypatch.setattr(AudioGenerator, "generate", generate)
    monkeypatch.setattr(Measurer, "_named_by", lambda self, clip: ["stamp", "dog"])
    clips = [EvaluationClip(name, "sound", "a dog", None) for name in ("one", "two")]
    batch = [_Ready(_Job(clip, "", None, None, False), None, None) for clip in clips]
    measurer = Measurer(learned.pipeline, tmp_path, MeasureConfig(draws=2))
    assert [len(sounds) for sounds in measurer._generate(batch, [1.0, 1.0])] == [2, 2]
    assert len(set(wanted)) == 4 and {text for text, _ in wanted} == {"a dog"}
    with pytest.raises(ValueError, match="draws must be at least 1, got 0"):
        MeasureConfig(draws=0)


def test_a_share_of_the_draws_is_right():
    facts = [
        {"label": "dog", "classes_known": 2, "named_made": ["dog", "rain", "dog", "dog"]},
        {"label": "rain", "classes_known": 2, "named_made": ["dog", "rain"]},
    ]
    (figure,) = _classifier_figures(facts, "text_to_audio")
    assert figure.value.mean == pytest.approx((0.75 + 0.5) / 2)


def test_the_right_text_is_found_by_its_likelihood(learned):
    found = TextRetrieval(learned.pipeline, [RAIN, SOUND])
    assert found.chance == 0.5
    for place, text in enumerate(found.texts):
        one = found.of(learned.tokens[text])
        assert one.best == place and one.rank(place) == 1 and one.rank(1 - place) == 2
    for texts in (["one"], ["a", "a"]):
        with pytest.raises(ValueError, match="texts must be at least two"):
            TextRetrieval(learned.pipeline, texts)


def test_without_generation_only_what_is_heard_is_measured(learned, corpus, tmp_path, capsys):
    words = ["lm", "evaluate", "--checkpoint", learned.folder, "--data", *corpus, "--no-generate"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 1  # one clip cannot be read
    table = json.loads((tmp_path / "out/table.json").read_text())
    assert {figure["task"] for figure in table["figures"]} == {"asr", "audio_caption"}
    assert table["failures"] == [] and not list((tmp_path / "out").rglob("*.flac"))


def test_tables_of_facts_without_judge():
    facts = [
        {
            "id": f"s{n}", "domain": "speech", "text": "the cat sat down", "seconds": 2.0,
            "asr": "the cat sat", "asr_rtf": 0.1, "tts_seconds": 2.0, "tts_finish": "end",
            "tts_rtf": 0.2, "tts_own": "the cat sat down" if n else "", "tts_confidence": None,
        }
        for n in range(4)
    ]  # fmt: skip
    table = evaluate_facts(facts, {"recogniser": "none"})
    assert table.recognizer == "its own ASR"
    text = to_markdown(table)
    assert "| asr | WER, own ASR on recordings (%) | 25.0 [25.0, 25.0] | 4 |  |" in text
    assert "| 4-8 | 25.0 [0.0, 75.0] | 4 | 0.0 | 0.0 | 0.0 | 0.0 | 25.0 | 0.0 |" in text
    assert "<h1>A &amp; B</h1>" in to_html(table, facts, "A & B")
    with pytest.raises(ValueError, match="none of 1 clips"):
        evaluate_facts([{"id": "x", "error": "broken"}], {})


def test_judges_are_named_and_asked_for_early(monkeypatch):
    assert load_recognizer("none") is None
    with pytest.raises(ValueError, match="unknown recognizer"):
        load_recognizer("whisper")
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(ModuleNotFoundError, match="pip install pocketsphinx"):
        load_recognizer("pocketsphinx")


@pytest.mark.slow
def test_pocketsphinx_hears_nothing_in_silence():
    pytest.importorskip("pocketsphinx")
    judge = load_recognizer("pocketsphinx")
    assert judge.transcribe(np.zeros(24_000, np.float32), 24_000) == ""
    assert isinstance(
        judge.transcribe(np.random.default_rng(0).normal(0, 0.1, 24_000), 24_000), str
    )


@pytest.mark.slow
def test_what_pocketsphinx_hears_does_not_depend_on_what_it_heard_before():
    pytest.importorskip("pocketsphinx")
    used, fresh = load_recognizer("pocketsphinx"), load_recognizer("pocketsphinx")
    _, speak = find_speaker()
    sentence = speak("the happy dog walked near the river", VOICES[4], 24_000)
    rng = np.random.default_rng(0)
    sentence = sentence + 0.01 * rng.standard_normal(len(sentence), np.float32)
    used.transcribe(rng.normal(0, 0.3, 48_000).cumsum(), 24_000)
    assert used.transcribe(sentence, 24_000) == fresh.transcribe(sentence, 24_000)
    # Words may be the same by chance, log likelihoods hardly.
    assert used._decoder.hyp().score == fresh._decoder.hyp().score


@pytest.mark.slow
def test_a_judge_with_a_grammar_hears_its_sentences_only(tmp_path):
    pytest.importorskip("pocketsphinx")
    file = tmp_path / "two.jsgf"
    file.write_text("#JSGF V1.0;\ngrammar two;\npublic <s> = open the door | (close a window);\n")
    judge = load_recognizer("pocketsphinx", file)
    assert judge.name.startswith("pocketsphinx with a grammar (")
    name, speak = find_speaker()
    if name == "espeak-ng":
        (glen,) = (voice for voice in VOICES if voice.name == "glen")
        assert judge.transcribe(speak("close a window", glen, 24_000), 24_000) == "close a window"
    assert CachedRecognizer(judge, tmp_path).name == judge.name
    for bad, message in ((tmp_path / "none", "cannot be read"), (tmp_path, "cannot be read")):
        with pytest.raises(ValueError, match=message):
            load_recognizer("pocketsphinx", bad)
    file.write_text("open the door")
    with pytest.raises(ValueError, match="is not a JSGF grammar"):
        load_recognizer("pocketsphinx", file)
    with pytest.raises(ValueError, match="needs a recognizer"):
        load_recognizer("none", file)


def test_a_judge_is_asked_once_for_each_waveform(tmp_path):
    asked = []

    class Judge(Ears):
        def transcribe(self, wav, sample_rate, language=""):
            asked.append(len(wav))
            return f"{len(wav)} samples"

    for _ in range(2):
        judge = CachedRecognizer(Judge(), tmp_path)
        assert judge.transcribe(np.ones(3, np.float32), 8000) == "3 samples"
        assert judge.transcribe(torch.ones(4), 8000) == "4 samples"
    assert asked == [3, 4]


def test_the_voice_of_a_clip_is_the_speakers_next_one():
    def clip(name, speaker):
        entry = AudioEntry(id=name, path="", speaker=speaker, domain="speech")
        return EvaluationClip(name, "speech", "text", entry)

    clips = [clip("a", "x"), clip("b", "y"), clip("c", "x"), clip("d", "")]
    voices = voice_references(clips)
    assert {name: voice.id for name, voice in voices.items()} == {"a": "c", "c": "a"}


def test_wrong_questions_are_one_line(learned, corpus, tmp_path, capsys):
    common = ["lm", "evaluate", "--checkpoint", learned.folder, "--out", str(tmp_path / "o")]
    assert main([*common, "--data", corpus[0], "--limit", "0"]) == 1
    assert "--limit must be at least 1" in capsys.readouterr().err
    assert main([*common, "--data", corpus[0], "--domains", "music"]) == 1
    assert "no clip of music" in capsys.readouterr().err
