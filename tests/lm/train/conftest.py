"""Folders of toy tokens, runs that take a second, and a process that trains and can be killed."""

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from almtok.lm.train import LMTrainingConfig

from ...pace import patience
from ...training_process import TrainerProcess, trainer_process

HERE = Path(__file__).resolve().parent
TOY_BACKBONE = dict(
    hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=1, vocab_size=300, max_position_embeddings=128,
)  # fmt: skip
TOY_MODEL = dict(backbone=TOY_BACKBONE, depth_layers=1, depth_width=16, depth_heads=2)


def _maker() -> Any:
    """The maker of shards of the data's tests."""
    spec = importlib.util.spec_from_file_location("toy_shards", HERE.parent / "data/conftest.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Maker()


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: Any) -> Path:
    """24 rows of speech by two speakers, every sixth held out."""
    folder: Path = tmp_path_factory.mktemp("tokens")
    rows = [
        dict(
            frames=3 + n % 5, text=f"row {n % 7}", speaker=f"s{n % 2}",
            split="valid" if n % 6 == 5 else "train",
        )
        for n in range(24)
    ]  # fmt: skip
    _maker().shards(folder, rows)
    return folder


@pytest.fixture(scope="session")
def toy_values(tokens: Path) -> dict[str, Any]:
    """Config values of a run that takes a second."""
    return dict(
        data=[str(tokens)], preset="tiny", model=TOY_MODEL, steps=4, batch_positions=64,
        accumulate=2, warmup_steps=2, lr=1e-3, log_every=1, validate_every=0, samples=0,
        checkpoint_every=0, condition_dropout=0.2, device="cpu", precision="fp32",
        progress=False, tracker="none", num_workers=0,
    )  # fmt: skip


@pytest.fixture
def toy_config(toy_values: dict[str, Any], tmp_path: Path) -> Callable[..., LMTrainingConfig]:
    """Make a toy config: ``toy_config(steps=3)``; its run folder is ``tmp_path / "run"``."""

    def make(**changes: Any) -> LMTrainingConfig:
        return LMTrainingConfig(**{**toy_values, "out": str(tmp_path / "run"), **changes})

    return make


@pytest.fixture(scope="session")
def trainer(python: str) -> Iterator[TrainerProcess]:
    """The process that forks training processes."""
    with trainer_process("lm", patience(30), python) as made:
        yield made
