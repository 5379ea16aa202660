"""The configuration of one training run of the language model, as plain data (no torch here).

:func:`pretrain` and :func:`finetune` give the defaults of the two kinds of run, and every keyword
changes one field. ``almtok lm train`` and ``almtok lm finetune`` make their flags from the fields
below, with the help text that stands beside each.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

from ...core.choices import PRECISIONS, TRACKERS, TRAINING_DEVICE_HELP, check_training_device
from ...core.field_types import check_fields
from ...core.options import advanced, file_only, option
from ...core.training.config import RunConfig

SCHEDULES = ("cosine", "constant")
ALL = "all"  # of `speakers`: every speaker


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

    preset: str = option(
        "mini", "size of a model from scratch", ("tiny", "mini", "small"), group="model"
    )
    backbone: str | None = option(
        None, "start from a pretrained text model: hub id or folder", metavar="MODEL"
    )
    init_from: str | None = option(
        None, "start from a language model: run folder, checkpoint or saved model", metavar="DIR"
    )
    old_tokens: list[str] = advanced(
        [],
        "token folders with the recordings of --data, encoded by the former codec: move the model"
        " of --init-from to the codec of --data",
        metavar="DIR",
    )
    model: dict[str, Any] = advanced(
        {}, 'fields of AudioLMConfig to change, such as \'{"pattern": "delay"}\''
    )
    tokenizer: str | None = advanced(
        None,
        "text tokenizer: hub id or folder (default: the base's, or trained on the texts)",
        metavar="MODEL",
    )
    text_form: str | None = advanced(
        None,
        "text normalization. spoken: numbers and abbreviations as words; written: unchanged;"
        " plain: lower-case words; phones: plain, and phonemes for texts to speak (default: the"
        " base's, or spoken)",
    )
    language: str = advanced(
        "en",
        "language of texts without a language column; none: they are left as they are written",
        metavar="CODE",
    )

    lora_rank: int = option(0, "rank of the adapter; 0: train all weights", group="LoRA")
    lora_alpha: float | None = advanced(None, "scale is alpha / rank (default: 2 x rank)")
    lora_targets: list[str] = advanced(
        [], "names of linear layers that get LoRA (default: all inside the backbone's layers)"
    )
    lora_dropout: float = file_only(0.0, "dropout on the input of LoRA")
    lora_audio: bool = advanced(
        True, "train audio embeddings and heads too, and store them in the adapter"
    )
    lora_audio_rank: int = advanced(
        0, "rank of the update of audio embeddings and heads; 0: full copies"
    )
    merge: bool = advanced(False, "also write the model with the adapter merged (OUT/model)")

    data: list[str] = option(
        [], "token folders written by 'almtok lm tokenize'", group="data", metavar="DIR"
    )
    validation_data: list[str] = option(
        [], "held-out token folders (default: split 'valid' of --data)", metavar="DIR"
    )
    tasks: list[str] = option(
        ["tts", "asr"], "tasks: name, module or file; =WEIGHT sets the share", metavar="TASK"
    )
    texts: list[str] = advanced(
        [], "text files with one passage a line: text-only training data", metavar="FILE"
    )
    text_share: float = advanced(0.2, "share of training rows from --texts")
    distill_tasks: list[str] = advanced(
        [],
        "tasks whose targets are the predictions of --distill-from instead of the data, against"
        " forgetting",
        metavar="TASK",
    )
    distill_from: str | None = advanced(
        None, "teacher of --distill-tasks (default: --init-from)", metavar="DIR"
    )
    temperature: float = advanced(
        1.0, "sampling of sources: 1 in proportion to their rows; higher favors small sources"
    )
    speakers: list[str] = advanced(
        [],
        "speakers of the TTS rows that become voices of the model, by name, or all; the first is"
        " its default voice",
        metavar="NAME",
    )
    voices: float = advanced(
        0.0, "share of TTS rows that get another recording of their speaker as voice prompt"
    )
    min_seconds: float = file_only(0.0, "skip shorter recordings, in seconds")
    max_seconds: float | None = advanced(None, "skip longer recordings, in seconds")
    stream: bool = advanced(False, "read shards sequentially, for data larger than memory")
    num_workers: int | None = advanced(
        None,
        "data loading processes; 0: load in the training process (default: 1; 0 on two cores with"
        " native bfloat16)",
    )

    out: str = option("runs/lm", "run folder", group="run", metavar="DIR")
    steps: int = option(10_000, "optimizer steps; the learning rate decays to the last")
    batch_positions: int = option(4096, "positions per micro-batch, including padding")
    accumulate: int = option(1, "micro-batches per optimizer step, over all processes")
    batch_rows: int | None = advanced(None, "rows per micro-batch, at most")
    packing: bool = advanced(
        False, "lay the examples of a micro-batch one after another, instead of padding them"
    )
    seed: int = advanced(0, "random seed")

    lr: float = option(5e-4, "peak learning rate", group="optimizer")
    muon_lr: float = advanced(
        0.0, "peak learning rate of Muon for matrices inside layers; 0: AdamW for all weights"
    )
    betas: list[float] = file_only([0.9, 0.95], "AdamW betas")
    weight_decay: float = advanced(0.1, "AdamW weight decay, except of norms and biases")
    schedule: str = advanced("cosine", "learning rate after the warm-up", SCHEDULES)
    warmup_steps: int = advanced(200, "steps of linear learning rate warm-up")
    lr_floor: float = file_only(0.05, "last learning rate, as a share of the peak")
    clip_norm: float = file_only(1.0, "maximum gradient norm; 0: no clipping")
    condition_dropout: float | None = advanced(
        None,
        "share of training rows without condition, for classifier-free guidance (default: the"
        " model's)",
    )
    input_noise: float = advanced(
        0.0, "share of input ids and codes replaced by random ones, for regularization"
    )
    input_noise_span: int = advanced(
        1, "longest run of audio positions that --input-noise replaces together"
    )
    max_skips: int = file_only(10, "stop after this many skipped (non-finite) steps in a row")

    device: str = option("auto", TRAINING_DEVICE_HELP, group="machine", metavar="NAME")
    precision: str = option("auto", "autocast; auto: by the device", PRECISIONS)
    checkpointing: bool = advanced(False, "activation checkpointing: less memory, more computation")
    shard: bool = advanced(False, "FSDP2: shard weights and optimizer states over processes")

    codec: str | None = option(
        None, "codec folder: decode validation samples, save it with the model",
        group="output", metavar="DIR",
    )  # fmt: skip
    codec_start: bool = advanced(
        True, "initialize audio embeddings and heads from the codebooks of --codec"
    )
    log_every: int = advanced(10, "steps between lines of OUT/metrics.jsonl")
    checkpoint_every: int = advanced(500, "steps between checkpoints; 0: only at the end")
    checkpoint_minutes: float = advanced(30.0, "minutes between checkpoints; 0: by steps only")
    keep: int = advanced(2, "number of checkpoints to keep")
    validate_every: int = advanced(500, "steps between validations; 0: only at the end")
    validation_items: int = advanced(64, "held-out rows per task and validation")
    samples: int = advanced(2, "samples generated per task and validation")
    tracker: str = advanced("tensorboard", "where curves and samples are shown", TRACKERS)
    progress: bool = advanced(True, "show a progress bar")

    def __post_init__(self) -> None:
        if self.device is None:  # files written when None was the default
            object.__setattr__(self, "device", "auto")
        check_fields(self)
        for name, known in (
            ("precision", PRECISIONS),
            ("schedule", SCHEDULES),
            ("tracker", TRACKERS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}"
                )
        check_training_device(self.device)
        self._check_numbers()
        self._check_together()

    def code_flags(self) -> list[str]:
        """``--tasks`` with all tasks, if one of them is a module or a file."""
        return ["--tasks", *self.tasks] if code_of_tasks(self.tasks) else []

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

    @property
    def text_language(self) -> str | None:
        """Language of texts without a language column; None: no normalization."""
        return None if self.language == "none" else self.language

    def _check_together(self) -> None:
        if self.text_form == "phones" and self.text_language is None:
            raise ValueError("text_form 'phones' needs a language to pronounce, got 'none'")
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
        if self.lora_rank and self.speakers:
            raise ValueError("speakers become voices of a whole model: not with LoRA (lora_rank 0)")
        if self.stream and self.speakers == [ALL]:
            raise ValueError("a stream is not read before the training: name the speakers")
        if self.lora_rank and self.shard:
            raise ValueError("an adapter is small: shard divides whole models only (lora_rank 0)")
        if self.stream and (self.temperature != 1 or self.voices or self.texts):
            raise ValueError(
                "a stream knows neither temperature nor voices nor texts: use stream=False"
            )


def code_of_tasks(tasks: Sequence[str]) -> list[str]:
    """Modules and files among tasks that are written ``NAME`` or ``NAME=WEIGHT``."""
    names = [text.rpartition("=")[0] or text for text in tasks if isinstance(text, str)]
    return [name for name in names if "." in name]


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
