"""Lengths that are stored: the same as measured ones, and never those of other examples."""

import hashlib
import logging
import pickle

import pytest
import torch

from almtok.lm.config import AudioLMConfig
from almtok.lm.data import (
    Collator,
    LengthBucketSampler,
    MixedDataset,
    SequenceLength,
    TaskSource,
    TokenDataset,
    lengths,
    mixing,
)
from almtok.lm.data.lengths import LengthStore, examples_key
from almtok.lm.data.mixing import TextDataset
from almtok.lm.sequences import AudioSegment, Example, TextSegment
from almtok.lm.text.encoder import TextEncoder
from almtok.lm.text.tokenizer import train_tokenizer

CONFIG = AudioLMConfig.preset("tiny", codebook_size=16)
measured = []  # rows of which an example was made


def text(row):
    measured.append(row.id)
    if row.text == "unspeakable":
        raise ValueError("no words")
    return TextSegment(tuple(row.text.encode()))


def tts(row, tokenizer):
    voice = () if row.companion is None else (AudioSegment(row.companion.codes),)
    return Example("tts", (*voice, text(row), AudioSegment(row.codes)), row.frames_per_query)


def asr(row, tokenizer):
    return Example("asr", (AudioSegment(row.codes), text(row)), row.frames_per_query)


def continuation(row, tokenizer):
    """Begins somewhere: its length depends on the draw."""
    begin = row.draw % row.codes.shape[1]
    return Example(
        "continuation", (text(row), AudioSegment(row.codes[:, begin:])), row.frames_per_query
    )


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(mixing, "STORED_FROM", 10)
    monkeypatch.setattr(lengths, "_PART", 4)
    monkeypatch.setattr(lengths, "_COMPARED", 3)
    measured.clear()


@pytest.fixture
def speech(make, tmp_path):
    rows = [
        dict(text="t" * (n % 5 + 1) if n % 6 else "unspeakable", speaker=f"s{n % 3}", frames=3 + n)
        for n in range(23)
    ]
    return TokenDataset(make.shards(tmp_path / "speech", rows))


@pytest.fixture
def mixed(speech, tmp_path):
    """Make a mixture of three sources, with a store in ``tmp_path / "store"``, or without."""

    def make(stored=True, seed=0, companions=0.5, key="k", **options):
        store = LengthStore([tmp_path / "store"], **options) if stored else None
        fields = dict(dataset=speech)
        sources = [
            TaskSource(**fields, task="tts", to_example=tts, companions=companions, key=key + "1"),
            TaskSource(**fields, task="asr", to_example=asr, key=key + "2"),
            TaskSource(
                **fields, task="continuation", to_example=continuation, varies=True, key=key + "3"
            ),
        ]
        return MixedDataset(sources, None, SequenceLength(CONFIG), seed=seed, store=store)

    return make


def files(tmp_path):
    return sorted(path.name for path in (tmp_path / "store").glob("*"))


def test_stored_lengths_are_the_measured_ones(mixed, tmp_path):
    plain, first = mixed(stored=False), mixed()
    for epoch in (0, 2):
        expected = plain.lengths(epoch).tolist()
        assert 0 in expected and len(set(expected)) > 10
        assert first.lengths(epoch).tolist() == expected
        assert mixed().lengths(epoch).tolist() == expected
    names = files(tmp_path)
    assert len(names) == 1 + 2 * 2  # one of asr, and of both others one for each epoch
    assert all(name.startswith("lengths-") for name in names)


def test_a_second_start_measures_a_few_to_compare(mixed):
    mixed().lengths(0)
    assert len(measured) == 3 * 23
    measured.clear()
    second = mixed()
    assert second.unmeasured() == 0 and not measured
    second.lengths(0)
    assert len(measured) == 3 * 3


def test_batches_are_those_of_before(mixed):
    """The digest is that of batches made before lengths were stored."""
    for data in (mixed(stored=False), mixed(), mixed(), mixed(num_workers=2)):
        sampler, digest = LengthBucketSampler(data, budget=160), hashlib.sha256()
        collate = Collator(CONFIG, 0, 0.1)
        for _ in range(2):
            for picks in sampler:
                batch = collate([data[pick] for pick in picks])
                digest.update(batch["input_ids"].numpy().tobytes())
                digest.update(batch["labels"].numpy().tobytes())
        assert digest.hexdigest()[:16] == "fe8fa27eddf85d4d"


def test_workers_measure_the_same(mixed, tmp_path):
    expected = mixed(stored=False).lengths(1).tolist()
    measured.clear()
    state = torch.get_rng_state()
    assert mixed(num_workers=2).lengths(1).tolist() == expected
    assert not measured  # in this process
    assert torch.equal(torch.get_rng_state(), state)
    assert len(files(tmp_path)) == 3


def test_a_killed_process_leaves_its_parts(mixed, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    expected = mixed(stored=False).lengths(0).tolist()
    whole, count = lengths.write_checked, 0

    def write(path, content):
        nonlocal count
        if count == 8:
            raise Killed
        count += 1
        whole(path, content)

    monkeypatch.setattr(lengths, "write_checked", write)
    with pytest.raises(Killed):
        mixed().lengths(0)
    monkeypatch.setattr(lengths, "write_checked", whole)
    assert len(files(tmp_path)) == 2  # six parts are one file, the seventh is left
    again = mixed()
    assert again.unmeasured() == 2 * 23 - 4
    measured.clear()
    assert again.lengths(0).tolist() == expected
    assert len(measured) == 3 + 2 * 23 - 4
    assert all(name.startswith("lengths-") for name in files(tmp_path))


def test_processes_begin_at_different_places(tmp_path):
    """What the first has measured, the second reads; it does not wait for what is missing."""
    store = LengthStore([tmp_path], rank=0, world=2)
    other = LengthStore([tmp_path], rank=1, world=2)
    asked: list[list[int]] = [[], []]

    def first(part):
        asked[0].append(part.start)
        if part.start == 0:  # meanwhile the other one measures three parts, and stops
            with pytest.raises(KeyboardInterrupt):
                other.lengths("key", 30, second, "task")
        return lengths.np.arange(part.start, part.stop)

    def second(part):
        if len(asked[1]) == 3:
            raise KeyboardInterrupt
        asked[1].append(part.start)
        return lengths.np.arange(part.start, part.stop)

    found = store.lengths("key", 30, first, "task")
    assert found.tolist() == list(range(30))
    assert asked == [[0, 4, 8, 12, 28], [16, 20, 24]]
    assert other.find("key", 30).tolist() == list(range(30))
    assert [path.name for path in tmp_path.iterdir()] == ["lengths-key"]


@pytest.mark.parametrize(
    "change", [dict(seed=1), dict(companions=0.6), dict(key="other")], ids=lambda x: [*x][0]
)
def test_other_examples_have_other_files(mixed, change, tmp_path):
    mixed().lengths(0)
    before = files(tmp_path)
    data = mixed(**change)
    assert data.unmeasured() > 0
    assert data.lengths(0).tolist() == mixed(stored=False, **change).lengths(0).tolist()
    assert set(files(tmp_path)) > set(before)


def test_other_rows_have_other_files(make, tmp_path):
    rows = [dict(text="a" * (n + 1), frames=4) for n in range(12)]
    found = []
    for number in range(3):
        folder = make.shards(tmp_path / f"{number}", rows[number:] + rows[:number])
        store = LengthStore([tmp_path / "store"])
        source = TaskSource(dataset=TokenDataset(folder), task="asr", to_example=asr, key="k")
        data = MixedDataset([source], None, SequenceLength(CONFIG), store=store)
        assert data.unmeasured() == 12
        found.append(data.lengths(0).tolist())
    assert len({tuple(lengths) for lengths in found}) == 3 and len(files(tmp_path)) == 3
    files_of_texts = []
    for number, line in enumerate(("one", "two")):
        (tmp_path / "texts").write_text(f"{line}\n" * 12)
        passages = TextDataset([str(tmp_path / "texts")], source.dataset.info, 6)
        files_of_texts.append(passages.digest())
        assert len(set(files_of_texts)) == number + 1


def test_lengths_that_do_not_fit_are_refused(mixed, tmp_path):
    mixed().lengths(0)
    for path in (tmp_path / "store").iterdir():
        content = torch.full((23,), 5, dtype=torch.int32).numpy().tobytes()
        lengths.write_checked(path, lambda file, content=content: file.write(content))
    with pytest.raises(ValueError, match=r"does not fit task 'tts': .* stored is 5; remove"):
        mixed().lengths(0)


def test_damaged_lengths_are_measured_again(mixed, tmp_path, caplog):
    expected = mixed().lengths(0).tolist()
    for path in (tmp_path / "store").iterdir():
        path.write_bytes(path.read_bytes()[:-4])
    assert mixed().lengths(0).tolist() == expected
    assert caplog.text.count("is damaged and is made again") >= 3
    caplog.clear()
    assert mixed().lengths(0).tolist() == expected and not caplog.text


def test_where_nothing_can_be_written_lengths_are_measured(mixed, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(lengths, "writable", lambda folder: False)
    expected = mixed(stored=False).lengths(0).tolist()
    with caplog.at_level(logging.INFO):
        assert mixed().lengths(0).tolist() == expected
    assert "no folder for lengths can be written" in caplog.text
    assert mixed().unmeasured() == 3 * 23


def test_few_rows_are_measured_where_they_are_needed(speech, tmp_path):
    source = TaskSource(dataset=speech, task="asr", to_example=asr, key="k")
    store = LengthStore([tmp_path / "store"])
    data = MixedDataset([source], None, SequenceLength(CONFIG), rows_per_epoch=9, store=store)
    assert data.unmeasured() == 9
    data.lengths(0)
    assert len(measured) == 9 and not files(tmp_path)


class Task:
    """Makes examples."""


def test_the_key_has_all_that_lengths_depend_on(tmp_path):
    one, two = (train_tokenizer([line] * 3, vocab_size=320) for line in ("some words", "others"))
    texts = TextEncoder(one)
    key = examples_key(Task(), texts, "flat", 3)
    assert len(key) == 64 and key == examples_key(Task(), texts, "flat", 3)
    one("a text", truncation=True, max_length=3)  # leaves the tokenizer in another state
    assert key == examples_key(Task(), pickle.loads(pickle.dumps(texts)), "flat", 3)
    other = Task()
    other.setting = 1
    keys = [
        examples_key(Task(), texts, "flat", 4),
        examples_key(Task(), TextEncoder(two), "flat", 3),
        examples_key(Task(), TextEncoder(one, "plain"), "flat", 3),
        examples_key(Task(), TextEncoder(one, language="de"), "flat", 3),
        examples_key(other, texts, "flat", 3),
        examples_key(text, texts, "flat", 3),
    ]
    assert len({key, *keys}) == 7
    assert examples_key(Task(), TextEncoder(_Tokenizer()), "flat", 3) == ""


class _Tokenizer:
    """Without the state of a fast tokenizer."""

    eos_token_id = 0


def test_other_code_gives_another_key(tmp_path, monkeypatch):
    texts = TextEncoder(train_tokenizer(["some words"] * 3, vocab_size=320))
    source = tmp_path / "task.py"
    source.write_text("def example(row, texts): ...\n")
    names: dict = {}
    exec(compile(source.read_text(), str(source), "exec"), names)
    key = examples_key(names["example"], texts)
    source.write_text("def example(row, texts): pass\n")
    assert "" != examples_key(names["example"], texts) != key != ""
    source.unlink()
    assert examples_key(names["example"], texts) == ""
    here = lengths.Path(lengths.__file__).resolve().parents[1]
    for pattern in lengths._CODE:  # none of them is misspelled
        assert list(here.glob(pattern)), pattern
