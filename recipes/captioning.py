"""Captioning of sounds and music: AudioCaps, Clotho, MusicCaps.

Values are ours (D; paper.md 8 gives none), for one GPU, and were not run here.
"""

from dataclasses import dataclass

from almtok.core.options import option
from almtok.lm.train.config import LMTrainingConfig

from .language_model import LMRecipeOptions, lm_config, lm_stages
from .run import Stage


@dataclass(frozen=True, kw_only=True)
class Options(LMRecipeOptions):
    """AudioCaps, Clotho and MusicCaps by default."""

    corpus: list[str] = option(
        ["audiocaps", "clotho", "musiccaps"], "public corpora: audiocaps, clotho, musiccaps"
    )


def lm(o: Options) -> LMTrainingConfig:
    """Return the training; its loss has text targets only."""
    return lm_config(o, tasks=["audio_caption", "music_caption"], steps=50_000)


def stages(o: Options) -> list[Stage]:
    """Return the stages: encode, train, evaluate captions."""
    return lm_stages(o, lm(o), "--domains", "sound", "music", "--no-generate")
