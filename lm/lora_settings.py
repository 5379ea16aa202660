"""Settings of a LoRA adapter, and peft's configuration for them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from peft import LoraConfig

    from .model import AudioLM

AUDIO_PARTS = ("embedding", "heads")  # children of the model beside the backbone
MAX_RANK, MAX_ALPHA = 4096, 65536


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Settings of an adapter."""

    rank: int = 16
    alpha: float | None = None  # LoRA is scaled by alpha / rank; None: 2 x rank
    targets: tuple[str, ...] = ()  # names of linear layers of the backbone; empty: all
    dropout: float = 0.0  # on the input of LoRA, in training
    audio: bool = True  # train audio embeddings and heads; False: keep those of the base
    audio_rank: int = 0  # with audio: rank of their updates, scaled alike; 0: train full copies

    def __post_init__(self) -> None:
        if type(self.audio_rank) is not int or self.audio_rank < 0:
            raise ValueError(f"audio_rank must be 0 or more, got {self.audio_rank}")
        if self.audio_rank and not self.audio:
            raise ValueError(f"audio_rank needs audio=True, got {self.audio_rank} without it")
        check_limits([self.rank, self.audio_rank or 1], [] if self.alpha is None else [self.alpha])
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")

    @property
    def scale(self) -> float:
        """Factor of the product of the two LoRA matrices."""
        return (2 * self.rank if self.alpha is None else self.alpha) / self.rank

    def to_peft(self, lm: AudioLM) -> LoraConfig:
        """Return peft's configuration for a language model without adapters.

        Raises:
            ValueError: if a target is no linear layer of the backbone.
        """
        from peft import LoraConfig

        layers = lm.backbone.get_decoder().layers
        linear = {
            path.rpartition(".")[2]
            for path, module in layers.named_modules()
            if isinstance(module, nn.Linear)
        }
        if unknown := sorted(set(self.targets) - linear):
            raise ValueError(
                f"no linear layer of the backbone is named {', '.join(unknown)}; there are"
                f" {', '.join(sorted(linear))}"
            )
        audio = [
            path
            for path, module in lm.named_modules()
            if self.audio_rank
            and path.startswith(AUDIO_PARTS)
            and isinstance(module, nn.Linear | nn.Embedding)
        ]
        return LoraConfig(
            task_type="CAUSAL_LM",  # type: ignore[arg-type]
            r=self.rank,
            lora_alpha=self.scale * self.rank,  # type: ignore[arg-type]
            lora_dropout=self.dropout,
            target_modules=sorted(self.targets or linear) + audio,
            modules_to_save=list(AUDIO_PARTS) if self.audio and not self.audio_rank else None,
            rank_pattern={path: self.audio_rank for path in audio},
            alpha_pattern={path: self.scale * self.audio_rank for path in audio},
        )


def check_limits(ranks: Iterable[object], alphas: Iterable[object]) -> None:
    """Check ranks and alphas before memory is allocated for them.

    Raises:
        ValueError: if one is no number, or outside the limits.
    """
    for rank in ranks:
        if type(rank) is not int or not 1 <= rank <= MAX_RANK:
            raise ValueError(
                f"the rank of LoRA must be at least 1 and at most {MAX_RANK}, got {rank!r}"
            )
    for alpha in alphas:
        if type(alpha) not in (int, float) or not 0 < alpha <= MAX_ALPHA:  # type: ignore[operator]
            raise ValueError(f"the alpha of LoRA must be in (0, {MAX_ALPHA}], got {alpha!r}")
