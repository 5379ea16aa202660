"""``almtok lm train`` and ``lm finetune``: one flag per field of the training configuration."""

from __future__ import annotations

import argparse
from typing import Any

from ...codec.checkpoints import DEFAULT
from ...core.choices import add_json
from ...core.cores import available_cores
from ...core.printing import print_result
from ...core.training.cli import add_config, given_values, run_training
from ..task_registry import load_task
from .config import FINETUNE, LMTrainingConfig, code_of_tasks, finetune, pretrain

TRAIN = """\
Train a language model on token folders: from scratch (--preset), from a pretrained text model
(--backbone) or from a language model (--init-from). Each task uses the recordings of its domain:
speech for tts and asr, sound for text_to_audio. The same command resumes a stopped training.
"""
TRAIN_EXAMPLES = """
almtok lm train --data tokens/ --tasks tts asr --out runs/mine/lm
almtok lm train --data tokens/ --tasks tts=2 asr text_to_audio --temperature 3 --out runs/all
almtok lm train --data tokens/ --backbone Qwen/Qwen3-0.6B --precision bf16 --out runs/qwen
torchrun --nproc-per-node 8 -m almtok lm train --accumulate 8 ...
"""
TRAIN_NOTES = """
One optimizer step covers batch_positions x accumulate positions on any number of processes. Set
--batch-positions as large as memory allows, then --accumulate. OUT/model is the model with its
processor; OUT/metrics.jsonl holds the losses, and --tracker shows them.
"""
FINETUNE_DESCRIPTION = """\
Fine-tune a language model to a voice, a domain or a task, with little data. By default, a LoRA
adapter is trained and saved in OUT/adapter, and the model is unchanged. --lora-rank 0 trains all
weights and saves OUT/model. --init-from defaults to the model that comes with almtok.
"""
FINETUNE_EXAMPLES = """
almtok lm finetune --data tokens_of_a_voice/ --tasks tts --out runs/voice
almtok lm finetune --init-from runs/mine/lm --data tokens/ --lora-rank 0 --out runs/domain
almtok tts "Good morning!" --adapter runs/voice --out morning.wav
"""
MEASURE = """\
Make what a training on more than 400,000 rows of all tasks needs before it begins: their lengths in
positions, beside the tokens (DIR/.index), and the text tokenizer, if it is trained on the texts.
Give the options of the training, or its configuration. The same command resumes a stopped one.
"""
MEASURE_EXAMPLES = """
almtok lm measure --data tokens/ --tasks tts asr --out runs/mine/lm
almtok lm measure --config runs/mine/lm/config.json --processes 16
"""


def register(commands: Any) -> None:
    """Add ``train``, ``finetune`` and ``measure`` to the sub-parsers of ``almtok lm``."""
    parser = commands.add_parser(
        "train", help="train a language model on tokens",
        description=TRAIN, examples=TRAIN_EXAMPLES, notes=TRAIN_NOTES,
    )  # fmt: skip
    add_config(parser, LMTrainingConfig)
    parser.set_defaults(run=lambda options: train(resolve(options)))
    parser = commands.add_parser(
        "finetune", help="fine-tune a language model, with LoRA by default",
        description=FINETUNE_DESCRIPTION, examples=FINETUNE_EXAMPLES,
    )  # fmt: skip
    add_config(parser, LMTrainingConfig, FINETUNE)
    parser.set_defaults(run=lambda options: train(resolve_finetune(options)))
    parser = commands.add_parser(
        "measure", help="measure the rows of a large training before it begins",
        description=MEASURE, examples=MEASURE_EXAMPLES,
    )  # fmt: skip
    text = "processes that measure (default: one for each core)"
    parser.add_argument("--processes", type=int, metavar="N", help=text, advanced=True)
    add_config(parser, LMTrainingConfig)
    add_json(parser, advanced=True)
    parser.set_defaults(run=measure)


def train(config: LMTrainingConfig) -> int:
    """Run a training; see :func:`run_training` for the exit status."""
    from .run import train_lm

    what = "adapter" if config.lora_rank else "model"
    return run_training(lambda: train_lm(config), config.out, what)


def measure(options: argparse.Namespace) -> int:
    """Run ``almtok lm measure``."""
    from .measure import measure_lm

    processes = options.processes or available_cores()
    result = measure_lm(resolve(options), processes=processes)
    print_result(options, result.text(), result)
    return 0


def resolve(options: argparse.Namespace) -> LMTrainingConfig:
    """The configuration: defaults, overridden by the file, then by the flags."""
    return pretrain(**_given(options))


def resolve_finetune(options: argparse.Namespace) -> LMTrainingConfig:
    """Return the same for ``almtok lm finetune``."""
    values = _given(options)
    if not values.get("init_from") and not values.get("backbone"):
        values["init_from"] = str(DEFAULT / "lm")
    return finetune(**values)


def _given(options: argparse.Namespace) -> dict[str, Any]:
    values = given_values(options, LMTrainingConfig)
    for source in code_of_tasks(values.get("tasks") or []):
        if "tasks" not in vars(options):
            raise ValueError(
                f"{options.config}: the task {source!r} is code, which must be named on the command"
                f" line: --tasks {source}"
            )
        load_task(source)
    if not values.get("data"):
        raise ValueError(
            "no tokens to learn from: give --data a folder that almtok lm tokenize made"
        )
    return values
