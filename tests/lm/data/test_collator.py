"""Noise in training: what is read changes, what is to be said and what steers does not."""

import pytest
import torch

from almtok.lm.config import AudioLMConfig
from almtok.lm.data.collator import Collator, add_input_noise
from almtok.lm.data.mixing import Sample
from almtok.lm.sequences import IGNORED, AudioSegment, Example, TextSegment, build_sequence
from almtok.lm.vocabulary import Vocabulary

EOS = 2


def tts() -> Example:
    codes = torch.arange(90).view(3, 30) % 250
    return Example("tts", (TextSegment(tuple(range(3, 40))), AudioSegment(codes)), 6)


@pytest.mark.parametrize("pattern", ["depth", "delay", "parallel", "flat"])
def test_what_is_to_be_said_and_what_steers_stays(pattern):
    config = AudioLMConfig.preset("tiny", pattern=pattern)
    plain = build_sequence(tts(), config, eos_id=EOS)
    noisy = add_input_noise(plain, config, eos_id=EOS, share=0.5, seed=3)
    assert torch.equal(noisy.labels, plain.labels)
    vocabulary = Vocabulary(config)
    text, audio = plain.input_ids[:, 0], plain.input_ids[:, 1:]
    assert torch.equal(noisy.input_ids[:, 0], text), "what is to be said stays"
    ends = audio >= vocabulary.audio_end
    assert torch.equal(noisy.input_ids[:, 1:][ends], audio[ends])
    changed = (noisy.input_ids != plain.input_ids).any(dim=1)
    content = ~ends.all(dim=1)
    assert not changed[~content].any()
    assert 0.3 < float(changed[content].float().mean()) < 0.7


def test_of_a_transcript_what_is_written_changes_but_not_its_end():
    config = AudioLMConfig.preset("tiny")
    text, audio = tts().segments
    plain = build_sequence(Example("asr", (audio, text), 6), config, eos_id=EOS)
    noisy = add_input_noise(plain, config, eos_id=EOS, share=0.5, seed=3)
    written = plain.labels[:, 0] != IGNORED
    changed = noisy.input_ids[:, 0] != plain.input_ids[:, 0]
    assert not changed[~written].any() and not changed[-1]
    assert 0.3 < float(changed[written].float().mean()) < 0.7


def test_what_is_heard_loses_whole_spans_and_what_is_said_single_rows():
    config = AudioLMConfig.preset("tiny")
    codes = torch.arange(3 * 600).view(3, 600) % 250
    audio, text = AudioSegment(codes), TextSegment(tuple(range(3, 40)))

    def changed(example, **options):
        plain = build_sequence(example, config, eos_id=EOS)
        noisy = add_input_noise(plain, config, eos_id=EOS, share=0.2, seed=3, **options)
        assert torch.equal(noisy.labels, plain.labels)
        return (noisy.input_ids[:, 1:] != plain.input_ids[:, 1:]).any(dim=1)

    def longest(marks):
        runs = "".join("x" if mark else " " for mark in marks.tolist()).split()
        return sum(map(len, runs)) / len(runs)

    hear, say = Example("asr", (audio, text), 6), Example("tts", (text, audio), 6)
    single, spans = changed(hear), changed(hear, span=6)
    assert 0.15 < float(single.float().mean()) < 0.25
    assert 0.15 < float(spans.float().mean()) < 0.25
    assert longest(single) < 1.6 < 3 < longest(spans) < 6
    assert torch.equal(changed(say, span=6), changed(say)), "of what is to be said each on its own"


def test_it_is_a_function_of_the_seed():
    config = AudioLMConfig.preset("tiny")
    plain = build_sequence(tts(), config, eos_id=EOS)

    def rows(seed, share=0.3):
        return add_input_noise(plain, config, eos_id=EOS, share=share, seed=seed).input_ids

    assert torch.equal(rows(1), rows(1))
    assert not torch.equal(rows(1), rows(2))
    assert torch.equal(rows(1, share=0.0), plain.input_ids)


def test_batches_have_it_by_their_samples_seeds():
    config = AudioLMConfig.preset("tiny")
    plain, noisy = Collator(config, EOS), Collator(config, EOS, 0.3)
    samples = [Sample(tts(), False, "tts", 1), Sample(tts(), False, "tts", 2)]
    batch, other = plain(samples), noisy(samples)
    assert torch.equal(batch["labels"], other["labels"])
    assert not torch.equal(other["input_ids"][0], other["input_ids"][1])
    assert torch.equal(other["input_ids"], noisy(samples)["input_ids"])


def test_the_depth_transformer_is_given_the_right_codes(monkeypatch):
    from almtok.lm.model import AudioLM

    torch.manual_seed(0)
    config = AudioLMConfig.preset("tiny")
    lm = AudioLM(config)
    seen = []
    states = lm.heads.states
    monkeypatch.setattr(
        lm.heads, "states", lambda hidden, rows: seen.append(rows) or states(hidden, rows)
    )
    samples = [Sample(tts(), False, "tts", 1)]
    for collator in (Collator(config, EOS), Collator(config, EOS, 0.5)):
        lm(**collator(samples), return_logits=False)
    assert torch.equal(seen[0], seen[1])
