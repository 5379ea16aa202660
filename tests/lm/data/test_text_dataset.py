"""Texts of no recording: their share, what is made of them, and who is told what is wrong."""

import collections

import pytest

from almtok.lm.config import AudioLMConfig
from almtok.lm.data import Collator, MixedDataset, SequenceLength, TaskSource, TokenDataset
from almtok.lm.data.mixing import TextDataset, text_only_example
from almtok.lm.data.rows import EpochIndex
from almtok.lm.sequences import Example, TextSegment
from almtok.lm.vocabulary import Vocabulary

CONFIG = AudioLMConfig.preset("tiny", codebook_size=16)


class Letters:
    """Ids of letters."""

    def encode(self, text, *, transcript, language=None):
        assert transcript
        if text == "...":
            raise ValueError("nothing can be said")
        return tuple(text.encode())


@pytest.fixture
def rows(make, tmp_path):
    texts = [dict(text="heard", frames=3 + n) for n in range(20)]
    return TokenDataset(make.shards(tmp_path / "tokens", texts))


@pytest.fixture
def passages(rows, tmp_path):
    (tmp_path / "a.txt").write_text("one line\n\n  another \n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("...\nthe third\n", encoding="utf-8")
    files = [str(tmp_path / name) for name in ("a.txt", "b.txt")]
    return TextDataset(files, rows.info, 6, language="en")


def asr(row, texts):
    return Example(
        "asr", (TextSegment(texts.encode(row.text, transcript=True)),), row.frames_per_query
    )


def test_lines_become_transcripts_that_nothing_is_heard_of(passages):
    assert [passages[n].text for n in range(len(passages))] == [
        "one line", "another", "...", "the third",
    ]  # fmt: skip
    source = TaskSource(
        dataset=passages,
        task="asr",
        to_example=lambda r, t: text_only_example("asr", r, t),
        unconditional=True,
    )
    mixture = MixedDataset([source], Letters(), SequenceLength(CONFIG))
    lengths = mixture.lengths(0)
    assert sorted(lengths.tolist())[0] == 0 and (lengths > 0).sum() == 3  # nothing to say
    vocabulary = Vocabulary(CONFIG)
    for index in (lengths > 0).nonzero()[0].tolist():
        sample = mixture[EpochIndex(0, index)]
        assert sample.drop_condition
        batch = Collator(CONFIG, eos_id=2)([sample])
        head = [vocabulary.task("asr"), vocabulary.rate(6), vocabulary.no_condition]
        text = sample.example.segments[0].ids
        expected = [*head, vocabulary.open_text, *text, 2]
        assert batch["input_ids"][0, :, 0].tolist() == expected
        assert batch["labels"][0, 4:, 0].tolist() == [*text, 2]


def test_they_are_mixed_with_recordings(rows, passages):
    heard = TaskSource(dataset=rows, task="asr", to_example=asr)
    alone = TaskSource(
        dataset=passages,
        task="asr",
        to_example=lambda r, t: text_only_example("asr", r, t),
        weight=5.0,
        unconditional=True,
    )
    mixture = MixedDataset([heard, alone], Letters(), SequenceLength(CONFIG))
    drops = collections.Counter(
        mixture[EpochIndex(0, int(n))].drop_condition for n in (mixture.lengths(0) > 0).nonzero()[0]
    )
    assert mixture.shares.tolist() == [0.5, 0.5]
    assert drops[False] == 12 and drops[True] > 5


def test_errors_name_the_file(rows, tmp_path):
    with pytest.raises(ValueError, match="no file .*missing.txt: --texts takes text files"):
        TextDataset([str(tmp_path / "missing.txt")], rows.info, 6)
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(ValueError, match="no line of text in .*empty.txt"):
        TextDataset([str(tmp_path / "empty.txt")], rows.info, 6)
    (tmp_path / "wrong.txt").write_bytes(b"caf\xe9")
    with pytest.raises(ValueError, match="wrong.txt line 1: .* is not UTF-8"):
        TextDataset([str(tmp_path / "wrong.txt")], rows.info, 6)
