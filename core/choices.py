"""Names of devices and precisions, and the options that take them; no torch is imported here."""

from __future__ import annotations

import argparse

AUTO = "auto"
DEVICES = (AUTO, "cpu", "cuda", "mps", "xpu")
PRECISIONS = (AUTO, "fp32", "bf16", "fp16")  # of a training
DTYPES = (AUTO, "float32", "bfloat16", "float16")  # of weights for inference

DEVICE_HELP = "auto (default: an accelerator if there is one), cpu, cuda, cuda:1, mps, xpu"


def add_device(parser: argparse._ActionsContainer) -> None:
    """Add ``--device`` to a command."""
    parser.add_argument("--device", default=AUTO, metavar="NAME", help=DEVICE_HELP)


def check_training_device(name: str) -> str:
    """Return the name of a device for a training: a kind, without a number.

    Raises:
        ValueError: It is none of ``DEVICES``.
    """
    if ":" in check_device_name(name):
        kind, _, number = name.partition(":")
        raise ValueError(
            f"a training takes {kind!r}, not {name!r}: choose one GPU by"
            f" CUDA_VISIBLE_DEVICES={number}"
        )
    return name


def check_device_name(name: str) -> str:
    """Return the name of a device.

    Raises:
        ValueError: It is none of ``DEVICES``, with or without a number.
    """
    kind, _, number = name.partition(":")
    if kind not in DEVICES or (":" in name and (not number.isdecimal() or kind == AUTO)):
        raise ValueError(f"device must be one of {', '.join(DEVICES)} (or cuda:1), got {name!r}")
    return name
