"""Base of the losses of codec training, and the forward pass that they are computed from.

Shapes: B batch, S samples, T frames, Q queries, K codebooks, D width, P phonemes or pitches,
N frames of the teacher of speech, V its width, B' clips of speech in the batch.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from torch import Tensor, nn

from ...core.field_types import check_value
from ..config import ALMTokenizerConfig
from .registry import LossSpec

if TYPE_CHECKING:
    from ..train.config import CodecTrainConfig
    from .discriminators import DiscriminatorOutput

Config = TypeVar("Config")


class PhonemePosteriors(Protocol):
    """Interface of a phoneme classifier for losses (``almtok.codec.phonemes``)."""

    @property
    def num_phones(self) -> int:
        """Number of phonemes P."""

    def target_log_posteriors(self, wav: Tensor) -> Tensor:
        """Log-probabilities `[B, T, P]` of waveforms `[B, 1, S]`, without gradients."""

    def log_posteriors(self, wav: Tensor) -> Tensor:
        """Log-probabilities `[B, T, P]` of waveforms `[B, 1, S]`, with gradients."""


class SpeechTeacher(Protocol):
    """Interface of a teacher of speech for losses (``almtok.codec.whisper``)."""

    @property
    def dim(self) -> int:
        """Width V of all layers together."""

    @property
    def hop_length(self) -> int:
        """Samples per feature vector."""

    def features(self, wav: Tensor) -> Tensor:
        """Features `[B, N, V]` of waveforms `[B, 1, S]`, with gradients."""


@dataclass(frozen=True)
class LossSetup:
    """Arguments of :meth:`TrainingLoss.from_setup`."""

    config: CodecTrainConfig
    model: ALMTokenizerConfig
    phoneme_classifier: PhonemePosteriors | None = None  # the phoneme classifier, frozen
    teacher: SpeechTeacher | None = None  # frozen


@dataclass(kw_only=True)
class ForwardPass:
    """Tensors of the forward pass of one micro-batch; None for tensors that a stage lacks."""

    target: Tensor  # [B, 1, S], the recording, cut to whole windows
    seeds: Tensor  # [B] int64, one per crop
    frames_per_query: int  # w of this step
    # [B, 1, S], detached from the generator's graph for losses on the waveform
    output: Tensor | None = None
    frames: Tensor | None = None  # [B, T, D] of Patchify
    queries: Tensor | None = None  # [B, Q, D], input of the query decoder
    layers: Tensor | None = None  # [B, Q, K, D], contribution of each RVQ layer
    commitment: Tensor | None = None  # scalar, of the quantizer
    decoded: Tensor | None = None  # [B, T, D] of the query decoder
    pitch: Tensor | None = None  # [B, T, P] logits of the harmonic-plus-noise vocoder
    phonemes: Tensor | None = None  # [B, T, P] log-probabilities of the target
    speech: Tensor | None = None  # [B'] int64, numbers of the clips that may be speech
    features: Tensor | None = None  # [B', N, V] of these clips of the target, by the teacher
    encode_frames: Callable[[Tensor], Tensor] | None = None  # query encoder without queries
    real: Sequence[DiscriminatorOutput] | None = None  # discriminators on the target
    fake: Sequence[DiscriminatorOutput] | None = None  # discriminators on the output


class TrainingLoss(nn.Module):
    """A loss of codec training, named by its entry in :data:`~.registry.LOSSES`.

    Parameters of the module are trained and saved with the codec, but not exported.
    """

    @classmethod
    def from_setup(cls, setup: LossSetup) -> Self | None:
        """Build the loss; None if it cannot be computed for the model."""
        return cls()

    def compute(self, forward: ForwardPass) -> Tensor | None:
        """Return a scalar, a mean over the batch; None if this step lacks a tensor.

        Each value of the mean must depend on one item only: then the gradient does not depend on
        how a batch is divided over micro-batches and processes.
        """
        raise NotImplementedError


def build_losses(specs: Sequence[LossSpec], setup: LossSetup) -> dict[str, TrainingLoss]:
    """Build losses by name, in the order of `specs`."""
    built: dict[str, TrainingLoss | None] = {spec.name: None for spec in specs}
    # The order of the random initial weights: `masked` is the last.
    for spec in sorted(specs, key=lambda spec: spec.name == "masked"):
        module, name = spec.implementation.split(":")
        implementation = getattr(import_module(f".{module}", __package__), name)
        built[spec.name] = implementation.from_setup(setup)
    return {name: loss for name, loss in built.items() if loss is not None}


def component_config(kind: type[Config], values: Mapping[str, Any], **defaults: Any) -> Config:
    """Build a config dataclass from JSON values (lists become tuples).

    Args:
        kind: The dataclass.
        values: Fields by name.
        **defaults: Defaults of fields; names that are not fields are ignored.

    Raises:
        ValueError: A key of ``values`` is not a field, or a value has another type than it.
    """
    fields = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(values.keys() - fields)
    if unknown:
        raise ValueError(
            f"{kind.__name__} option must be one of {', '.join(sorted(fields))}, got {unknown[0]!r}"
        )
    options = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    hints = typing.get_type_hints(kind)
    for name, value in options.items():
        check_value(f"{kind.__name__}.{name}", value, hints[name])
    return kind(**{**{k: v for k, v in defaults.items() if k in fields}, **options})
