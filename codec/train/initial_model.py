"""Initial weights of a run: new ones, or those of an earlier run with the heads of its losses."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ...core.progress import no_inner_bars
from ...core.training.checkpoint import (
    STATE_FILE,
    Checkpoint,
    CheckpointError,
    find_source,
    read_checkpoint,
    restore,
    tensors_of,
)
from ...core.training.config import read_json_object
from ...core.training.seeding import draw_int
from ..initialization import initialize_coders, initialize_patchify
from ..model import ALMTokenizer
from .batches import starting_batches
from .state import TrainState, head_of, objective_modules

CARD = "training.json"  # beside an exported codec: the stage, step and configuration of its run


def initialize(state: TrainState) -> None:
    """Set the weights, heads and codebooks with which a new run starts.

    Raises:
        CheckpointError: A source is missing or does not fit.
    """
    config = state.config
    from_stage = "1"
    if config.init_from is not None:
        source = find_source(config.init_from)
        checkpoint = read_source(source)
        with no_inner_bars():
            from_stage = start_from(state, source, checkpoint)
        taken = (
            take_heads(state, checkpoint)
            if config.heads_from is None
            else take_named_heads(state, config.heads_from)
        )
        if taken and state.accelerator.is_main_process:
            print(f"heads that go on: {', '.join(taken)}", flush=True)
        if state.average is not None:
            state.average.restart()
    if config.prior is not None and config.stage == "2":
        from ..priors import load_prior

        prior = load_prior(config.prior)
        kept = state.model.quantizer.load_prior(prior.centroids, prior.num_speech)
        if kept and state.accelerator.is_main_process:
            print(f"{config.prior} is the prior of {config.init_from}: codebooks stay", flush=True)
    if config.init_from is None:
        initialize_part(state, initialize_patchify, seconds=60.0)
    if config.stage == "2" and from_stage == "1":
        initialize_part(state, initialize_coders, seconds=600.0)


def initialize_part(
    state: TrainState,
    method: Callable[[ALMTokenizer, Iterable[Tensor]], None],
    seconds: float,
) -> None:
    """Initialise a part of the codec from this much training audio (`codec/initialization.py`)."""
    codec = state.model.config
    torch.manual_seed(draw_int(state.config.seed, "start"))
    batches = starting_batches(
        state.config, state.accelerator, codec.sample_rate, codec.hop_length, seconds
    )
    state.model.eval()
    method(state.model, batches)
    state.train_mode()
    if state.average is not None:
        state.average.restart()


def read_source(source: Path) -> Checkpoint | None:
    """The checkpoint in a folder; None if a model was saved there."""
    return read_checkpoint(source) if (source / STATE_FILE).exists() else None


def start_from(state: TrainState, source: Path, checkpoint: Checkpoint | None) -> str:
    """Take the weights that a run begins with from an earlier run or a saved model.

    Stage 2 takes (un)patchify of a stage-1 run, all of a later one but codebooks to be placed anew.

    Args:
        state: The new run, whose model has the same sizes.
        source: Folder, for messages.
        checkpoint: What was read there; None for a model saved by ``save_pretrained``.

    Returns:
        The stage that the source had reached.
    """
    if checkpoint is None:
        model = ALMTokenizer.from_pretrained(os.fspath(source))
        values = tensors_of(model)
        card = source / CARD
        stage = str(read_json_object(card)["stage"]) if card.is_file() else "2"
    else:
        values = {**checkpoint.tensors["model"], **checkpoint.tensors.get("average", {})}
        stage = checkpoint.state["stage"]
    prefixes: tuple[str, ...] = ("patchify.", "unpatchify.") if stage == "1" else ("",)
    if stage == "1" and state.model.config.unpatchify == "harmonic":
        prefixes = ("patchify.",)
    if stage == "1" and state.config.stage == "adapt":
        raise ValueError(f"adapt needs a trained codec, but {source} is a stage-1 run")
    own = tensors_of(state.model)
    left_out = "quantizer." if state.config.replace_codebooks else ()  # nothing begins with ()
    with torch.no_grad():
        for name, value in values.items():
            if not name.startswith(prefixes) or name.startswith(left_out):
                continue
            if name not in own or own[name].shape != value.shape:
                shape = list(own[name].shape) if name in own else "no such tensor"
                raise CheckpointError(
                    f"{source} is a codec of other sizes: {name} has shape {list(value.shape)},"
                    f" expected {shape}"
                )
            own[name].copy_(value)
    return stage


def take_heads(state: TrainState, checkpoint: Checkpoint | None) -> list[str]:
    """Go on with the heads of losses (phones, spectrum, ...) that the checkpoint has, if they fit.

    A trained codec taught by heads that know nothing forgets: they pull at random until they have
    learned what they are for. (Measured: docs/lab/codec.md.)

    Returns:
        Names of the losses whose heads were taken.
    """
    if checkpoint is None or checkpoint.state["stage"] != state.config.stage:
        return []
    taken = []
    for name, module in objective_modules(state).items():
        head = head_of(checkpoint, name)
        if _fit(tensors_of(module), head):
            restore(module, head, name)
            taken.append(name)
    return taken


def take_named_heads(state: TrainState, path: str) -> list[str]:
    """As :func:`take_heads`, from what `heads_from` names.

    Raises:
        CheckpointError: It is no run or checkpoint, or has no head that fits this run's losses.
    """
    source = find_source(path)
    taken = take_heads(state, read_source(source))
    if not taken:
        raise CheckpointError(
            f"heads_from must be a run or checkpoint of stage {state.config.stage} that trained"
            f" the same losses ({', '.join(objective_modules(state)) or 'this run has none'});"
            f" {source} has no head of them that fits"
        )
    return taken


def _fit(own: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> bool:
    same = own.keys() == values.keys()
    return same and all(own[name].shape == values[name].shape for name in own)
