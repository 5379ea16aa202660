"""Sequences: what a model reads, and what it is to learn of it."""

import pytest
import torch

from almtok.lm.sequences import (
    IGNORED,
    AudioSegment,
    Example,
    TextSegment,
    build_prompt,
    build_sequence,
    collate,
)
from almtok.lm.vocabulary import Vocabulary

from .toy import EOS, PATTERNS, toy_codes, toy_config, toy_example


def test_a_tts_sequence_row_by_row():
    config = toy_config()
    v = Vocabulary(config)
    codes = torch.tensor([[1, 2], [3, 4], [5, 6]])
    example = Example("tts", (TextSegment((7, 8)), AudioSegment(codes)), frames_per_query=6)
    sequence = build_sequence(example, config, eos_id=EOS)
    no, none = v.audio_empty, v.text_empty
    assert sequence.input_ids.tolist() == [
        [v.task("tts"), no, no, no],
        [v.rate(6), no, no, no],
        [v.open_text, no, no, no],
        [7, no, no, no],
        [8, no, no, no],
        [EOS, no, no, no],
        [v.open_audio, no, no, no],
        [none, 1, 3, 5],
        [none, 2, 4, 6],
        [none, v.audio_end, no, no],
    ]
    x = IGNORED
    assert sequence.labels.tolist() == [[x] * 4] * 7 + [
        [x, 1, 3, 5],
        [x, 2, 4, 6],
        [x, v.audio_end, x, x],
    ]


def test_an_asr_sequence_learns_its_text_and_its_end():
    sequence = build_sequence(toy_example("asr", count=2), toy_config(), eos_id=EOS)
    assert (sequence.labels[:, 1:] == IGNORED).all()
    targets = sequence.labels[:, 0][sequence.labels[:, 0] != IGNORED]
    assert len(targets) == 6 and targets[-1] == EOS


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("task", ["tts", "asr"])
def test_the_prompt_is_where_training_sequences_begin(pattern, task):
    config = toy_config(pattern=pattern)
    example = toy_example(task)
    sequence = build_sequence(example, config, eos_id=EOS)
    kind = "audio" if task == "tts" else "text"
    prompt = build_prompt(task, example.segments[:-1], kind, config, frames_per_query=6, eos_id=EOS)
    assert torch.equal(prompt, sequence.input_ids[: len(prompt)])
    assert (sequence.labels[: len(prompt)] == IGNORED).all()
    assert (sequence.labels[len(prompt) :] != IGNORED).any(dim=1).all()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_prefix_is_the_beginning_of_the_target(pattern):
    config = toy_config(pattern=pattern)
    example = toy_example("tts", count=9)
    text, audio = example.segments
    prefix = AudioSegment(audio.codes[:, :5])
    prompt = build_prompt(
        "tts", [text], "audio", config, frames_per_query=6, eos_id=EOS, prefix=prefix
    )
    whole = build_sequence(example, config, eos_id=EOS).input_ids
    assert torch.equal(prompt, whole[: len(prompt)])


def test_withheld_conditions_leave_one_row():
    config = toy_config()
    sequence = build_sequence(toy_example(), config, eos_id=EOS, drop_condition=True)
    v = Vocabulary(config)
    assert sequence.input_ids[:4, 0].tolist() == [
        v.task("tts"), v.rate(6), v.no_condition, v.open_audio,
    ]  # fmt: skip


def test_collate_pads_with_rows_that_say_nothing():
    config = toy_config()
    sequences = [build_sequence(toy_example(count=c), config, eos_id=EOS) for c in (3, 8)]
    for side in ("left", "right"):
        out = collate(sequences, config, side)
        assert out["input_ids"].shape == out["labels"].shape == (2, len(sequences[1]), 4)
        kept = out["attention_mask"][0].bool()
        assert kept.sum() == len(sequences[0]) and (out["labels"][0][~kept] == IGNORED).all()
        assert torch.equal(out["input_ids"][0][kept], sequences[0].input_ids)
        assert kept[-1 if side == "left" else 0]


def test_what_cannot_be_laid_out_is_refused():
    config = toy_config()
    text, audio = toy_example().segments
    cases = [
        (Example("tss", (text, audio), 6), "no task 'tss'.*did you mean 'tts'"),
        (Example("tts", (text, audio), 99), "1..16, got 99"),
        (Example("tts", (text, AudioSegment(audio.codes + 9)), 6), "0..15, got"),
        (Example("tts", (TextSegment((60,)), audio), 6), r"0..59, got \[60\]"),
        (Example("asr", (audio, TextSegment(())), 6), "target of this 'asr' example is empty"),
        (Example("tts", (text, AudioSegment(toy_codes(0))), 6), "is empty"),
    ]
    for example, message in cases:
        with pytest.raises(ValueError, match=message):
            build_sequence(example, config, eos_id=EOS)


def test_controls_do_not_overlap():
    config = toy_config()
    v = Vocabulary(config)
    ids = [v.open_text, v.open_audio, v.no_condition]
    ids += [v.rate(w) for w in range(1, 17)] + [v.task(t) for t in config.tasks]
    assert len(set(ids)) == len(ids) and min(ids) == 60 and max(ids) < v.text_empty
