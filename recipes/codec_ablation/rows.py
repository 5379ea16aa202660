"""The rows of the ablation: each differs from the reference in one choice."""

from dataclasses import dataclass, field
from typing import Any

REFERENCE = "reference"
# Three resolutions at an eighth of the width: a fraction of the cost of the paper's six.
_SMALL_DISCRIMINATORS: dict[str, Any] = {
    "discriminators": {"hop_lengths": [64, 256, 1024], "channel_divisor": 8},
    # Beside a mel distance of weight 1, without the balancer.
    "weight_adversarial": 0.05,
    "weight_feature_matching": 0.1,
}
# The reference has neither: its vocoder has phases of its own, and is the one with a pitch.
_WITHOUT_PITCH: dict[str, Any] = {"weight_time": 0.1, "weight_pitch": 0.0}


@dataclass(frozen=True)
class Row:
    """One row of the ablation."""

    what: str  # for the table
    training: dict[str, Any] = field(default_factory=dict)  # fields of stage 2 that differ
    model: dict[str, Any] = field(default_factory=dict)  # fields of the codec that differ
    discriminators: bool = False  # small ones, from a fifth of the steps on

    @property
    def one_stage(self) -> bool:
        """Whether there is no stage 1."""
        return self.training.get("freeze_patchify") is False

    def changes(self, steps: int) -> dict[str, Any]:
        """Fields of a training of so many steps that differ from the reference, but the model."""
        if not self.discriminators:
            return self.training
        return {**self.training, **_SMALL_DISCRIMINATORS, "adversarial_start": steps // 5}


def _vocoder(what: str, unpatchify: str, discriminators: bool = False) -> Row:
    return Row(what, _WITHOUT_PITCH, {"unpatchify": unpatchify}, discriminators)


ROWS: dict[str, Row] = {
    REFERENCE: Row(
        "frozen prior in the first codebook, two stages, queries, harmonic vocoder; neither MAE nor"
        " AR in stage 2, no discriminators",
        model={"unpatchify": "harmonic"},
    ),
    "trainable": Row(
        "first codebook trainable, without prior", {"prior": None}, {"prior_codebooks": "none"}
    ),
    "mae_ar": Row(
        "MAE and AR in stage 2, weight 0.1",
        {"weight_masked": 0.1, "weight_autoregressive": 0.1},
    ),
    "one_stage": Row(
        "one stage: all parts from the start", {"freeze_patchify": False, "init_from": None}
    ),
    "pooling": Row("means over windows instead of queries", model={"pooling": "mean"}),
    "mirror": _vocoder("mirror of Patchify", "mirror"),
    "mirror_gan": _vocoder("mirror of Patchify, small discriminators", "mirror", True),
    "istft": _vocoder("inverse STFT", "istft"),
    "istft_gan": _vocoder("inverse STFT, small discriminators", "istft", True),
}


def chosen_rows(names: list[str]) -> dict[str, Row]:
    """Rows by name in the order of the table; all without names.

    Raises:
        ValueError: there is no such row.
    """
    for name in names:
        if name not in ROWS:
            raise ValueError(f"rows must be among {', '.join(ROWS)}, got {name!r}")
    return {name: row for name, row in ROWS.items() if name in names or not names}
