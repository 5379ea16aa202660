"""Names of devices and precisions, and options that several commands share. Imports no torch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .options import Command

AUTO = "auto"
DEVICES = (AUTO, "cpu", "cuda", "mps", "xpu")
PRECISIONS = (AUTO, "fp32", "bf16", "fp16")  # of training
TRACKERS = ("none", "tensorboard", "wandb", "trackio")  # of training
DTYPES = (AUTO, "float32", "bfloat16", "float16")  # of weights for inference

DEVICE_HELP = "cpu, cuda, cuda:1, mps, xpu; auto: an accelerator if any"
TRAINING_DEVICE_HELP = DEVICE_HELP.replace(" cuda:1,", "")
CODEC_HELP = "folder or hub id of a codec (default: the codec of almtok)"
SOURCES_HELP = "[DOMAIN=]LOCATION[:SPLIT]: folder, manifest, Parquet or hf:NAME"
SOURCES = """\
sources, written [DOMAIN=]LOCATION[:SPLIT]:
  a folder of audio, with texts beside it (.txt .lab .normalized.txt, *.trans.txt)
  a manifest (.jsonl .json .csv .tsv), a folder like LJSpeech (metadata.csv, wavs/), Common Voice
  (clips/), a Hugging Face AudioFolder (metadata.csv or .jsonl with file_name), a Kaldi data folder,
  NeMo manifests, lhotse cuts or recordings (.jsonl[.gz]), WebDataset shards (.tar)
  Parquet with an Audio column, a dataset saved by save_to_disk, or one of Hugging Face:
  hf:NAME[/CONFIG]:SPLIT
"""


def add_device(parser: argparse._ActionsContainer) -> None:
    """Add ``--device`` to a command."""
    parser.add_argument("--device", default=AUTO, metavar="NAME", help=DEVICE_HELP)


def add_codec(parser: Command) -> None:
    """Add ``--checkpoint`` of a codec, and ``--device``."""
    parser.group("model")
    parser.add_argument("--checkpoint", metavar="DIR", help=CODEC_HELP)
    add_device(parser)


def add_frames_per_query(parser: Command, advanced: bool = False, **more: Any) -> None:
    """Add ``--frames-per-query``."""
    text = "codec frames (1/75 s) per column of codes (default: the model's)"
    parser.add_argument(
        "--frames-per-query", type=int, metavar="W", help=text, advanced=advanced, **more
    )


def add_data(parser: Command, *, required: bool = True) -> None:
    """Add ``--data``; it may be repeated."""
    parser.group("input")
    parser.add_argument(
        "--data", nargs="+", action="extend", required=required, default=[], metavar="SOURCE",
        help=SOURCES_HELP,
    )  # fmt: skip


def add_recognizer(parser: Command, default: str = "pocketsphinx") -> None:
    """Add ``--recognizer``."""
    text = "speech recognizer: pocketsphinx, whisper:FOLDER_OR_HUB_ID, none"
    parser.add_argument("--recognizer", default=default, metavar="NAME", help=text)


def add_judges(parser: Command) -> None:
    """Add ``--speaker-encoder`` and ``--mos``."""
    add = parser.add_argument
    text = "similarity of voices: resemblyzer, folder or hub id of an x-vector model, none"
    add("--speaker-encoder", default="none", metavar="NAME", help=text)
    text = "predicted opinion scores: distillmos, dnsmos"
    add("--mos", nargs="+", default=[], metavar="NAME", help=text)


def add_heard(parser: Command) -> None:
    """Add ``--heard``."""
    text = "training data of the codec: speakers that it names are evaluated apart from others"
    parser.add_argument("--heard", nargs="+", default=[], metavar="SOURCE", help=text)


def add_limit(parser: Command, of: str = "of each domain") -> None:
    """Add ``--limit``."""
    parser.add_argument("--limit", type=int, help=f"use at most N clips {of} (default: all)")


def add_out(parser: Command, help: str = "new folder", *, overwrite: bool = True) -> None:
    """Add a required ``--out``, and ``--overwrite``."""
    parser.group("output")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help=help)
    if overwrite:
        parser.add_argument("--overwrite", action="store_true", help="replace existing output")


def add_json(parser: Command, *, advanced: bool = False) -> None:
    """Add ``--json``; the command prints its result by :func:`printing.print_result`."""
    parser.group("output")
    text = "print one JSON document instead of text"
    parser.add_argument("--json", action="store_true", help=text, advanced=advanced)


def add_seed(parser: Command, *, help: str = "random seed", advanced: bool = False) -> None:
    """Add ``--seed``."""
    parser.add_argument("--seed", default=0, help=help, advanced=advanced)


def add_no_progress(parser: Command) -> None:
    """Add ``--no-progress``."""
    parser.group("output")
    parser.add_argument(
        "--no-progress", action="store_true", help="show no progress bar", advanced=True
    )


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
