"""The configuration of one training run of the language model, as plain data (no torch here).

:func:`pretrain` and :func:`finetune` give the defaults of the two kinds of run, and every keyword
changes one field. ``almtok lm train`` and ``almtok lm finetune`` make their flags from the fields
below, with the help text that stands beside each.
"""

import dataclasses
from typing import Any, ClassVar

from ...core.choices import PRECISIONS, check_training_device
from ...core.training.config import RunConfig, option

SCHEDULES = ("cosine", "constant")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LMTrainingConfig(RunConfig):
    """All that decides the outcome of a training run of the language model.

    Steps, rates and sizes are our defaults: the paper's own are not known (paper.md 8, D).
    """

    FREE_FIELDS: ClassVar = RunConfig.FREE_FIELDS | {
        "validation_items",
        "samples",
        "codec",
        "merge",
    }

    # What is trained.
    preset: str = option("mini", "size from scratch: tiny, mini, small")
    backbone: str | None = option(
        None, "begin from this pretrained text model (hub id or folder) instead of a preset"
    )
    init_from: str | None = option(
        None, "begin from this language model: run folder, checkpoint or saved model"
    )
    old_tokens: list[str] = option(
        [],
        "folders of tokens: recordings of --data by the codec that init_from speaks, which then"
        " moves to the codes of --data",
    )
    model: dict[str, Any] = option(
        {}, 'JSON object of model fields that differ, e.g. {"pattern": "delay"}'
    )
    tokenizer: str | None = option(
        None, "hub id or folder (default: the base's; from scratch one is trained on the texts)"
    )
    text_form: str | None = option(
        None,
        "spoken: words of speech written out; written: as it stands; plain: lower-case words only;"
        " phones: plain, but what is to be said is given as its phones (default: the base's, else"
        " spoken)",
    )
    language: str = option("en", "language of texts whose row does not say one")

    # Adapters (0 trains all weights).
    lora_rank: int = option(0, "rank of LoRA on the backbone; 0 trains the whole model")
    lora_alpha: float | None = option(None, "scale of LoRA is alpha / rank (default: 2 x rank)")
    lora_targets: list[str] = option(
        [], "names of linear layers in the backbone (default: all those inside its layers)"
    )
    lora_dropout: float = option(0.0, "dropout on the input of LoRA")
    lora_audio: bool = option(
        True, "train audio tables and heads too and keep them in the adapter (off: a smaller one)"
    )
    lora_audio_rank: int = option(
        0, "only changes of this rank of audio tables and heads (default: whole copies of them)"
    )
    merge: bool = option(False, "at the end of a LoRA run, write the merged model too (OUT/model)")

    # Data.
    data: list[str] = option([], "folders of tokens, made by 'almtok lm tokenize'")
    validation_data: list[str] = option(
        [], "held-out folders of tokens (default: the rows of split 'valid' in --data)"
    )
    texts: list[str] = option(
        [], "text files, a passage a line: transcripts of no recording, to learn what is said"
    )
    text_share: float = option(0.2, "share of what is learned that are passages of --texts")
    tasks: list[str] = option(
        ["tts", "asr"], "tasks to learn: a name, a module or a file, with =WEIGHT if not 1"
    )
    distill_tasks: list[str] = option(
        [],
        "tasks among --tasks that stay as distill_from knows them: its predictions are their"
        " targets, not the data, so that what is new costs less of what is old",
    )
    distill_from: str | None = option(None, "the model that knows them (default: init_from)")
    temperature: float = option(
        1.0, "of the mixture: 1 in proportion to the rows, more favours small sources"
    )
    voices: float = option(0.0, "share of rows with another row of their speaker as the voice")
    min_seconds: float = option(0.0, "leave out shorter recordings")
    max_seconds: float | None = option(None, "leave out longer recordings")
    stream: bool = option(False, "read the shards as a stream: for more rows than memory holds")
    num_workers: int | None = option(
        None,
        "data loading processes; 0: in the training process (default: 1; 0 on two cores with"
        " native bfloat16)",
    )

    # Length and place of the run.
    out: str = option("runs/lm", "run folder")
    steps: int = option(10_000, "optimiser steps in all")
    batch_positions: int = option(4096, "most positions of a micro-batch, padding counted")
    batch_rows: int | None = option(None, "most rows of a micro-batch")
    accumulate: int = option(1, "micro-batches of a step, over all processes")
    seed: int = option(0, "all randomness of the run is a function of this and the step number")

    # Optimiser.
    lr: float = option(5e-4, "peak learning rate")
    muon_lr: float = option(
        0.0, "peak rate of Muon for the matrices inside the layers; 0: AdamW trains all"
    )
    betas: list[float] = option([0.9, 0.95], "AdamW betas")
    weight_decay: float = option(0.1, "AdamW weight decay (never on norms and biases)")
    schedule: str = option("cosine", "learning rate after warm-up: cosine, constant")
    warmup_steps: int = option(200, "linear warm-up steps")
    lr_floor: float = option(0.05, "last learning rate as a share of the peak")
    clip_norm: float = option(1.0, "gradient norm above which gradients are scaled down; 0: never")
    condition_dropout: float | None = option(
        None, "share of examples without condition, for guidance (default: the model's)"
    )
    input_noise: float = option(
        0.0,
        "share of the ids and codes it reads that are drawn at random: against learning by heart",
    )
    input_noise_span: int = option(
        1,
        "most rows in a row that input_noise takes of audio that is heard, such as 4",
    )
    max_skips: int = option(10, "stop after so many bad steps in a row")

    # Machine.
    device: str = option("auto", "auto: an accelerator if there is one; cpu, cuda, mps, xpu")
    precision: str = option(
        "auto",
        "auto: what the device has natively; fp32; bf16, fp16: autocast. Weights are float32",
    )
    checkpointing: bool = option(False, "compute activations twice to keep fewer of them")
    shard: bool = option(False, "FSDP2: divide weights and optimiser states over the processes")

    # Watching and saving.
    log_every: int = option(10, "steps between lines of metrics.jsonl")
    checkpoint_every: int = option(500, "steps between checkpoints; 0: only at the end")
    checkpoint_minutes: float = option(30.0, "minutes between checkpoints; 0: by steps only")
    keep: int = option(2, "checkpoints that are kept")
    validate_every: int = option(500, "steps between validations; 0: only at the end")
    validation_items: int = option(64, "held-out rows of each task at a validation")
    samples: int = option(2, "held-out rows of each task that are generated at a validation")
    codec: str | None = option(
        None, "codec folder: samples are heard in TensorBoard, and the saved model has its codec"
    )
    codec_start: bool = option(
        True, "begin with --codec: tables and heads of codes start at what the codes sound like"
    )
    tensorboard: bool = option(True, "write OUT/tensorboard")
    progress: bool = option(True, "show a progress bar")

    def __post_init__(self) -> None:
        for name, known in (("precision", PRECISIONS), ("schedule", SCHEDULES)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        if self.device is None:  # files written when None was the default
            object.__setattr__(self, "device", "auto")
        check_training_device(self.device)
        self._check_numbers()
        self._check_together()

    def _check_numbers(self) -> None:
        for name in ("steps", "batch_positions", "accumulate", "log_every", "keep", "max_skips"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.num_workers is not None and self.num_workers < 0:
            raise ValueError(f"num_workers must not be negative, got {self.num_workers}")
        for name in ("lora_rank", "warmup_steps", "lora_dropout", "clip_norm"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if len(self.betas) != 2:
            raise ValueError(f"betas must be two numbers, got {self.betas}")
        if not 0 <= self.input_noise < 1:
            raise ValueError(f"input_noise must be in [0, 1), got {self.input_noise}")
        if self.input_noise_span < 1:
            raise ValueError(f"input_noise_span must be at least 1, got {self.input_noise_span}")
        if not self.lr > 0:
            raise ValueError(f"lr must be positive, got {self.lr}")
        if self.muon_lr < 0:
            raise ValueError(f"muon_lr must not be negative, got {self.muon_lr}")
        if not 0 < self.text_share < 1:
            raise ValueError(f"text_share must be between 0 and 1, got {self.text_share}")

    def _check_together(self) -> None:
        if self.backbone is not None and self.init_from is not None:
            raise ValueError(
                f"begin from a text model or from a language model, not both, got backbone "
                f"{self.backbone!r} and init_from {self.init_from!r}"
            )
        if self.old_tokens and (self.init_from is None or self.lora_rank):
            raise ValueError("old_tokens needs init_from, and trains all weights (lora_rank 0)")
        teacher = self.distill_from or self.init_from
        if self.distill_tasks and (teacher is None or self.old_tokens or self.shard):
            raise ValueError(
                "distill_tasks needs init_from or distill_from, whose predictions are to be"
                f" learned, of the same codes and undivided, got {teacher!r} with old_tokens"
                f" {self.old_tokens} and shard {self.shard}"
            )
        if self.distill_from and not self.distill_tasks:
            raise ValueError("distill_from is for distill_tasks: name some")
        if self.lora_rank and self.init_from is None and self.backbone is None:
            raise ValueError(
                "LoRA adapts a trained model: give init_from (or backbone), or lora_rank 0"
            )
        if self.muon_lr and (self.lora_rank or self.shard):
            raise ValueError("muon_lr is for whole matrices: neither for LoRA nor with shard")
        if self.lora_audio_rank < 0 or (
            self.lora_audio_rank and not (self.lora_rank and self.lora_audio)
        ):
            raise ValueError(
                "lora_audio_rank is 0 or more, for an adapter that has tables and heads (lora_rank"
                f" above 0, lora_audio on), got {self.lora_audio_rank} with lora_rank"
                f" {self.lora_rank} and lora_audio {self.lora_audio}"
            )
        if self.lora_rank and self.shard:
            raise ValueError("an adapter is small: shard divides whole models only (lora_rank 0)")
        if self.stream and (self.temperature != 1 or self.voices or self.texts):
            raise ValueError(
                "a stream knows neither temperature nor voices nor texts: use stream=False"
            )


def pretrain(**changes: Any) -> LMTrainingConfig:
    """All weights, from scratch or from a pretrained text model."""
    return LMTrainingConfig.from_dict(changes)


# What differs when a trained model learns a voice, a task or a domain from little data.
FINETUNE: dict[str, Any] = {
    "lora_rank": 16,
    "steps": 1000,
    "warmup_steps": 20,
    "lr": 3e-4,
    "weight_decay": 0.0,
    "checkpoint_every": 200,
    "validate_every": 200,
}


def finetune(**changes: Any) -> LMTrainingConfig:
    """An adapter on a trained model; ``lora_rank=0`` trains all its weights, at a lower rate."""
    rates = {"lr": 5e-5} if changes.get("lora_rank") == 0 else {}
    return LMTrainingConfig.from_dict({**FINETUNE, **rates, **changes})
