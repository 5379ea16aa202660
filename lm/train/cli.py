"""``almtok lm train`` and ``lm finetune``: one flag per field of the training configuration."""

from __future__ import annotations

import argparse
from typing import Any

from ...codec.checkpoints import DEFAULT
from ...core.training.cli import add_flags, given_values, make_parser, run_training
from .config import LMTrainingConfig, finetune, pretrain

TRAIN = """\
Train a language model on tokens: speech, transcripts, sounds, music and their descriptions.

From scratch (--preset, with a tokenizer trained on the texts), from a pretrained text model
(--backbone), or on from a language model (--init-from). Every task takes its rows from the same
folders of tokens by their domain: speech for tts and asr, sound for text_to_audio, and so on.
"""

TRAIN_EXAMPLES = """\
examples:
  almtok lm tokenize speech=voices/ --checkpoint runs/mine/codec --out tokens/
  almtok lm train --data tokens/ --tasks tts asr --out runs/mine/lm
  almtok lm train --data tokens/ --tasks tts=2 asr text_to_audio --temperature 3 --out runs/all
  almtok lm train --data tokens/ --backbone Qwen/Qwen3-0.6B --precision bf16 --out runs/qwen
  torchrun --nproc-per-node 8 -m almtok lm train --accumulate 8 ...   8 processes, same result

The same command resumes a stopped run. OUT/model is the model with its processor;
OUT/metrics.jsonl and OUT/tensorboard have its losses.

how to choose:
  --batch-positions   positions of a micro-batch, padding counted: as many as memory allows
  --accumulate        micro-batches of a step over all processes: --batch-positions times this is
                      what one step learns from, on one processor or on eight
  --steps             the learning rate falls to its floor at the last one: choose it beforehand
"""

FINETUNE = """\
Teach a trained language model a voice, a domain or a task, from little data.

By default an adapter is trained (LoRA on the backbone, copies of audio tables and heads) and saved
to OUT/adapter; the model does not change. --full trains all weights: OUT/model.
"""

FINETUNE_EXAMPLES = """\
examples:
  almtok lm finetune --data tokens_of_a_voice/ --tasks tts --out runs/voice
  almtok lm finetune --base runs/mine/lm --data tokens/ --lora-rank 4 --out runs/small
  almtok lm finetune --base runs/mine/lm --data tokens/ --full --out runs/domain

Use it:
  >>> lm = AudioLM.from_pretrained("runs/mine/lm/model")
  >>> load_adapter(lm, "runs/voice")                        # almtok.lm.lora
"""


def register(commands: Any) -> None:
    """Add ``train`` to the sub-parsers of ``almtok lm``."""
    parser = make_parser(
        commands, "train", "train a language model on tokens", TRAIN, TRAIN_EXAMPLES
    )
    add_flags(parser, LMTrainingConfig, pretrain())
    parser.set_defaults(run=lambda options: train(resolve(options)))


def register_finetune(commands: Any) -> None:
    """Add ``finetune`` to the sub-parsers of ``almtok lm``."""
    parser = make_parser(
        commands,
        "finetune",
        "fine-tune a language model, with LoRA by default",
        FINETUNE,
        FINETUNE_EXAMPLES,
    )
    parser.add_argument(
        "--base",
        dest="init_from",
        default=argparse.SUPPRESS,
        metavar="DIR",
        help="the language model to begin from: run folder or saved model (same as --init-from; "
        "default: what comes with almtok)",
    )
    parser.add_argument("--full", action="store_true", help="train all weights, without LoRA")
    add_flags(parser, LMTrainingConfig, finetune(init_from="base"), hidden=["init_from"])
    parser.set_defaults(run=lambda options: train(resolve_finetune(options)))


def train(config: LMTrainingConfig) -> int:
    """Run a training; see :func:`run_training` for the exit status."""
    from .run import train_lm

    what = "adapter" if config.lora_rank else "model"
    return run_training(lambda: train_lm(config), config.out, what)


def resolve(options: argparse.Namespace) -> LMTrainingConfig:
    """The configuration: defaults, overridden by the file, then by the flags."""
    return pretrain(**_given(options))


def resolve_finetune(options: argparse.Namespace) -> LMTrainingConfig:
    """As :func:`resolve`, for ``almtok lm finetune``.

    Raises:
        ValueError: --full was given together with a rank.
    """
    values = _given(options)
    if options.full:
        if values.get("lora_rank"):
            raise ValueError(f"--lora-rank must be 0 with --full, got {values['lora_rank']}")
        values["lora_rank"] = 0
    if not values.get("init_from"):
        values["init_from"] = str(DEFAULT / "lm")
    return finetune(**values)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    values = given_values(options, LMTrainingConfig)
    if not values.get("data"):
        raise ValueError(
            "no tokens to learn from: give --data a folder that almtok lm tokenize made"
        )
    return values
