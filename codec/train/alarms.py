"""Alarms: what goes wrong quietly in codec training, said aloud once when it begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .config import CodecTrainConfig

# Share of the old value in the running average of the discriminators' loss, per log line.
_SMOOTHING = 0.9


@dataclass(kw_only=True)
class TrainingAlarms:
    """Watches codebook usage and the discriminators' loss.

    An alarm rings when its condition begins and is silent until the condition has ended.
    """

    config: CodecTrainConfig
    ringing: set[str] = field(default_factory=set)
    discriminator_loss: float | None = None  # running average

    def check(
        self, step: int, losses: Mapping[str, float], codebooks: Sequence[Mapping[str, float]]
    ) -> list[str]:
        """Messages of the alarms that begin to ring.

        Args:
            step: Number of the step.
            losses: Mean losses since the last check.
            codebooks: ``usage`` and ``perplexity`` of each RVQ layer, first layer first.
        """
        if "discriminator" in losses:
            before = self.discriminator_loss
            now = losses["discriminator"]
            self.discriminator_loss = (
                now if before is None else _SMOOTHING * before + (1 - _SMOOTHING) * now
            )
        if step < self.config.alarm_after:
            return []
        found: dict[str, str] = {}
        for number, book in enumerate(codebooks, start=1):
            if book["usage"] < self.config.alarm_usage:
                found[f"codebook {number}"] = (
                    f"codebook {number} collapses: {book['usage']:.1%} of its entries are used"
                    f" (perplexity {book['perplexity']:.1f}); lower the learning rate, raise the"
                    " batch, or check the prior"
                )
        late = step >= self.config.adversarial_start + self.config.alarm_after
        if late and self.discriminator_loss is not None:
            if self.discriminator_loss < self.config.alarm_discriminator:
                found["discriminator"] = (
                    f"the discriminators dominate: their loss averages"
                    f" {self.discriminator_loss:.3f}; lower discriminator_lr or"
                    " discriminator_probability"
                )
        new = [message for name, message in found.items() if name not in self.ringing]
        self.ringing = set(found)
        return new
