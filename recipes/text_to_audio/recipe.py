"""Sounds from descriptions: AudioCaps, Clotho, labels of ESC-50 or AudioSet.

Captioning is learned beside it, which finds a made sound among descriptions. Values are ours (D;
paper.md 8 gives none), for one GPU; never run to its end by us.
"""

from dataclasses import dataclass

from almtok.core.training.config import option
from almtok.lm.train.config import LMTrainingConfig

from ..language import LMRecipeOptions, lm_config, lm_stages
from ..run import Stage


@dataclass(frozen=True, kw_only=True)
class Options(LMRecipeOptions):
    """AudioCaps and Clotho unless something else is asked for."""

    corpus: list[str] = option(
        ["audiocaps", "clotho"], "public corpora by name: audiocaps, clotho, esc50, audioset"
    )


def lm(o: Options) -> LMTrainingConfig:
    """A tenth of the conditions is dropped (the model's default), for guidance."""
    return lm_config(o, tasks=["text_to_audio=2", "audio_caption"])


def stages(o: Options) -> list[Stage]:
    """Codes, the training, retrieval among descriptions."""
    return lm_stages(o, lm(o), "--domains", "sound", "--recogniser", "none")
