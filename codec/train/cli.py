"""``almtok codec train``: one flag per field of the training configuration."""

import argparse
from typing import Any

from ...core.training.cli import add_config, given_values, run_training
from .config import CodecTrainConfig

EXAMPLES = """
almtok codec train --stage 1 --data speech=voices/ sound=noises/ --out runs/mine/stage1
almtok codec train --stage 2 --data speech=voices/ sound=noises/ --out runs/mine/stage2 \\
    --init-from runs/mine/stage1 --prior prior.safetensors
almtok codec train --stage adapt --init-from runs/mine/stage2 --data newvoice/ --out runs/mine/new
torchrun --nproc-per-node 8 -m almtok codec train ...
"""


def register(commands: Any) -> None:
    """Add ``train`` to the sub-parsers of ``almtok codec``."""
    parser = commands.add_parser(
        "train",
        help="train a codec (stage 1, stage 2, decoder adaptation)",
        description="Train a codec from audio files. The same command resumes a stopped training.\n"
        "Defaults are those of stage 1.",
        examples=EXAMPLES,
    )
    add_config(parser, CodecTrainConfig)
    parser.set_defaults(run=train)


def train(options: argparse.Namespace) -> int:
    """Run ``almtok codec train``; see :func:`run_training` for the exit status."""
    config = resolve(options)
    from .trainer import train_codec

    return run_training(lambda: train_codec(config), config.out, "codec")


def resolve(options: argparse.Namespace) -> CodecTrainConfig:
    """Return the configuration: defaults of the stage, values of the file, flags."""
    config = CodecTrainConfig.from_dict(given_values(options, CodecTrainConfig))
    if not config.data:
        raise ValueError("--data must be at least one folder or file, got none")
    return config
