"""A model between two: what both have learned, and less of what either learned by heart.

A trained model that goes on learning finds weights from which a straight line leads back to where
it began, and along it what was learned in both places adds up, while what only one of them knows by
heart does not ("model soups"; Wortsman et al. 2022). Measured in docs/lab/language_model.md.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch

from ...core.files import replaced_folder
from ...core.training.checkpoint import CheckpointError
from ..model import AudioLM
from .initial_model import model_folder

# What two models must have in common for a weight of one to mean what it means in the other.
_ALIKE = ("codec_fingerprint", "pattern", "num_codebooks", "codebook_size", "tasks")


@torch.no_grad()
def interpolate_state(lm: AudioLM, other: AudioLM, share: float) -> None:
    """Move the weights of `lm` towards `other`, which keeps the part `1 - share` of each.

    Args:
        lm: a model that went on from `other`, or from where `other` began; changed in place, its
            configuration stays.
        other: a model with weights of the same names and shapes.
        share: of `lm`'s own weights, 0 to 1.

    Raises:
        ValueError: the share lies outside, or the two are not alike.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1], got {share}")
    for name in _ALIKE:
        one, two = getattr(lm.config, name), getattr(other.config, name)
        if one != two:
            raise ValueError(f"only models of one kind can be blended: {name} is {one} and {two}")
    mine, theirs = lm.state_dict(), other.state_dict()
    odd = [
        name
        for name in sorted(mine.keys() | theirs.keys())
        if name not in mine or name not in theirs or mine[name].shape != theirs[name].shape
    ]
    if odd:
        raise ValueError(f"only models of one size can be blended: {', '.join(odd[:3])} differ")
    for name, weight in lm.named_parameters():  # weights that are tied come once
        weight.lerp_(theirs[name].to(weight), 1 - share)


def interpolate_models(
    source: str | os.PathLike[str],
    other: str | os.PathLike[str],
    out: str | os.PathLike[str],
    share: float,
    *,
    overwrite: bool = False,
) -> Path:
    """Write a model between two, with the texts, tasks and settings of the first.

    Args:
        source: run folder or saved model.
        other: what it is blended with.
        out: folder to make, as a run has it: `OUT/model`.
        share: of the first.
        overwrite: replace a folder that is there.

    Raises:
        ValueError: the two are not alike, or the folder exists.
        CheckpointError: a folder holds no language model.
    """
    place = Path(out)
    if place.exists() and any(place.iterdir()) and not overwrite:
        raise ValueError(f"{place} is not empty: choose another --out, or --overwrite it")
    folders = [_local(os.fspath(one)) for one in (source, other)]
    lm, second = (AudioLM.from_pretrained(one, dtype=torch.float32) for one in folders)
    interpolate_state(lm, second, share)
    with replaced_folder(place / "model") as aside:
        shutil.copytree(folders[0], aside, dirs_exist_ok=True)
        lm.save_pretrained(aside)
    return place


def _local(source: str) -> str:
    """The folder of a saved model: the files beside the weights are wanted too."""
    if not Path(source).exists():
        raise CheckpointError(f"no language model to blend: there is no folder {source}")
    return model_folder(source)
