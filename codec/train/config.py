"""Configuration of a training run. Does not import torch.

The functions :func:`stage1`, :func:`stage2` and :func:`adapt` return a config with the defaults of
a stage; keywords override fields. The flags of ``almtok codec train`` are made of the fields and
their help texts.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from ...core.choices import check_training_device
from ...core.training.config import RunConfig, option
from ..losses.registry import LOSSES, LossSpec, with_loss_weights

STAGES = ("1", "2", "adapt")
# With "-all", convolutions too.
PRECISIONS = ("auto", "auto-all", "fp32", "bf16", "bf16-all", "fp16", "fp16-all")
SCHEDULES = ("constant", "cosine", "exponential")
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

    # Model.
    stage: str = option(
        "1",
        "1: patchify + unpatchify; 2: all but patchify; adapt: decoder side, frozen codes",
        STAGES,
    )
    preset: str = option("mini", "model preset: tiny, mini, base, paper")
    model_config: str | None = option(
        None, "folder or config.json of the model instead of a preset"
    )
    model: dict[str, Any] = option({}, "JSON object of model config fields to override")
    init_from: str | None = option(
        None, "run folder, checkpoint or saved model of the initial weights"
    )
    heads_from: str | None = option(
        None, "run whose loss heads (phones, spectrum, ...) are loaded (default: init_from)"
    )
    freeze_patchify: bool = option(True, "stage 2: do not train patchify (paper.md 5.2)")
    prior: str | None = option(None, "prior.safetensors for the first codebook (stage 2)")
    listener: str | None = option(
        None, "file of 'almtok codec phonemes', for the weights phones, first_phones, recognition"
    )

    # Data.
    data: list[str] = option([], "training sources: folder, manifest, Parquet, hf:NAME; DOMAIN=...")
    validation_data: list[str] = option([], "held-out sources, same forms")
    dataset: dict[str, Any] = option({}, "JSON object of data config fields to override")
    cache_dir: str | None = option(None, "folder of decoded audio (default: OUT/cache)")
    segment_seconds: float = option(3.0, "length of a training crop in seconds")
    num_workers: int = option(1, "data loading processes (0: in the training process)")

    # Run.
    out: str = option("runs/codec", "run folder")
    steps: int = option(10_000, "number of optimiser steps")
    batch_size: int = option(16, "crops per optimiser step, over all processes and micro-batches")
    accumulate: int = option(1, "micro-batches into which a step's crops are divided")
    seed: int = option(0, "seed of all random choices")

    # Optimisers (generator and discriminators alike).
    lr: float = option(2e-4, "peak learning rate of the generator")
    discriminator_lr: float = option(2e-4, "peak learning rate of the discriminators")
    muon_lr: float = option(
        0.0, "above 0: Muon with this peak rate for the Transformers' matrices, AdamW for the rest"
    )
    autoregressive_lr_scale: float = option(1.0, "learning rate factor of the AR transformer")
    betas: list[float] = option([0.8, 0.99], "AdamW betas")
    weight_decay: float = option(0.01, "AdamW weight decay (not of norms, biases, tokens)")
    schedule: str = option("cosine", "learning rate after warm-up: constant, cosine, exponential")
    warmup_steps: int = option(500, "linear warm-up steps")
    lr_floor: float = option(0.05, "final learning rate as a share of the peak")
    clip_norm: float = option(1.0, "maximum gradient norm (clipping); 0: no clipping")
    ema_decay: float = option(
        0.999, "decay of the exponential moving average of weights; 0: no average"
    )

    # Losses: a field weight_NAME for each entry of codec/losses/registry.py; 0 switches it off.
    balancer: bool = option(
        True, "EnCodec's gradient balancer for time, mel, adversarial, matching"
    )
    balancer_decay: float = option(0.99, "decay of the balancer's gradient norms")
    mel: dict[str, Any] = option({}, "JSON object of mel loss fields to override")
    discriminators: dict[str, Any] = option({}, "JSON object of discriminator fields to override")
    masked: dict[str, Any] = option({}, "JSON object of MAE fields to override")
    autoregressive: dict[str, Any] = option({}, "JSON object of AR fields to override")
    adversarial_kind: str = option("hinge", "hinge or least_squares")
    adversarial_start: int = option(1_000, "first step with discriminators; negative: never")
    discriminator_probability: float = option(
        2 / 3, "chance that a step updates the discriminators"
    )

    # Quantiser.
    quantize_start: int = option(
        0, "stage 2: first step with quantization; earlier steps train without codebooks"
    )
    replace_codebooks: bool = option(
        False, "stage 2: initialise all codebooks again, from the queries of init_from"
    )
    quantize_probability: float = option(1.0, "share of crops decoded from quantised queries")

    # Execution.
    precision: str = option(
        "auto",
        "auto: native precision of the device; fp32; bf16, fp16: autocast of the Transformers;"
        " with -all (such as auto-all): also of convolutions",
    )
    device: str = option("auto", "auto: an accelerator if there is one; cpu, cuda, mps, xpu")

    # Skipped steps and alarms.
    max_skips: int = option(10, "stop after this many skipped steps in a row")
    explode_factor: float = option(
        50.0, "skip a step whose gradient norm exceeds this multiple of its average"
    )
    alarm_usage: float = option(
        0.05, "alarm of codebook collapse if a smaller share of a layer is used"
    )
    alarm_discriminator: float = option(
        0.1, "alarm of dominant discriminators if their loss is smaller"
    )
    alarm_after: int = option(200, "first step with alarms")

    # Logs, validation and checkpoints.
    log_every: int = option(10, "steps between lines of metrics.jsonl")
    validate_every: int = option(1_000, "steps between validations; 0: only at the end")
    validation_clips: int = option(24, "held-out crops per validation")
    checkpoint_every: int = option(1_000, "steps between checkpoints; 0: by time only")
    checkpoint_minutes: float = option(10.0, "minutes between checkpoints; 0: by steps only")
    keep: int = option(2, "checkpoints kept")
    tensorboard: bool = option(True, "write TensorBoard files if it is installed")
    progress: bool = option(True, "show a progress bar")

    def __post_init__(self) -> None:
        object.__setattr__(self, "stage", str(self.stage))
        for name, allowed in (
            ("stage", STAGES),
            ("precision", PRECISIONS),
            ("schedule", SCHEDULES),
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
            if spec.needs_listener and self.weight_of(spec) > 0 and self.listener is None:
                raise ValueError(
                    f"weight_{spec.name} needs listener (almtok codec phonemes), got none"
                )
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
        values = {name: value for name, value in values.items() if name not in _REMOVED}
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
    defaults = {
        "stage": "2",
        "segment_seconds": 6.0,  # queries need context (paper.md 5.4)
        "weight_masked": 0.1,
        "weight_autoregressive": 0.1,
        "weight_commitment": 0.2,
        # The first queries depend on little more than loudness, and codebooks that are initialised
        # from them stay limited to it; short runs start earlier.
        "quantize_start": min(1_000, int(changes.get("steps", 10_000)) // 8),
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
