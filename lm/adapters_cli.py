"""``almtok lm adapters``: list, show, merge and remove LoRA adapters. Imports no torch."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..codec.checkpoints import DEFAULT
from ..core.choices import add_json, add_out
from ..core.printing import print_result
from ..core.reading import CheckpointError
from .adapter_catalog import (
    AdapterFacts,
    adapter_folder,
    check_removable,
    find_adapters,
    read_facts,
    to_json,
)

if TYPE_CHECKING:
    from .model import AudioLM

DESCRIPTION = "List LoRA adapters, merge one into its base model, or remove adapters."
EXAMPLES = """
almtok lm adapters list runs/
almtok lm adapters list runs/ --checkpoint runs/mine      which of them fit this model
almtok lm adapters show runs/voice
almtok lm adapters merge runs/voice --checkpoint runs/mine --out runs/merged
almtok lm adapters remove runs/voice/adapter --yes
"""
_CHECKPOINT = "run folder, or folder with lm/ and codec/"


def register(commands: Any) -> None:
    """Add ``adapters`` to the sub-parsers of ``almtok lm``."""
    group = commands.add_parser(
        "adapters",
        help="list, show, merge and remove LoRA adapters",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    below = group.add_subparsers(title="commands", metavar="COMMAND", required=True)
    parser = below.add_parser(
        "list", help="list the adapters below a folder",
        description="List the adapters below a folder: base, rank, size and date of each.",
        examples="almtok lm adapters list runs/",
    )  # fmt: skip
    parser.group("input")
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder to search")
    text = f"say which adapters fit this model: {_CHECKPOINT}"
    parser.add_argument("--checkpoint", metavar="DIR", help=text)
    add_json(parser)
    parser.set_defaults(run=run_list)
    parser = below.add_parser(
        "show", help="show what the files of an adapter say",
        description="Show base, rank, layers, tasks and size of an adapter.",
        examples="almtok lm adapters show runs/voice",
    )  # fmt: skip
    parser.group("input")
    parser.add_argument("adapter", metavar="DIR", help="folder of the adapter, or its run folder")
    add_json(parser)
    parser.set_defaults(run=run_show)
    parser = below.add_parser(
        "merge", help="merge an adapter into its base: a model without adapters",
        description="Merge an adapter into its base model; OUT is a run folder with the model.",
        examples="almtok lm adapters merge runs/voice --out runs/merged",
    )  # fmt: skip
    parser.group("input")
    parser.add_argument("adapter", metavar="DIR", help="folder of the adapter, or its run folder")
    text = f"base of the adapter: {_CHECKPOINT} (default: the model of almtok)"
    parser.add_argument("--checkpoint", metavar="DIR", help=text)
    add_out(parser)
    add_json(parser)
    parser.set_defaults(run=run_merge)
    parser = below.add_parser(
        "remove", help="remove the folders of adapters",
        description="Remove folders of adapters. Other folders, and those with other files, are\n"
        "refused.",
        examples="almtok lm adapters remove runs/voice/adapter --yes",
    )  # fmt: skip
    parser.group("input")
    parser.add_argument("folders", metavar="DIR", nargs="+", type=Path, help="folders of adapters")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_json(parser)
    parser.set_defaults(run=run_remove)


def run_list(args: argparse.Namespace) -> int:
    """Run ``almtok lm adapters list``."""
    if not args.folder.is_dir():
        raise ValueError(f"{args.folder} must be a folder to search, got none")
    fingerprint = None if args.checkpoint is None else _fingerprint(args.checkpoint)
    found: list[AdapterFacts] = []
    status = 0
    for folder in find_adapters(args.folder):
        try:
            found.append(read_facts(folder))
        except CheckpointError as error:
            status = 1
            print(error, file=sys.stderr)
    lines = [f"{'base':16} {'rank':>5} {'MB':>8} {'date':10} {'fits':7} folder"]
    lines += [_line(facts, fingerprint) for facts in found]
    values = [{**vars(facts), "fits": _fits(facts, fingerprint)} for facts in found]
    print_result(args, "\n".join(lines), values)
    return status


def run_show(args: argparse.Namespace) -> int:
    """Run ``almtok lm adapters show``."""
    facts = read_facts(adapter_folder(args.adapter))
    print_result(args, to_json(facts), vars(facts))
    return 0


def run_merge(args: argparse.Namespace) -> int:
    """Run ``almtok lm adapters merge``."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    source = args.checkpoint or str(DEFAULT)
    out = merge_into(source, args.adapter, args.out, overwrite=args.overwrite)
    print_result(args, f"merged model: {out / 'model'}", {"model": out / "model"})
    return 0


def run_remove(args: argparse.Namespace) -> int:
    """Run ``almtok lm adapters remove``."""
    for folder in args.folders:
        check_removable(folder)
    folders = list({folder.resolve(): folder for folder in args.folders}.values())
    if not args.yes:
        if not sys.stdin.isatty():
            raise ValueError(f"{len(folders)} adapters would be removed: confirm with --yes")
        names = ", ".join(str(folder) for folder in folders)
        if input(f"remove {names}? [y/N] ").strip().lower() not in ("y", "yes"):
            return 1
    for folder in folders:
        shutil.rmtree(folder)
    removed = "\n".join(f"removed: {folder}" for folder in folders)
    print_result(args, removed, {"removed": folders})
    return 0


def merge_into(
    source: str | os.PathLike[str],
    adapter: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    overwrite: bool = False,
) -> Path:
    """Write the base with an adapter merged into it, with the processor and codec of the base.

    Args:
        source: run folder, saved model, or folder with ``lm/`` and ``codec/``.
        adapter: folder of the adapter, or its run folder.
        out: run folder to make, with `OUT/model`.
        overwrite: replace an existing folder.

    Raises:
        ValueError: the adapter belongs to another base, or the folder exists.
        CheckpointError: a folder holds no language model or no adapter.
    """
    from ..core.files import replaced_folder
    from .lora import load_adapter, merge_adapter

    out = Path(out)
    if out.exists() and any(out.iterdir()) and not overwrite:
        raise ValueError(f"{out} is not empty: choose another --out, or --overwrite it")
    lm, folder = _model(source)
    load_adapter(lm, adapter_folder(adapter))
    merge_adapter(lm)
    with replaced_folder(out / "model") as aside:
        shutil.copytree(folder, aside, dirs_exist_ok=True)
        codec = Path(source, "codec")
        if codec.is_dir() and not (aside / "codec").exists():
            shutil.copytree(codec, aside / "codec")
        lm.save_pretrained(aside)
    return out


def _model(source: str | os.PathLike[str]) -> tuple[AudioLM, str]:
    """The model of a local checkpoint in float32, and its folder."""
    import torch

    from .model import AudioLM
    from .train.initial_model import model_folder

    if not Path(source).exists():
        raise CheckpointError(f"no language model: there is no folder {source}")
    folder = model_folder(os.fspath(source))
    return AudioLM.from_pretrained(folder, dtype=torch.float32), folder


def _fingerprint(source: str) -> str:
    from .lora import base_fingerprint

    return base_fingerprint(_model(source)[0])


def _fits(facts: AdapterFacts, fingerprint: str | None) -> str | None:
    return None if fingerprint is None else facts.fits(fingerprint)


def _line(facts: AdapterFacts, fingerprint: str | None) -> str:
    return (
        f"{facts.base or 'unknown':16} {facts.rank:5d} {facts.megabytes:8.2f} {facts.date:10}"
        f" {_fits(facts, fingerprint) or '-':7} {facts.folder}"
    )
