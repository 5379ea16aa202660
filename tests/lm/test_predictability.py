"""Predictability of codes: repeated codes are easy, random ones cost their logarithm."""

import dataclasses
import json
import math

import numpy as np
import pytest
import soundfile

from almtok.core.options import Command
from almtok.lm import predictability_cli
from almtok.lm.predictability import (
    PredictabilityConfig,
    _split,
    measure_predictability,
    to_markdown,
)

SMALL = PredictabilityConfig(steps=40, batch_size=8, segment_seconds=3.0, lr=3e-3)
SIZE, RATE = 16, 5.0


def measure(make, books=2, config=SMALL):
    rng = np.random.default_rng(0)
    codes = {f"c{n}": make(rng, (books, 15)) for n in range(200)}
    return measure_predictability(
        codes, name="toy", frame_rate=RATE, codebook_size=SIZE, config=config, device="cpu",
        progress=False,
    )  # fmt: skip


def random_codes(rng, shape):
    return rng.integers(0, SIZE, shape)


def repeated_codes(rng, shape):
    """The first code repeats for the whole clip; the others follow from it."""
    start = rng.integers(0, SIZE)
    return np.broadcast_to((start + np.arange(shape[0]))[:, None] % SIZE, shape).copy()


@pytest.fixture(scope="module")
def random():
    return measure(random_codes)


def test_repeated_codes_are_easier_than_random_ones(random):
    repeated, uniform = measure(repeated_codes), math.log(SIZE)
    # No model can predict random codes; a poor one is worse than the uniform distribution.
    assert all(uniform - 0.1 < value < uniform + 0.5 for value in random.nats)
    assert repeated.nats[0] < 0.7 * uniform and repeated.nats[1] < 0.7 * uniform
    assert repeated.nats_per_second.high < random.nats_per_second.low
    # Without context the repeated codes are as hard as the random ones.
    assert repeated.unigram_nats_per_second > 0.9 * 2 * RATE * uniform


def test_figures_fit_together(random):
    assert random.nats_per_second.mean == pytest.approx(sum(random.nats) * RATE)
    assert random.perplexity == pytest.approx(np.exp(random.nats))
    assert random.kbps == pytest.approx(sum(random.nats) / math.log(2) * RATE / 1000)
    assert random.kbps_nominal == pytest.approx(2 * 4 * RATE / 1000)
    assert (random.test_clips, random.train_seconds) == (20, 180 * 15 / RATE)
    text = to_markdown([random], SMALL)
    assert "20 held-out clips, after 40 steps of 8 times 3 s of 9.0 minutes" in text
    assert text.splitlines()[-1].count("|") == 9


def test_one_codebook_and_a_seed():
    short = dataclasses.replace(SMALL, steps=2)
    found = measure(random_codes, books=1, config=short)
    assert len(found.nats) == 1 and found.nats[0] == pytest.approx(math.log(SIZE), abs=0.5)
    assert measure(random_codes, books=1, config=short) == found
    other = dataclasses.replace(short, seed=1)
    assert measure(random_codes, books=1, config=other).nats != found.nats


def test_the_same_clips_are_held_out_for_every_codec():
    slow = {f"c{n}": np.full((1, 3), n) for n in range(20)}
    fast = {f"c{n}": np.full((2, 9), n) for n in reversed(range(20))}
    first, second = (_split(codes, SMALL)[1] for codes in (slow, fast))
    assert [clip[0, 0] for clip in first] == [clip[0, 0] for clip in second]
    with pytest.raises(ValueError, match="at least 10 clips, got 9"):
        _split({f"c{n}": np.zeros((1, 3), np.int64) for n in range(9)}, SMALL)
    with pytest.raises(ValueError, match="steps must be positive, got 0"):
        PredictabilityConfig(steps=0)


def test_the_command_compares_rates(tmp_path, capsys):
    rng = np.random.default_rng(0)
    (tmp_path / "voices").mkdir()
    for number in range(10):
        wav = 0.1 * rng.standard_normal(12_000)
        soundfile.write(tmp_path / "voices" / f"{number}.wav", wav, 24_000)
    parser = Command(prog="almtok codec")
    predictability_cli.register(parser.add_subparsers(required=True))
    options = parser.parse_args([
        "predictability", "--checkpoint", "tiny", "--frames-per-query", "3", "6",
        "--data", f"speech={tmp_path / 'voices'}", "--out", str(tmp_path / "out"),
        "--steps", "2", "--peers", "stable-codec", "--device", "cpu", "--no-progress",
    ])  # fmt: skip
    assert options.run(options) == 1  # a peer is missing
    assert "stable-codec is not run" in capsys.readouterr().err
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    assert [row["frame_rate"] for row in table["rows"]] == [25, 12.5]
    assert len(table["rows"][0]["nats"]) == 3 and table["settings"]["steps"] == 2
    assert "| almtok w=3 (tiny, random) | 25 |" in (tmp_path / "out" / "table.md").read_text()
    options.checkpoint, options.peers = [], []
    with pytest.raises(ValueError, match="expected --checkpoint or --peers"):
        options.run(options)
