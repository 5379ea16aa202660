"""Speech recognition: LibriSpeech, Common Voice.

From scratch with a SentencePiece tokenizer trained on the texts, or --backbone for a pretrained
text model with LoRA. Values are ours (D; paper.md 8 gives none), for one GPU, and were not run
here.
"""

from dataclasses import dataclass
from typing import ClassVar

from almtok.core.options import option
from almtok.lm.train.config import LMTrainingConfig

from .language_model import LMRecipeOptions, lm_config, lm_stages
from .run import Stage


@dataclass(frozen=True, kw_only=True)
class Options(LMRecipeOptions):
    """LibriSpeech by default."""

    domain: ClassVar[str] = "speech"
    corpus: list[str] = option(["librispeech"], "public corpora: librispeech, commonvoice")


def lm(o: Options) -> LMTrainingConfig:
    """Text counts double beside the many codes, and a CTC loss aligns both."""
    return lm_config(
        o,
        tasks=["asr"],
        text_form="plain",  # LibriSpeech has no other
        model={"text_weight": 2.0, "ctc_weight": 0.3},
        steps=200_000,
    )


def stages(o: Options) -> list[Stage]:
    """Return the stages: encode, train, evaluate the WER."""
    return lm_stages(o, lm(o), "--no-generate")
