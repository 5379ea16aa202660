"""Text to speech: LJSpeech (one voice) or LibriTTS (voices from a few seconds).

From scratch with a SentencePiece tokenizer trained on the texts, or --backbone for a pretrained
text model with LoRA. Recognition is learned beside it, so that speech can be checked as it is made.
Values are ours (D; paper.md 8 gives none), for one GPU; never run to its end by us.
"""

from dataclasses import dataclass

from almtok.core.training.config import option
from almtok.lm.train.config import LMTrainingConfig

from ..language import LMRecipeOptions, lm_config, lm_stages
from ..run import Stage


@dataclass(frozen=True, kw_only=True)
class Options(LMRecipeOptions):
    """LJSpeech unless something else is asked for; --corpus libritts for voices."""

    corpus: list[str] = option(["ljspeech"], "public corpora by name: ljspeech, libritts, vctk")
    voices: float = option(0.0, "share of examples told who speaks; 0.5 for corpora of many voices")


def lm(o: Options) -> LMTrainingConfig:
    """Three of four examples speak; the fourth listens."""
    steps = 40_000 if o.corpus == ["ljspeech"] and not o.train else 200_000
    return lm_config(o, tasks=["tts=3", "asr"], voices=o.voices, max_seconds=20.0, steps=steps)


def stages(o: Options) -> list[Stage]:
    """Codes, the training, scores by an independent recogniser."""
    return lm_stages(o, lm(o), *(["--voices"] if o.voices else []))
