"""Objects of a training run, and their tensors in checkpoints."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ...core.reading import read_json_object, reading
from ...core.runtime import Runtime, choose_runtime
from ...core.size_limit import SizeLimit
from ...core.training import optimizer as optim
from ...core.training.checkpoint import (
    STATE_FILE,
    Checkpoint,
    find_source,
    newest_checkpoint,
    restore,
    tensors_of,
)
from ...core.training.ema import WeightAverage
from ...core.training.loss_scale import LossScale
from ...core.training.seeding import draw_int
from ..config import ALMTokenizerConfig
from ..losses.balancer import Balancer
from ..losses.base import LossSetup, TrainingLoss, build_losses, component_config
from ..losses.discriminators import MelDiscriminators, MelDiscriminatorsConfig
from ..losses.reconstruction import MelLoss, WaveformLoss
from ..model import ALMTokenizer
from ..phonemes import PhonemeClassifier
from ..priors import TeacherSpec, load_prior
from ..whisper import WhisperFeatures
from .config import CodecTrainConfig

TRAINED = {  # trained parts of the model by stage
    "1": ("patchify", "unpatchify"),
    "2": ("encoder", "quantizer", "decoder", "unpatchify"),
    "adapt": ("decoder", "unpatchify"),
}


@dataclass(kw_only=True)
class TrainState:
    """Objects of one training run."""

    config: CodecTrainConfig
    runtime: Runtime
    accelerator: Accelerator
    model: ALMTokenizer
    losses: dict[str, TrainingLoss]  # by name
    waveform_loss: WaveformLoss  # for validation, also if its weight is 0
    mel_loss: MelLoss  # for validation, also if its weight is 0
    phoneme_classifier: PhonemeClassifier | None  # the phoneme classifier, if a loss uses it
    teacher: WhisperFeatures | None  # the teacher of speech, if a loss uses it
    discriminators: MelDiscriminators | None
    balancer: Balancer | None
    generator_parameters: dict[str, nn.Parameter]  # of the codec and the losses
    discriminator_parameters: dict[str, nn.Parameter]
    generator_optimizer: torch.optim.Optimizer
    discriminator_optimizer: torch.optim.Optimizer | None
    average: WeightAverage | None
    loss_scale: LossScale | None = None  # of fp16
    step: int = 0  # optimiser steps done
    skipped: int = 0  # skipped steps in total
    skipped_in_a_row: int = 0
    usual_norms: dict[str, float] = field(default_factory=dict)  # average gradient norms
    precision_before: str | None = None  # of the run that a checkpoint is from

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.accelerator.device

    def transformers(self) -> AbstractContextManager[None]:
        """Autocast of the Transformers, unless the precision is fp32."""
        return self.runtime.autocast()

    def convolutions(self) -> AbstractContextManager[None]:
        """Autocast of Patchify and UnPatchify, with precisions that end in ``-all``."""
        return self.runtime.autocast(self.config.precision.endswith("-all"))

    def train_mode(self) -> None:
        """Set trained parts to training mode, which updates codebooks, and others to eval mode."""
        self.model.eval()
        for part in trained_parts(self.config):
            getattr(self.model, part).train()

    @contextmanager
    def averaged(self) -> Iterator[ALMTokenizer]:
        """Context of the model in eval mode with its averaged weights, if there are any."""
        self.model.eval()
        try:
            if self.average is None:
                yield self.model
            else:
                with self.average.applied():
                    yield self.model
        finally:
            self.train_mode()

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Tensors of a checkpoint by file stem."""
        tensors = {
            "model": tensors_of(self.model),
            "objectives": _loss_tensors(self),
            "generator_optimizer": optim.flatten_state(
                self.generator_optimizer, self.generator_parameters
            ),
        }
        if self.average is not None:
            tensors["average"] = self.average.state_dict()
        if self.balancer is not None:
            tensors["balancer"] = self.balancer.state_dict()
        if self.discriminators is not None and self.discriminator_optimizer is not None:
            tensors["discriminators"] = tensors_of(self.discriminators)
            tensors["discriminator_optimizer"] = optim.flatten_state(
                self.discriminator_optimizer, self.discriminator_parameters
            )
        return tensors

    def counters(self) -> dict[str, Any]:
        """JSON values of a checkpoint."""
        return {
            "stage": self.config.stage,
            "skipped": self.skipped,
            "skipped_in_a_row": self.skipped_in_a_row,
            "usual_norms": dict(self.usual_norms),
            "precision": self.runtime.precision,
            "loss_scale": None if self.loss_scale is None else self.loss_scale.state_dict(),
            "config": self.config.to_dict(),
            "model_config": self.model.config.to_dict(),
        }

    def load(self, checkpoint: Checkpoint) -> None:
        """Restore the state from a checkpoint."""
        groups = checkpoint.tensors
        restore(self.model, groups["model"], "model")
        for name, module in loss_heads(self).items():
            restore(module, head_tensors(checkpoint, name), name)
        optim.restore_state(
            self.generator_optimizer,
            self.generator_parameters,
            groups.get("generator_optimizer", {}),
        )
        if self.average is not None:
            self.average.load_state_dict(groups["average"])
        if self.balancer is not None:
            self.balancer.load_state_dict(groups.get("balancer", {}))
        if self.discriminators is not None and self.discriminator_optimizer is not None:
            restore(self.discriminators, groups["discriminators"], "discriminators")
            optim.restore_state(
                self.discriminator_optimizer,
                self.discriminator_parameters,
                groups.get("discriminator_optimizer", {}),
            )
        self.step = checkpoint.step
        self.skipped = checkpoint.state["skipped"]
        self.skipped_in_a_row = checkpoint.state["skipped_in_a_row"]
        self.usual_norms = dict(checkpoint.state["usual_norms"])
        self.precision_before = checkpoint.state.get("precision")
        if self.loss_scale is not None and checkpoint.state.get("loss_scale") is not None:
            self.loss_scale.load_state_dict(checkpoint.state["loss_scale"])


def build_state(config: CodecTrainConfig) -> TrainState:
    """Create the objects of a run with seeded random weights."""
    runtime = choose_runtime(config.device, config.precision.removesuffix("-all"))
    accelerator = Accelerator(cpu=runtime.device.type == "cpu")
    with SizeLimit.of_machine():
        model, losses, discriminators, setup = _build_modules(config, accelerator.device)
    for module in (model, *losses.values(), discriminators):
        if module is not None:
            module.to(accelerator.device)
    generator_modules: dict[str, nn.Module] = {"model": model, **losses}
    generator = {
        f"{name}.{key}": parameter
        for name, module in generator_modules.items()
        for key, parameter in module.named_parameters()
        if parameter.requires_grad
    }
    discriminator_parameters = (
        dict(discriminators.named_parameters()) if discriminators is not None else {}
    )
    state = TrainState(
        config=config,
        runtime=runtime,
        accelerator=accelerator,
        model=model,
        losses=losses,
        waveform_loss=WaveformLoss(),
        mel_loss=MelLoss.from_setup(setup).to(accelerator.device),
        phoneme_classifier=cast("PhonemeClassifier | None", setup.phoneme_classifier),
        teacher=cast("WhisperFeatures | None", setup.teacher),
        discriminators=discriminators,
        balancer=_make_balancer(config, accelerator),
        generator_parameters=generator,
        discriminator_parameters=discriminator_parameters,
        generator_optimizer=_make_optimizer(config, generator, config.lr, muon=True),
        discriminator_optimizer=(
            _make_optimizer(config, discriminator_parameters, config.discriminator_lr, muon=False)
            if discriminator_parameters
            else None
        ),
        average=WeightAverage(model, config.ema_decay) if config.ema_decay > 0 else None,
        loss_scale=LossScale() if runtime.needs_loss_scale else None,
    )
    state.train_mode()
    return state


def _build_modules(config: CodecTrainConfig, device: torch.device) -> Any:
    """The codec, losses and discriminators, and what losses are built from."""
    torch.manual_seed(draw_int(config.seed, "initialisation"))
    model = ALMTokenizer(model_config_of(config))
    model.requires_grad_(False)
    for part in trained_parts(config):
        getattr(model, part).requires_grad_(True)
    phoneme_classifier = _load_classifier(config, model.config, device)
    teacher = _load_teacher(config, model.config, device)
    setup = LossSetup(config, model.config, phoneme_classifier, teacher)
    losses = build_losses(config.losses, setup)
    discriminators = None
    if config.uses_discriminators:
        rate = model.config.sample_rate
        settings = component_config(
            MelDiscriminatorsConfig, config.discriminators, sample_rate=rate
        )
        discriminators = MelDiscriminators(settings)
    return model, losses, discriminators, setup


def trained_parts(config: CodecTrainConfig) -> tuple[str, ...]:
    """Names of the parts of the model that a run trains."""
    parts = TRAINED[config.stage]
    return parts if config.stage != "2" or config.freeze_patchify else ("patchify", *parts)


def model_config_of(config: CodecTrainConfig) -> ALMTokenizerConfig:
    """Configuration of the codec of a run.

    The width of the first codebook follows from the prior, or from the codec that is continued.
    """
    width = None if "prior_dim" in config.model else _prior_dim(config)
    return base_config(config, **({} if width is None else {"prior_dim": width}))


def base_config(config: CodecTrainConfig, **changes: Any) -> ALMTokenizerConfig:
    """Configuration that the preset or ``model_config`` gives; stage 1 has the mirror."""
    changes = {**config.model, **changes}
    if config.stage == "1":
        changes["unpatchify"] = "mirror"
    if config.model_config is None:
        return ALMTokenizerConfig.preset(config.preset, **changes)
    path = Path(config.model_config)
    path = path / "config.json" if path.is_dir() else path
    if not path.is_file():
        raise ValueError(f"model_config must be a folder with config.json or a file, got {path}")
    with reading(path):
        return ALMTokenizerConfig(**{**read_json_object(path), **changes})


def _prior_dim(config: CodecTrainConfig) -> int | None:
    """Width of the prior of a run; None if that of its preset applies."""
    if config.stage == "1":
        return None
    # A resumed run does not need its prior any more.
    source = newest_checkpoint(Path(config.out))
    if source is None and config.prior is not None:
        return load_prior(config.prior).dim
    if source is None and config.init_from is not None:
        source = find_source(config.init_from)
    if source is None:
        return None
    if not (source / STATE_FILE).is_file():
        return ALMTokenizerConfig.from_pretrained(source).prior_dim
    state = read_json_object(source / STATE_FILE)
    return None if state["stage"] == "1" else state.get("model_config", {}).get("prior_dim")


def _load_classifier(
    config: CodecTrainConfig, model: ALMTokenizerConfig, device: torch.device
) -> PhonemeClassifier | None:
    """Load the phoneme classifier if a loss uses it."""
    if config.phoneme_classifier is None or not any(spec.needs_phonemes for spec in config.losses):
        return None
    classifier = PhonemeClassifier.load(config.phoneme_classifier).to(device)
    expected = (model.sample_rate, model.hop_length)
    found = (classifier.config.sample_rate, classifier.config.hop_length)
    if found != expected:
        raise ValueError(
            f"phoneme_classifier must have {expected[0]} Hz and {expected[1]} samples per frame,"
            f" got {found[0]} Hz and {found[1]} ({config.phoneme_classifier})"
        )
    return classifier


def _load_teacher(
    config: CodecTrainConfig, model: ALMTokenizerConfig, device: torch.device
) -> WhisperFeatures | None:
    """Load the teacher of speech if a loss uses it."""
    if config.teacher_speech is None or not any(spec.needs_teacher for spec in config.losses):
        return None
    teacher = WhisperFeatures.from_pretrained(
        TeacherSpec.parse(config.teacher_speech).source,
        layers=config.teacher_layers,
        sample_rate=model.sample_rate,
    )
    longest = teacher.max_samples / teacher.sample_rate
    if config.segment_seconds > longest:
        raise ValueError(
            f"segment_seconds must be at most {longest:g} for {config.teacher_speech},"
            f" got {config.segment_seconds:g}"
        )
    return teacher.to(device)


def _make_balancer(config: CodecTrainConfig, accelerator: Accelerator) -> Balancer | None:
    if not config.balancer:
        return None

    def average(values: Tensor) -> Tensor:
        if accelerator.num_processes == 1:
            return values
        # In float32: not every device has float64.
        on_device = values.float().to(accelerator.device)
        return accelerator.reduce(on_device, reduction="mean").cpu().double()

    return Balancer(config.balanced_weights, decay=config.balancer_decay, average=average)


def _make_optimizer(
    config: CodecTrainConfig, parameters: Mapping[str, nn.Parameter], lr: float, *, muon: bool
) -> torch.optim.Optimizer:
    adamw: dict[str, Any] = dict(
        lr=lr,
        betas=config.betas,
        weight_decay=config.weight_decay,
        lr_scales={"autoregressive.": config.autoregressive_lr_scale},
    )
    if config.muon_lr <= 0 or not muon:
        return optim.make_adamw(parameters, **adamw)
    return optim.make_muon(
        parameters, lr=config.muon_lr, weight_decay=config.weight_decay, adamw=adamw
    )


def loss_heads(state: TrainState) -> dict[str, nn.Module]:
    """Losses with weights by name, which are trained together with the codec."""
    return {name: loss for name, loss in state.losses.items() if tensors_of(loss)}


def head_tensors(checkpoint: Checkpoint, name: str) -> dict[str, Tensor]:
    """Tensors of a loss head in a checkpoint, by name; empty if there are none."""
    values, prefix = checkpoint.tensors.get("objectives", {}), f"{name}."
    return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}


def _loss_tensors(state: TrainState) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value
        for name, module in loss_heads(state).items()
        for key, value in tensors_of(module).items()
    }
