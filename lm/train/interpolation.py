"""``almtok lm interpolate``: weights between those of two language models.

Between a model and one that was trained further from it, the loss is low along a straight line.
Models on that line keep what both have learned, and overfit less than either ("model soups";
Wortsman et al. 2022). Measured in docs/lab/language_model.md. Importing this file loads no torch.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.choices import add_json, add_out
from ...core.printing import print_result

if TYPE_CHECKING:
    from ..model import AudioLM

DESCRIPTION = """\
Interpolate the weights of two language models. A model that is trained further on little data
forgets; weights between the models before and after are often better than either. Choose the share
on a held-out set ('almtok lm evaluate').
"""


# Fields of the configuration that must be equal in both models.
_EQUAL_FIELDS = (
    "codec_fingerprint",
    "pattern",
    "num_codebooks",
    "codebook_size",
    "tasks",
    "voices",
)


def register(commands: Any) -> None:
    """Add ``interpolate`` to the sub-parsers of ``almtok lm``."""
    parser = commands.add_parser(
        "interpolate",
        help="interpolate the weights of two language models",
        description=DESCRIPTION,
        examples="almtok lm interpolate runs/further runs/mine --share 0.7 --out runs/between",
    )
    parser.group("input")
    add = parser.add_argument
    add("model", metavar="DIR", help="run folder or model; its processor and settings are kept")
    add("other", metavar="OTHER", help="model of the same architecture, such as the one before")
    add("--share", default=0.7, help="share of DIR's weights, 0 to 1")
    add_out(parser)
    add_json(parser, advanced=True)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run ``almtok lm interpolate``."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    out = interpolate_models(args.model, args.other, args.out, args.share, overwrite=args.overwrite)
    text = f"interpolated model: {out / 'model'}"
    print_result(args, text, {"model": out / "model", "share": args.share})
    return 0


def interpolate_state(lm: AudioLM, other: AudioLM, share: float) -> None:
    """Replace the weights of `lm` by `share * lm + (1 - share) * other`.

    Args:
        lm: a model trained further from `other`, or from the same model; changed in place, its
            configuration stays.
        other: a model with weights of the same names and shapes.
        share: of the weights of `lm`, 0 to 1.

    Raises:
        ValueError: the share is out of range, or the models do not match.
    """
    import torch

    if not 0 <= share <= 1:
        raise ValueError(f"share must be in [0, 1], got {share}")
    for name in _EQUAL_FIELDS:
        a, b = getattr(lm.config, name), getattr(other.config, name)
        if a != b:
            raise ValueError(f"{name} must be equal in both models, got {a} and {b}")
    state, other_state = lm.state_dict(), other.state_dict()
    different = [
        name
        for name in sorted(state.keys() | other_state.keys())
        if name not in state
        or name not in other_state
        or state[name].shape != other_state[name].shape
    ]
    if different:
        raise ValueError(
            f"weights must have the same shapes in both models, {', '.join(different[:3])} differ"
        )
    with torch.no_grad():
        for name, weight in lm.named_parameters():  # tied weights occur once
            weight.lerp_(other_state[name].to(weight), 1 - share)


def interpolate_models(
    source: str | os.PathLike[str],
    other: str | os.PathLike[str],
    out: str | os.PathLike[str],
    share: float,
    *,
    overwrite: bool = False,
) -> Path:
    """Write a model between two, with the tokenizer, tasks and settings of the first.

    Args:
        source: run folder or saved model.
        other: the other one.
        out: run folder to make, with `OUT/model`.
        share: of the weights of the first.
        overwrite: replace an existing folder.

    Raises:
        ValueError: the models do not match, or the folder exists.
        CheckpointError: a folder holds no language model.
    """
    import torch

    from ...core.files import replaced_folder
    from ..model import AudioLM

    out = Path(out)
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise ValueError(f"{out} is not empty: choose another --out, or --overwrite it")
    folders = [_local_folder(os.fspath(path)) for path in (source, other)]
    lm, second = (AudioLM.from_pretrained(path, dtype=torch.float32) for path in folders)
    interpolate_state(lm, second, share)
    with replaced_folder(out / "model") as aside:
        shutil.copytree(folders[0], aside, dirs_exist_ok=True)
        lm.save_pretrained(aside)
    return out


def _local_folder(source: str) -> str:
    """The local folder of a saved model, whose other files are copied too."""
    from ...core.training.checkpoint import CheckpointError
    from .initial_model import model_folder

    if not Path(source).exists():
        raise CheckpointError(f"no language model to interpolate: there is no folder {source}")
    return model_folder(source)
