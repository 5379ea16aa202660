"""Music from descriptions: MusicCaps, or a collection of your own with captions.

FMA has no captions (its genres are numbers): give it to the codec, and captioned music here. Values
are ours (D; paper.md 8 gives none), for one GPU; never run to its end by us.
"""

from dataclasses import dataclass

from almtok.core.training.config import option
from almtok.lm.train.config import LMTrainingConfig

from ..language import LMRecipeOptions, lm_config, lm_stages
from ..run import Stage


@dataclass(frozen=True, kw_only=True)
class Options(LMRecipeOptions):
    """MusicCaps unless something else is asked for."""

    corpus: list[str] = option(["musiccaps"], "public corpora by name: musiccaps")


def lm(o: Options) -> LMTrainingConfig:
    """Little data: begin from a pretrained --backbone where you can."""
    return lm_config(o, tasks=["text_to_music=2", "music_caption"], steps=50_000)


def stages(o: Options) -> list[Stage]:
    """Codes, the training, retrieval among descriptions."""
    return lm_stages(o, lm(o), "--domains", "music", "--recogniser", "none")
