"""Text to speech: LJSpeech (one voice) or LibriTTS (voices from a few seconds).

From scratch with a SentencePiece tokenizer trained on the texts, or --backbone for a pretrained
text model with LoRA. ASR is trained too, so that `almtok tts --check` can verify speech. Values are
ours (D; paper.md 8 gives none), for one GPU, and were not run here.
"""

from dataclasses import dataclass
from typing import ClassVar

from almtok.core.options import option
from almtok.lm.train.config import LMTrainingConfig

from .language_model import LMRecipeOptions, lm_config, lm_stages
from .run import Stage


@dataclass(frozen=True, kw_only=True)
class Options(LMRecipeOptions):
    """LJSpeech by default; --corpus libritts for many voices."""

    domain: ClassVar[str] = "speech"
    corpus: list[str] = option(["ljspeech"], "public corpora: ljspeech, libritts, vctk")
    voices: float = option(
        0.0, "share of training rows with a voice prompt; 0.5 for zero-shot voices"
    )


def lm(o: Options) -> LMTrainingConfig:
    """Return the training: three of four examples are TTS, the fourth is ASR."""
    steps = 40_000 if o.corpus == ["ljspeech"] and not o.train else 200_000
    return lm_config(o, tasks=["tts=3", "asr"], voices=o.voices, max_seconds=20.0, steps=steps)


def stages(o: Options) -> list[Stage]:
    """Return the stages: encode, train, evaluate by an independent recognizer."""
    return lm_stages(o, lm(o), *(["--voices"] if o.voices else []))
