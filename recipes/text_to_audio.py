"""Text to sound: AudioCaps, Clotho, labels of ESC-50 or AudioSet.

Captioning is trained too, for retrieval scores. Values are ours (D; paper.md 8 gives none), for one
GPU, and were not run here.
"""

from dataclasses import dataclass
from typing import ClassVar

from almtok.core.options import option
from almtok.lm.train.config import LMTrainingConfig

from .language_model import LMRecipeOptions, lm_config, lm_stages
from .run import Stage


@dataclass(frozen=True, kw_only=True)
class Options(LMRecipeOptions):
    """AudioCaps and Clotho by default."""

    domain: ClassVar[str] = "sound"
    corpus: list[str] = option(
        ["audiocaps", "clotho"], "public corpora: audiocaps, clotho, esc50, audioset"
    )


def lm(o: Options) -> LMTrainingConfig:
    """Return the training. The model drops a tenth of the conditions, for guidance."""
    return lm_config(o, tasks=["text_to_audio=2", "audio_caption"])


def stages(o: Options) -> list[Stage]:
    """Return the stages: encode, train, evaluate retrieval and captions."""
    return lm_stages(o, lm(o), "--domains", "sound", "--recognizer", "none")
