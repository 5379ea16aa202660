"""Training samples with and without their conditions, from memory and from a stream."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from almtok.lm.data.rows import EpochIndex
from almtok.lm.train import LMTrainingConfig
from almtok.lm.train.corpus import find_tasks, held_out, read_info, training_batches
from almtok.lm.train.initial_model import build_initial_model
from almtok.lm.vocabulary import Vocabulary

from .conftest import TOY_MODEL

Make = Callable[..., LMTrainingConfig]
COUNT = 600  # samples that are looked at


def begin(settings: LMTrainingConfig) -> tuple[Any, ...]:
    choices = find_tasks(settings)
    names = [choice.task.name for choice in choices]
    start = build_initial_model(settings, read_info(settings), names, lambda: ["row"] * 3)
    return settings, choices, start.lm.config, start.texts


def dropped(settings: LMTrainingConfig) -> Iterator[bool]:
    """For each training sample in turn, whether `no_condition` stands for its condition."""
    made = begin(settings)
    vocabulary = Vocabulary(made[2])
    for batch in training_batches(*made):
        for rows, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
            text = rows[mask.bool(), 0]
            drop = bool((text == vocabulary.no_condition).any())
            opened = torch.isin(text, torch.tensor([vocabulary.open_text, vocabulary.open_audio]))
            assert int(opened.sum()) == (1 if drop else 2), "the condition is there or it is not"
            yield drop


def share(settings: LMTrainingConfig) -> float:
    drops = dropped(settings)
    return sum(next(drops) for _ in range(COUNT)) / COUNT


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3, 1.0])
def test_a_share_of_the_samples_has_no_condition(
    toy_config: Make, stream: bool, dropout: float
) -> None:
    settings = toy_config(tasks=["tts", "asr"], stream=stream, condition_dropout=dropout)
    spread = (dropout * (1 - dropout) / COUNT) ** 0.5
    assert share(settings) == pytest.approx(dropout, abs=4 * spread)


@pytest.mark.parametrize("stream", [False, True])
def test_the_share_is_the_models_unless_the_run_has_its_own(toy_config: Make, stream: bool) -> None:
    model = {**TOY_MODEL, "condition_dropout": 1.0}
    settings = toy_config(tasks=["tts"], stream=stream, condition_dropout=None, model=model)
    assert share(settings) == 1.0
    settings = toy_config(tasks=["tts"], stream=stream, condition_dropout=0.0, model=model)
    assert share(settings) == 0.0


def test_held_out_samples_keep_their_conditions(toy_config: Make) -> None:
    judged = held_out(*begin(toy_config(tasks=["tts", "asr"], condition_dropout=1.0)))
    assert judged.keys() == {"tts", "asr"}
    for rows in judged.values():
        samples = [rows[EpochIndex(0, n)] for n in range(len(rows))]
        assert len(samples) == 4 and not any(sample.drop_condition for sample in samples)
