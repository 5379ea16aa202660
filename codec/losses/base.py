"""What every loss of codec training implements, and what it can read of a forward pass.

Shapes: B batch, S samples, T frames, Q queries, K codebooks, D width, P phonemes or pitches.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from torch import Tensor, nn

from ..config import ALMTokenizerConfig
from .registry import LossSpec

if TYPE_CHECKING:
    from ..train.config import CodecTrainConfig
    from .discriminators import DiscriminatorOutput

Config = TypeVar("Config")


class PhonemePosteriors(Protocol):
    """What losses use of a phoneme classifier; ``almtok.codec.phonemes`` implements it."""

    @property
    def num_phones(self) -> int:
        """Number of phonemes P."""

    def target_log_posteriors(self, wav: Tensor) -> Tensor:
        """Log-probabilities `[B, T, P]` of waveforms `[B, 1, S]`, without gradients."""

    def log_posteriors(self, wav: Tensor) -> Tensor:
        """The same, with gradients."""


@dataclass(frozen=True)
class LossSetup:
    """What a loss can be built from."""

    config: CodecTrainConfig
    model: ALMTokenizerConfig
    listener: PhonemePosteriors | None = None  # the phoneme classifier, frozen


@dataclass(kw_only=True)
class ForwardPass:
    """Tensors of the forward pass of one micro-batch; None where the stage has no such tensor."""

    target: Tensor  # [B, 1, S], the recording, cut to whole windows
    seeds: Tensor  # [B] int64, one per crop
    frames_per_query: int  # w of this step
    # [B, 1, S]. Losses on the waveform get it cut from the generator's graph.
    output: Tensor | None = None
    frames: Tensor | None = None  # [B, T, D] of Patchify
    queries: Tensor | None = None  # [B, Q, D], input of the query decoder
    layers: Tensor | None = None  # [B, Q, K, D], contribution of each RVQ layer
    commitment: Tensor | None = None  # scalar, of the quantizer
    decoded: Tensor | None = None  # [B, T, D] of the query decoder
    pitch: Tensor | None = None  # [B, T, P] logits of the harmonic-plus-noise vocoder
    phonemes: Tensor | None = None  # [B, T, P] log-probabilities of the target
    encode_frames: Callable[[Tensor], Tensor] | None = None  # query encoder on frames alone
    real: Sequence[DiscriminatorOutput] | None = None  # discriminators on the target
    fake: Sequence[DiscriminatorOutput] | None = None  # discriminators on the output


class TrainingLoss(nn.Module):
    """A loss of codec training, named by its entry in :data:`~.registry.LOSSES`.

    Parameters of the module are trained and saved together with the codec, and left out of the
    exported codec.
    """

    @classmethod
    def from_setup(cls, setup: LossSetup) -> Self | None:
        """Build the loss; None if the model has nothing that it could be computed from."""
        return cls()

    def compute(self, forward: ForwardPass) -> Tensor | None:
        """Return a scalar: a mean over the batch; None if this step lacks a tensor.

        A mean of values that depend on one item each makes the gradient independent of how a batch
        is divided over micro-batches and processes.
        """
        raise NotImplementedError


def build_losses(specs: Sequence[LossSpec], setup: LossSetup) -> dict[str, TrainingLoss]:
    """Build losses by name, in the order of `specs`."""
    built: dict[str, TrainingLoss | None] = {spec.name: None for spec in specs}
    # The order in which initial weights are drawn; `masked` has always drawn its own last.
    for spec in sorted(specs, key=lambda spec: spec.name == "masked"):
        module, name = spec.implementation.split(":")
        implementation = getattr(import_module(f".{module}", __package__), name)
        built[spec.name] = implementation.from_setup(setup)
    return {name: loss for name, loss in built.items() if loss is not None}


def component_config(kind: type[Config], values: Mapping[str, Any], **defaults: Any) -> Config:
    """A component's config dataclass from JSON values (lists become tuples).

    Raises:
        ValueError: if a key is no field of it.
    """
    known = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(values.keys() - known)
    if unknown:
        raise ValueError(
            f"unknown {kind.__name__} option {unknown[0]!r}; known: {', '.join(sorted(known))}"
        )
    given = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return kind(**{**{k: v for k, v in defaults.items() if k in known}, **given})
