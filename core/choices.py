"""Names of devices and precisions, and their command-line option. Does not import torch."""

from __future__ import annotations

import argparse

AUTO = "auto"
DEVICES = (AUTO, "cpu", "cuda", "mps", "xpu")
PRECISIONS = (AUTO, "fp32", "bf16", "fp16")  # of training
DTYPES = (AUTO, "float32", "bfloat16", "float16")  # of weights for inference

DEVICE_HELP = "auto (default: an accelerator if there is one), cpu, cuda, cuda:1, mps, xpu"


def add_device(parser: argparse._ActionsContainer) -> None:
    """Add ``--device`` to a command."""
    parser.add_argument("--device", default=AUTO, metavar="NAME", help=DEVICE_HELP)


def check_training_device(name: str) -> str:
    """Check the name of a device for training, which has no number, and return it.

    Raises:
        ValueError: The name is not one of ``DEVICES``.
    """
    if ":" in check_device_name(name):
        kind, _, number = name.partition(":")
        raise ValueError(
            f"device of a training must be {kind!r} without a number, got {name!r}: choose a GPU"
            f" with CUDA_VISIBLE_DEVICES={number}"
        )
    return name


def check_device_name(name: str) -> str:
    """Check the name of a device and return it.

    Raises:
        ValueError: The name is not one of ``DEVICES``, with or without a number.
    """
    kind, _, number = name.partition(":")
    if kind not in DEVICES or (":" in name and (not number.isdecimal() or kind == AUTO)):
        raise ValueError(f"device must be one of {', '.join(DEVICES)} (or cuda:1), got {name!r}")
    return name
