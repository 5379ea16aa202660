"""Text to music: MusicCaps, or your own music with captions.

FMA has no captions (its genres are numbers) and serves the codec only. Values are ours (D; paper.md
8 gives none), for one GPU, and were not run here.
"""

from dataclasses import dataclass
from typing import ClassVar

from almtok.core.options import option
from almtok.lm.train.config import LMTrainingConfig

from .language_model import LMRecipeOptions, lm_config, lm_stages
from .run import Stage


@dataclass(frozen=True, kw_only=True)
class Options(LMRecipeOptions):
    """MusicCaps by default."""

    domain: ClassVar[str] = "music"
    corpus: list[str] = option(["musiccaps"], "public corpora: musiccaps")


def lm(o: Options) -> LMTrainingConfig:
    """Return the training. With little data, --backbone is recommended."""
    return lm_config(o, tasks=["text_to_music=2", "music_caption"], steps=50_000)


def stages(o: Options) -> list[Stage]:
    """Return the stages: encode, train, evaluate retrieval and captions."""
    return lm_stages(o, lm(o), "--domains", "music", "--recognizer", "none")
