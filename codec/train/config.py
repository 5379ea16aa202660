"""Configuration of a training run. Does not import torch.

The functions :func:`stage1`, :func:`stage2` and :func:`adapt` return a config with the defaults of
a stage; keywords override fields. The flags of ``almtok codec train`` are made of the fields and
their help texts.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from ...core.choices import (
    SOURCES_HELP,
    TRACKERS,
    TRAINING_DEVICE_HELP,
    check_training_device,
)
from ...core.field_types import check_fields
from ...core.options import advanced, file_only, option
from ...core.training.config import RunConfig
from ..losses.registry import LOSSES, LossSpec, with_loss_weights
from ..priors.config import TeacherSpec

STAGES = ("1", "2", "adapt")
# With "-all", convolutions too.
PRECISIONS = ("auto", "auto-all", "fp32", "bf16", "bf16-all", "fp16", "fp16-all")
SCHEDULES = ("constant", "cosine", "exponential")
_FORMER = {"listener": "phoneme_classifier"}  # fields under names of earlier versions
# Fields of earlier versions with the only accepted value, which switches them off.
_REMOVED = {"weight_loudness": 0.0}


@dataclasses.dataclass(frozen=True, kw_only=True)
@with_loss_weights
class CodecTrainConfig(RunConfig):
    """Options of a codec training run.

    The optimiser settings are our defaults: those of the paper are not published (paper.md 5.4, D).
    """

    FREE_FIELDS: ClassVar = RunConfig.FREE_FIELDS | {
        "validation_clips",
        "cache_dir",
        "alarm_usage",
        "alarm_discriminator",
        "alarm_after",
    }

    stage: str = option(
        "1",
        "1: patchify and unpatchify, no quantizer; 2: all but patchify; adapt: decoder only, codes"
        " unchanged",
        STAGES,
        group="model",
        metavar="S",
    )
    preset: str = option("mini", "model size: tiny, mini, base, paper")
    init_from: str | None = option(
        None, "run folder, checkpoint or model to start from (stage 2, adapt)", metavar="DIR"
    )
    prior: str | None = option(
        None, "first codebook, written by 'almtok codec prior' (stage 2)", metavar="FILE"
    )
    model_config: str | None = advanced(
        None, "folder or config.json of the model, instead of --preset", metavar="PATH"
    )
    model: dict[str, Any] = advanced({}, "fields of ALMTokenizerConfig to change")
    heads_from: str | None = advanced(
        None,
        "run whose loss heads (phones, spectrum, ...) are reused (default: --init-from)",
        metavar="DIR",
    )
    freeze_patchify: bool = advanced(True, "stage 2: keep patchify as in stage 1")
    phoneme_classifier: str | None = advanced(
        None,
        "phoneme classifier of 'almtok codec phonemes', for the losses phones, first_phones and"
        " recognition",
        metavar="FILE",
    )

    teacher_speech: str | None = advanced(
        None,
        "whisper[:CHECKPOINT], for the losses speech_features, distillation and first_distillation",
        metavar="NAME",
    )
    teacher_layers: list[int] = advanced(
        [], "layers of the teacher for these losses, from 1 (default: at two thirds of the depth)"
    )

    data: list[str] = option(
        [], SOURCES_HELP,
        group="data", metavar="SOURCE",
    )  # fmt: skip
    validation_data: list[str] = option([], "held-out sources, same forms", metavar="SOURCE")
    segment_seconds: float = option(3.0, "length of a training segment in seconds")
    dataset: dict[str, Any] = advanced({}, "fields of DataConfig to change")
    cache_dir: str | None = advanced(
        None, "folder of decoded audio (default: OUT/cache)", metavar="DIR"
    )
    num_workers: int = advanced(1, "data loading processes; 0: load in the training process")

    out: str = option("runs/codec", "run folder", group="run", metavar="DIR")
    steps: int = option(10_000, "optimizer steps; the learning rate decays to the last")
    batch_size: int = option(16, "segments per optimizer step, over all processes")
    accumulate: int = option(1, "micro-batches per optimizer step")
    seed: int = advanced(0, "random seed")

    # Generator and discriminators alike.
    lr: float = option(2e-4, "peak learning rate of the generator", group="optimizer")
    discriminator_lr: float = advanced(2e-4, "peak learning rate of the discriminators")
    muon_lr: float = advanced(
        0.0, "peak learning rate of Muon for Transformer matrices; 0: AdamW for all weights"
    )
    autoregressive_lr_scale: float = file_only(1.0, "learning rate factor of the AR Transformer")
    betas: list[float] = file_only([0.8, 0.99], "AdamW betas")
    weight_decay: float = advanced(0.01, "AdamW weight decay, except of norms, biases and tokens")
    schedule: str = advanced("cosine", "learning rate after the warm-up", SCHEDULES)
    warmup_steps: int = advanced(500, "steps of linear learning rate warm-up")
    lr_floor: float = file_only(0.05, "last learning rate, as a share of the peak")
    clip_norm: float = file_only(1.0, "maximum gradient norm; 0: no clipping")
    ema_decay: float = file_only(0.999, "decay of the averaged weights; 0: no averaging")

    # A field weight_NAME for each entry of codec/losses/registry.py; 0 switches the loss off.
    balancer: bool = advanced(
        True, "EnCodec's gradient balancer for the losses on the waveform", group="losses"
    )
    balancer_decay: float = file_only(0.99, "decay of the balancer's gradient norms")
    mel: dict[str, Any] = file_only({}, "fields of the mel loss to change")
    discriminators: dict[str, Any] = file_only({}, "fields of the discriminators to change")
    masked: dict[str, Any] = file_only({}, "fields of the MAE loss to change")
    autoregressive: dict[str, Any] = file_only({}, "fields of the AR loss to change")
    adversarial_kind: str = file_only("hinge", "hinge or least_squares")
    adversarial_start: int = advanced(1_000, "first step with discriminators; negative: never")
    discriminator_probability: float = file_only(
        2 / 3, "probability that a step updates the discriminators"
    )

    quantize_start: int = advanced(0, "stage 2: first step with quantization", group="quantizer")
    replace_codebooks: bool = advanced(
        False, "stage 2: reinitialize all codebooks of --init-from from its queries"
    )
    quantize_probability: float = file_only(
        1.0, "share of segments that are decoded from quantized queries"
    )

    device: str = option("auto", TRAINING_DEVICE_HELP, group="machine", metavar="NAME")
    precision: str = option(
        "auto",
        "autocast of Transformers (-all: and convolutions); auto: by the device",
        metavar="NAME",
    )

    max_skips: int = file_only(10, "stop after this many skipped steps in a row")
    explode_factor: float = file_only(
        50.0, "skip a step whose gradient norm exceeds the average by this factor"
    )
    alarm_usage: float = file_only(0.05, "warn if a layer uses less than this share of its codes")
    alarm_discriminator: float = file_only(0.1, "warn if the discriminator loss is below this")
    alarm_after: int = file_only(200, "first step with these warnings")

    log_every: int = advanced(10, "steps between lines of OUT/metrics.jsonl", group="output")
    validate_every: int = advanced(1_000, "steps between validations; 0: only at the end")
    validation_clips: int = advanced(24, "held-out segments per validation")
    checkpoint_every: int = advanced(1_000, "steps between checkpoints; 0: by time only")
    checkpoint_minutes: float = advanced(10.0, "minutes between checkpoints; 0: by steps only")
    keep: int = advanced(2, "number of checkpoints to keep")
    tracker: str = advanced("tensorboard", "where curves and samples are shown", TRACKERS)
    progress: bool = advanced(True, "show a progress bar")

    def __post_init__(self) -> None:
        object.__setattr__(self, "stage", str(self.stage))
        check_fields(self)
        for name, allowed in (
            ("stage", STAGES),
            ("precision", PRECISIONS),
            ("schedule", SCHEDULES),
            ("tracker", TRACKERS),
            ("adversarial_kind", ("hinge", "least_squares")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}"
                )
        check_training_device(self.device)
        for name in ("steps", "batch_size", "accumulate", "keep", "max_skips", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"batch_size must be a multiple of accumulate ({self.accumulate}),"
                f" got {self.batch_size}"
            )
        if len(self.betas) != 2:
            raise ValueError(f"betas must be two numbers, got {self.betas}")
        if self.segment_seconds <= 0:
            raise ValueError(f"segment_seconds must be positive, got {self.segment_seconds}")
        for name in ("quantize_probability", "discriminator_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        for spec in LOSSES:
            if self.weight_of(spec) not in (0, spec.weight) and self.stage not in spec.stages:
                raise ValueError(
                    f"weight_{spec.name} must be 0 or not given in stage {self.stage}, got"
                    f" {self.weight_of(spec)}: it is a loss of stage {' and '.join(spec.stages)}"
                )
            if spec.needs_phonemes and self.weight_of(spec) > 0 and self.phoneme_classifier is None:
                raise ValueError(
                    f"weight_{spec.name} needs phoneme_classifier (almtok codec phonemes), got none"
                )
            if spec.needs_teacher and self.weight_of(spec) > 0 and self.teacher_speech is None:
                raise ValueError(
                    f"weight_{spec.name} needs teacher_speech, such as whisper:openai/whisper-base,"
                    " got none"
                )
        if self.teacher_speech is not None:
            kind = TeacherSpec.parse(self.teacher_speech).kind
            if kind != "whisper":
                raise ValueError(f"teacher_speech of a training must be whisper, got {kind!r}")
        if self.replace_codebooks and (self.stage != "2" or self.init_from is None):
            raise ValueError("replace_codebooks needs stage 2 and init_from, a trained codec")
        if self.heads_from is not None and self.init_from is None:
            raise ValueError("heads_from needs init_from, the codec that they were trained with")
        needs_source = self.stage == "adapt" or (self.stage == "2" and self.freeze_patchify)
        if needs_source and self.init_from is None:
            raise ValueError(
                f"stage {self.stage} needs init_from, a run or model with the frozen parts"
                " (freeze_patchify=False trains all)"
            )

    def weight_of(self, spec: LossSpec) -> float:
        """Value of the field ``weight_NAME`` of a loss."""
        weight: float = getattr(self, f"weight_{spec.name}")
        return weight

    @property
    def losses(self) -> tuple[LossSpec, ...]:
        """Losses of this run: those of its stage with a weight above zero."""
        return tuple(
            spec
            for spec in LOSSES
            if self.stage in spec.stages
            and self.weight_of(spec) > 0
            and (self.adversarial_start >= 0 or not spec.adversarial)
        )

    @property
    def balanced_weights(self) -> dict[str, float]:
        """Weights above zero of the losses on the waveform, by log name."""
        return {spec.name: self.weight_of(spec) for spec in self.losses if spec.waveform}

    @property
    def direct_weights(self) -> dict[str, float]:
        """Weights above zero of the losses on inner tensors, by log name."""
        return {spec.name: self.weight_of(spec) for spec in self.losses if not spec.waveform}

    @property
    def uses_discriminators(self) -> bool:
        """Whether this run has adversarial losses."""
        return any(spec.adversarial for spec in self.losses)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "CodecTrainConfig":
        """Return a config with the defaults of its stage.

        Raises:
            ValueError: A key is unknown, or a removed field has another value than "off".

        Example:
            >>> CodecTrainConfig.from_dict({"stage": "1", "steps": 5}).steps
            5
        """
        for name in _REMOVED.keys() & values.keys():
            if values[name] != _REMOVED[name]:
                raise ValueError(
                    f"{name} is a removed training option and must be {_REMOVED[name]},"
                    f" got {values[name]!r}"
                )
        values = {
            _FORMER.get(name, name): value for name, value in values.items() if name not in _REMOVED
        }
        values = cls.renamed(values)
        cls.refuse_unknown(values)
        rest = {key: value for key, value in values.items() if key != "stage"}
        return for_stage(str(values.get("stage", "1")), **rest)


def stage1(**changes: Any) -> CodecTrainConfig:
    """Autoencoder without quantiser, with masked frame prediction (paper.md 5.2, stage 1)."""
    # A larger weight of the waveform: without a quantiser it can be reconstructed exactly.
    return CodecTrainConfig(**{"stage": "1", "weight_time": 1.0, **changes})


def stage2(**changes: Any) -> CodecTrainConfig:
    """Everything but patchify, with the quantiser and all losses (paper.md 5.2, stage 2).

    ``init_from`` names the stage-1 run.
    """
    steps = changes.get("steps", 10_000)
    defaults = {
        "stage": "2",
        "segment_seconds": 6.0,  # queries need context (paper.md 5.4)
        "weight_masked": 0.1,
        "weight_autoregressive": 0.1,
        "weight_commitment": 0.2,
        # The first queries depend on little more than loudness, and codebooks that are initialised
        # from them stay limited to it; short runs start earlier.
        "quantize_start": min(1_000, steps // 8) if isinstance(steps, int) else 0,
    }
    return CodecTrainConfig(**{**defaults, **changes})


def adapt(**changes: Any) -> CodecTrainConfig:
    """Decoder adaptation: train decoder and UnPatchify for the codes of an existing codec.

    ``init_from`` names the codec.
    """
    defaults = {"stage": "adapt", "segment_seconds": 6.0, "weight_masked": 0.0}
    return CodecTrainConfig(**{**defaults, **changes})


def for_stage(stage: str, **changes: Any) -> CodecTrainConfig:
    """Return the config of a stage (``"1"``, ``"2"`` or ``"adapt"``)."""
    makers = {"1": stage1, "2": stage2, "adapt": adapt}
    if stage not in makers:
        raise ValueError(f"stage must be one of {', '.join(STAGES)}, got {stage!r}")
    return makers[stage](**changes)
