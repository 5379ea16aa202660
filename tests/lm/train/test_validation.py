"""Held-out recordings that are learned from are named, before anyone believes their losses."""

import logging
from pathlib import Path
from typing import Any

import pytest

from almtok.lm.train.run import train_lm
from almtok.lm.train.validation import find_leaks

from .conftest import _maker


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: Any) -> Path:
    """Six rows: the first has the name and the length of a row of training, one only its name."""
    folder: Path = tmp_path_factory.mktemp("held-out")
    rows = [
        dict(frames=3 + (7 if n == 1 else n % 5), text=f"new {n}", split="valid") for n in range(6)
    ]
    _maker().shards(folder, rows)
    return folder


def test_recordings_in_both_are_found(toy_config: Any, held_out: Path) -> None:
    own = toy_config()
    assert find_leaks(own) == [], "the splits of one folder are its own"
    found = find_leaks(toy_config(validation_data=[str(held_out)]))
    assert 0 < len(found) < 6 and set(found) < set(_ids(held_out))
    assert find_leaks(toy_config(validation_data=own.data)) == []
    assert find_leaks(toy_config(validation_data=[str(held_out)], stream=True)) == []


def test_the_training_says_so_and_goes_on(
    toy_config: Any, held_out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        train_lm(toy_config(validation_data=[str(held_out)], steps=1))
    assert "held-out recordings are in training too" in caplog.text


def _ids(folder: Path) -> list[str]:
    from almtok.lm.data import TokenDataset

    return [name for name, _ in TokenDataset(folder).recordings()]
