"""Initial weights of a run: new ones, or those of an earlier run and its loss heads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from ...core.distributed import broadcast
from ...core.loading import no_inner_bars
from ...core.reading import read_json_object
from ...core.training.checkpoint import (
    STATE_FILE,
    Checkpoint,
    CheckpointError,
    find_source,
    read_checkpoint,
    restore,
    tensors_of,
)
from ...core.training.seeding import draw_int
from ..initialization import initialize_coders, initialize_patchify, initialize_vocoder
from ..model import ALMTokenizer
from .batches import initialization_batches
from .state import TrainState, head_tensors, loss_heads

CARD = "training.json"  # in the folder of an exported codec: stage, step and configuration


def initialize(state: TrainState) -> None:
    """Initialise weights, loss heads and codebooks of a new run.

    Raises:
        CheckpointError: A source is missing or does not match.
    """
    config = state.config
    from_stage, new_vocoder = "1", False
    if config.init_from is not None:
        source = find_source(config.init_from)
        checkpoint = read_source(source)
        with no_inner_bars():
            from_stage, new_vocoder = load_weights(state, source, checkpoint)
        loaded = (
            load_heads(state, checkpoint)
            if config.heads_from is None
            else load_heads_from(state, config.heads_from)
        )
        if loaded and state.accelerator.is_main_process:
            print(f"loaded loss heads: {', '.join(loaded)}", flush=True)
        if state.average is not None:
            state.average.restart()
    if config.prior is not None and config.stage == "2":
        from ..priors import load_prior

        prior = load_prior(config.prior)
        unchanged = state.model.quantizer.load_prior(prior.centroids, prior.num_speech)
        if unchanged and state.accelerator.is_main_process:
            print(
                f"{config.prior} is the prior of {config.init_from}: codebooks are kept", flush=True
            )
    if config.init_from is None:
        initialize_part(state, initialize_patchify, seconds=60.0)
    if config.stage == "2" and from_stage == "1":
        initialize_part(state, initialize_coders, seconds=600.0)
    elif new_vocoder:
        initialize_part(state, initialize_vocoder, seconds=60.0)


def initialize_part(
    state: TrainState,
    method: Callable[[ALMTokenizer, Iterable[Tensor]], None],
    seconds: float,
) -> None:
    """Initialise a part of the codec from training audio (`codec/initialization.py`).

    Every process computes it, and the result of the first one is used: sums on a GPU depend on
    their order.
    """
    codec = state.model.config
    torch.manual_seed(draw_int(state.config.seed, "start"))
    batches = initialization_batches(
        state.config, state.accelerator, codec.sample_rate, codec.hop_length, seconds
    )
    state.model.eval()
    method(state.model, batches)
    broadcast(tensors_of(state.model).values())
    state.train_mode()
    if state.average is not None:
        state.average.restart()


def read_source(source: Path) -> Checkpoint | None:
    """Read the checkpoint in a folder; None if the folder is a saved model."""
    return read_checkpoint(source) if (source / STATE_FILE).exists() else None


def load_weights(
    state: TrainState, source: Path, checkpoint: Checkpoint | None
) -> tuple[str, bool]:
    """Load the initial weights from an earlier run or a saved model.

    Stage 2 loads (Un)Patchify of a stage-1 run, or all weights of a later run, without the
    quantizer if codebooks are to be replaced. UnPatchify is loaded if it is of the same kind.

    Args:
        state: The new run, whose model has the same sizes.
        source: Folder, for messages.
        checkpoint: Its checkpoint; None for a model of ``save_pretrained``.

    Returns:
        The stage of the source, and whether its UnPatchify is of another kind.
    """
    kind = state.model.config.unpatchify
    if checkpoint is None:
        model = ALMTokenizer.from_pretrained(os.fspath(source))
        values, source_kind = tensors_of(model), model.config.unpatchify
        card = source / CARD
        stage = str(read_json_object(card)["stage"]) if card.is_file() else "2"
    else:
        values = {**checkpoint.tensors["model"], **checkpoint.tensors.get("average", {})}
        stage = checkpoint.state["stage"]
        source_kind = checkpoint.state.get("model_config", {}).get("unpatchify", kind)
    prefixes: tuple[str, ...] = ("patchify.", "unpatchify.") if stage == "1" else ("",)
    if stage == "1" and state.config.stage == "adapt":
        raise ValueError(
            f"init_from of stage adapt must be a trained codec, got the stage-1 run {source}"
        )
    tensors = tensors_of(state.model)
    excluded: tuple[str, ...] = ("quantizer.",) if state.config.replace_codebooks else ()
    if source_kind != kind:
        excluded = (*excluded, "unpatchify.")
    with torch.no_grad():
        for name, value in values.items():
            if not name.startswith(prefixes) or name.startswith(excluded):
                continue
            if name not in tensors or tensors[name].shape != value.shape:
                shape = list(tensors[name].shape) if name in tensors else "absent"
                raise CheckpointError(
                    f"{source} is a codec of other sizes: {name} must be {shape},"
                    f" got {list(value.shape)}"
                )
            tensors[name].copy_(value)
    return stage, source_kind != kind


def load_heads(state: TrainState, checkpoint: Checkpoint | None) -> list[str]:
    """Load the loss heads (phones, spectrum, ...) of a checkpoint whose shapes match.

    The random gradients of untrained heads would damage a trained codec (docs/lab/codec.md).

    Returns:
        Names of the losses whose heads were loaded.
    """
    if checkpoint is None or checkpoint.state["stage"] != state.config.stage:
        return []
    loaded = []
    for name, module in loss_heads(state).items():
        head = head_tensors(checkpoint, name)
        if _same_shapes(tensors_of(module), head):
            restore(module, head, name)
            loaded.append(name)
    return loaded


def load_heads_from(state: TrainState, path: str) -> list[str]:
    """Load the loss heads of the run or checkpoint ``heads_from``; see :func:`load_heads`.

    Raises:
        CheckpointError: It is not a run or checkpoint, or has no head of this run's losses.
    """
    source = find_source(path)
    loaded = load_heads(state, read_source(source))
    if not loaded:
        raise CheckpointError(
            f"heads_from must be a run or checkpoint of stage {state.config.stage} that trained"
            f" the same losses ({', '.join(loss_heads(state)) or 'this run has none'});"
            f" got {source} without matching heads"
        )
    return loaded


def _same_shapes(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    same_names = first.keys() == second.keys()
    return same_names and all(first[name].shape == second[name].shape for name in first)
