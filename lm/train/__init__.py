"""Training of the language model: one loop for pretraining, fine-tuning and adapters.

``config`` says what, ``run`` does it: ``start`` is the model before the first step, ``corpus`` and
``batches`` what it learns from, ``trainer`` the steps, ``saved`` what survives a crash,
``validation`` and ``monitor`` what a person sees.
"""

from typing import TYPE_CHECKING

from ...core.lazy import lazy_names
from .config import LMTrainingConfig, finetune, pretrain

if TYPE_CHECKING:
    from .run import LMTrainResult, train_lm
    from .trainer import AudioLMTrainer, TrainingStopped

__all__ = [
    "AudioLMTrainer",
    "LMTrainResult",
    "LMTrainingConfig",
    "TrainingStopped",
    "finetune",
    "pretrain",
    "train_lm",
]

# These load torch, pyarrow or transformers.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        ".run": ("LMTrainResult", "train_lm"),
        ".trainer": ("AudioLMTrainer", "TrainingStopped"),
    },
)
