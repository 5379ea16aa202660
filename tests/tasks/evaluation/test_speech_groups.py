"""Generated speech by voice, and by whether its text was in the training data."""

import copy
import json

import pytest
import torch

from almtok.__main__ import main
from almtok.core.audio import write_audio
from almtok.lm.voices import add_voices
from almtok.tasks.evaluation.evaluator import evaluate_facts
from almtok.tasks.evaluation.speech_groups import group_figures, mark_seen, read_seen_texts
from almtok.tasks.pipelines.base import AudioLMPipeline

from ...lm.data.conftest import Maker
from ..conftest import LINES

pytest.importorskip("jiwer")


def clip(number, text, heard, **facts):
    return {
        "id": f"c{number}", "domain": "speech", "text": text, "asr": text, "asr_rtf": 0.1,
        "tts_own": heard, "judge_tts": heard, "judge_original": text, "judge_codec": text,
        "tts_seconds": 1.0, "tts_finish": "end", "tts_rtf": 0.1, "seconds": 1.0, **facts,
    }  # fmt: skip


CLIPS = [
    clip(0, "red cats sat down", "red cats sat down", voice="joe", speaker="joe", speaker_tts=0.9),
    clip(1, "red cats sat down", "red cats", voice="ann", speaker="ann", speaker_tts=0.5),
    clip(2, "big dog", "big dog", voice="ann", speaker="eve", speaker_tts=0.1),
]


def values(figures):
    return {figure.name: figure.value.mean for figure in figures}


def test_each_voice_has_its_word_errors_and_similarity():
    found = values(group_figures(CLIPS, "judge"))
    assert found["WER, voice joe, judge (%)"] == 0
    assert found["WER, voice ann, judge (%)"] == pytest.approx(2 / 6)
    assert found["WER, voice ann, own ASR (%)"] == pytest.approx(2 / 6)
    name = "similarity of speakers, voice {}, to its recording"
    assert found[name.format("joe")] == 0.9 and found[name.format("ann")] == 0.5
    assert not group_figures(CLIPS[1:], "judge")  # one voice is no group
    assert not group_figures([clip(0, "a", "a")], "judge")


def test_texts_of_the_training_data_are_apart(tmp_path):
    Maker().shards(tmp_path / "tokens", [
        dict(text="Big, dog!"), dict(text="new", split="valid"),
    ])  # fmt: skip
    (tmp_path / "more.txt").write_text("Old owl.\n\n")
    paths = [str(tmp_path / "tokens"), str(tmp_path / "more.txt")]
    assert read_seen_texts(paths) == {"big dog", "old owl"}
    marked = mark_seen(CLIPS, paths)
    assert [entry["seen"] for entry in marked] == [False, False, True]
    found = values(group_figures(marked, "judge"))
    assert found["WER, texts of the training data, judge (%)"] == 0
    assert found["WER, other texts, judge (%)"] == pytest.approx(2 / 8)
    assert mark_seen(CLIPS, []) == CLIPS
    names = values(evaluate_facts(marked, {"recogniser": "judge"}).figures)
    assert found.keys() <= names.keys()


def test_paths_without_texts_are_refused(tmp_path):
    with pytest.raises(ValueError, match="--seen-texts: there is no file .*none.txt"):
        read_seen_texts([str(tmp_path / "none.txt")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no token shards"):
        read_seen_texts([str(tmp_path / "empty")])


def test_clips_are_spoken_in_the_voice_of_their_speaker(learned, tmp_path, capsys):
    lm, processor = copy.deepcopy((learned.pipeline.lm, learned.pipeline.processor))
    torch.manual_seed(0)
    add_voices(lm, ["joe", "ann"])
    processor.config.voices = lm.config.voices
    AudioLMPipeline(lm, processor).save_pretrained(tmp_path / "model")
    rows = []
    for number, (speaker, text) in enumerate(
        zip(("ann", "eve", ""), (*LINES, LINES[0]), strict=True)
    ):
        codec = processor.audio_tokenizer
        write_audio(tmp_path / f"{number}.wav", codec.detokenize(learned.tokens[text]), 24_000)
        rows.append({"audio": f"{number}.wav", "text": text, "domain": "speech", "id": f"c{number}",
                     **({"speaker": speaker} if speaker else {})})  # fmt: skip
    (tmp_path / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "seen.txt").write_text(LINES[0] + "\n")
    out = tmp_path / "scores"
    arguments = ["lm", "evaluate", "--checkpoint", str(tmp_path / "model"), "--recognizer", "none",
                 "--data", str(tmp_path / "manifest.jsonl"), "--out", str(out),
                 "--temperature", "0", "--guidance", "1",
                 "--seen-texts", str(tmp_path / "seen.txt")]  # fmt: skip
    assert main(arguments) == 0
    lines = [json.loads(line) for line in (out / "clips.jsonl").read_text().splitlines()]
    assert [line["voice"] for line in lines] == ["ann", "joe", "joe"]
    table = (out / "table.md").read_text()
    for words in ("voice ann", "voice joe", "texts of the training data", "other texts"):
        assert f"WER, {words}, own ASR (%)" in table
