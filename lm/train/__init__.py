"""Training of the language model: pretraining, fine-tuning and adapters.

``config`` describes a run and ``run`` executes it: ``initial_model`` builds the model, ``corpus``
and ``batches`` its data, ``trainer`` makes the optimiser steps, ``checkpoint`` reads and writes
their state, ``validation`` evaluates held-out rows, ``monitor`` writes the metrics.
"""

from typing import TYPE_CHECKING

from ...core.lazy import lazy_names
from .config import LMTrainingConfig, finetune, pretrain

if TYPE_CHECKING:
    from ...core.training.loop import TrainingStopped
    from .run import LMTrainResult, train_lm
    from .trainer import AudioLMTrainer

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
        "...core.training.loop": ("TrainingStopped",),
        ".trainer": ("AudioLMTrainer",),
    },
)
