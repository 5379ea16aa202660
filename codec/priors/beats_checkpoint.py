"""Strict loading of official BEATs checkpoints, with an error for each common mistake."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .beats import BEATs
from .beats_config import BEATsConfig

TABLE = "self_attn.relative_attention_bias.weight"


def load_beats(path: str | Path, *, features_only: bool = True) -> BEATs:
    """Read a BEATs encoder from an official ``.pt`` file or a safetensors copy of its weights.

    Args:
        path: the file.
        features_only: omit the classifier of a fine-tuned checkpoint.

    Raises:
        ValueError: The file is not a BEATs checkpoint, or its weights do not match.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    cfg, weights = _read(path)
    if any(key.startswith("quantize") for key in weights):
        raise ValueError(
            f"{path} is a BEATs *tokenizer* (it has quantize.* weights); the encoder is in the "
            "files named BEATs_iter3.pt, BEATs_iter3_plus_AS2M.pt and so on"
        )
    if "patch_embedding.weight" not in weights or "encoder.pos_conv.0.weight_v" not in weights:
        found = ", ".join(sorted(weights)[:3])
        raise ValueError(f"{path} holds no BEATs encoder: its weights are {found} ...")
    if features_only:
        weights = {k: v for k, v in weights.items() if not k.startswith("predictor.")}
    config = BEATsConfig.from_shapes(weights) if cfg is None else BEATsConfig.from_cfg(cfg)
    if features_only:
        config = replace(config, finetuned_model=False)
    _check_tables(path, weights)
    model = BEATs(config)
    _check_shapes(path, model.state_dict(), weights)
    model.load_state_dict({key: value.float() for key, value in weights.items()})
    return model.eval().requires_grad_(False)


def _read(path: Path) -> tuple[Mapping[str, Any] | None, dict[str, Tensor]]:
    """Return the ``cfg`` (None if the file has none) and the weights."""
    if path.suffix == ".safetensors":
        try:
            return None, load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is not a readable safetensors file: {error}") from error
    with path.open("rb") as file:
        head = file.read(256)
    _check_head(path, head)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise ValueError(
            f"{path} cannot be read as plain weights (torch.load with weights_only=True): "
            f"{_first_line(error)}. It is damaged, or contains code, which is never run"
        ) from error
    if not isinstance(content, dict) or "cfg" not in content or "model" not in content:
        found = sorted(content)[:4] if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path} must be a dict of 'cfg' and 'model', got {found}")
    return content["cfg"], dict(content["model"])


def _check_head(path: Path, head: bytes) -> None:
    """Raise a clear error for files that are not checkpoints, such as web pages."""
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<script")):
        raise ValueError(
            f"{path} is a web page, not a checkpoint: the download link has expired or needs a "
            "log-in"
        )
    # "PK": zip file of torch.save; 0x80: pickle of torch before 1.6. Both can be read.
    if not head.startswith((b"PK", b"\x80")):
        raise ValueError(
            f"{path} is neither a torch checkpoint (zip or old pickle layout) nor named "
            f".safetensors: it begins with {head[:8]!r}"
        )


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def _check_tables(path: Path, weights: Mapping[str, Tensor]) -> None:
    """Raise ``ValueError`` if the copies of the shared position table differ."""
    tables = [key for key in sorted(weights) if key.endswith(TABLE)]
    different = [key for key in tables if not torch.equal(weights[key], weights[tables[0]])]
    if different:
        raise ValueError(
            f"{path}: all layers must share one position table, but {different[0]} differs from"
            f" {tables[0]}"
        )


def _check_shapes(
    path: Path, expected: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> None:
    """Raise ``ValueError`` if names or shapes of the weights differ from the expected ones."""
    problems = [
        *(f"{key} is missing" for key in sorted(expected.keys() - weights.keys())),
        *(f"{key} is not part of BEATs" for key in sorted(weights.keys() - expected.keys())),
        *(
            f"{key} must be {list(expected[key].shape)}, got {list(weights[key].shape)}"
            for key in sorted(expected.keys() & weights.keys())
            if expected[key].shape != weights[key].shape
        ),
    ]
    if problems:
        more = f" and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise ValueError(f"{path} does not match BEATs: {'; '.join(problems[:4])}{more}")
