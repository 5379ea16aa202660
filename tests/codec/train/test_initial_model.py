"""What a run takes from the run or codec it begins with."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from almtok.codec.model import ALMTokenizer
from almtok.codec.train import train_codec
from almtok.codec.train.config import CodecTrainConfig
from almtok.codec.train.initial_model import initialize
from almtok.codec.train.state import TrainState, build_state

Make = Callable[..., CodecTrainConfig]


def begin(config: CodecTrainConfig) -> tuple[TrainState, ALMTokenizer]:
    """A run before its first step, and its codec before anything was taken over."""
    state = build_state(config)
    fresh = copy.deepcopy(state.model)
    initialize(state)
    return state, fresh


def equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    state, theirs = one.state_dict(), other.state_dict()
    return state.keys() == theirs.keys() and all(torch.equal(state[n], theirs[n]) for n in state)


def the_average_begins_here(state: TrainState) -> bool:
    assert state.average is not None
    named = dict(state.model.named_parameters())
    return all(torch.equal(value, named[n]) for n, value in state.average.average.items())


@pytest.mark.parametrize("source", ["one", "one/model"])
def test_stage_2_begins_with_the_averaged_patchify_and_unpatchify_of_stage_1(
    toy_config: Make, tmp_path: Path, source: str
) -> None:
    one = train_codec(toy_config("1", steps=2, out=str(tmp_path / "one"), ema_decay=0.9))
    before = ALMTokenizer.from_pretrained(str(one.model))
    state, fresh = begin(toy_config("2", init_from=str(tmp_path / source), seed=3))
    for part in ("patchify", "unpatchify"):
        assert equal(getattr(state.model, part), getattr(before, part))
        assert not equal(getattr(state.model, part), getattr(fresh, part))
    # Nothing else has been trained in stage 1.
    for part in ("encoder", "decoder"):
        ours, new = getattr(state.model, part).transformer, getattr(fresh, part).transformer
        assert equal(ours, new)
    assert the_average_begins_here(state)


@pytest.mark.parametrize("unpatchify", ["harmonic", "istft"])
def test_a_vocoder_takes_patchify_of_stage_1_only(
    toy_config: Make, tmp_path: Path, unpatchify: str
) -> None:
    one = train_codec(toy_config("1", steps=1, out=str(tmp_path / "one")))
    before = ALMTokenizer.from_pretrained(str(one.model))
    model = {**toy_config().model, "unpatchify": unpatchify}
    state, _ = begin(toy_config("2", init_from=one.model.as_posix(), model=model))
    assert equal(state.model.patchify, before.patchify)


@pytest.mark.parametrize("stage", ["2", "adapt"])
def test_a_later_run_begins_with_all_of_a_codec(
    toy_config: Make, tmp_path: Path, stage: str
) -> None:
    one = train_codec(toy_config("1", steps=1, out=str(tmp_path / "one")))
    two = train_codec(
        toy_config("2", steps=2, out=str(tmp_path / "two"), init_from=str(one.model), seed=1)
    )
    before = ALMTokenizer.from_pretrained(str(two.model))
    state, fresh = begin(toy_config(stage, init_from=str(tmp_path / "two"), seed=2))
    assert not equal(fresh.decoder, before.decoder)
    assert equal(state.model, before)
    assert the_average_begins_here(state)


@pytest.mark.parametrize("from_run", [True, False])
def test_a_codec_gets_a_vocoder_of_another_kind(
    toy_config: Make, tmp_path: Path, from_run: bool
) -> None:
    """Codes and decoder are the codec's, and the vocoder starts with the spectrum of the data."""
    two = train_codec(toy_config("2", steps=2, out=str(tmp_path / "two")))
    before = ALMTokenizer.from_pretrained(str(two.model))
    source = str(tmp_path / "two") if from_run else str(two.model)
    model = {**toy_config().model, "unpatchify": "istft"}
    state, fresh = begin(toy_config("adapt", init_from=source, model=model, seed=2))
    for part in ("patchify", "encoder", "quantizer", "decoder"):
        assert equal(getattr(state.model, part), getattr(before, part))
    assert state.model.fingerprint == before.fingerprint
    levels = slice(0, state.model.unpatchify.n_fft // 2 + 1)
    biases = [model.unpatchify.output.bias[levels] for model in (fresh, state.model)]
    assert not torch.equal(*biases)
    assert the_average_begins_here(state)
