"""Training of the language model: one loop for pretraining, fine-tuning and adapters.

``config`` says what, ``run`` does it: ``start`` is the model before the first step, ``corpus`` and
``batches`` what it learns from, ``trainer`` the steps, ``saved`` what survives a crash,
``validation`` and ``monitor`` what a person sees.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

# These load torch, so they are imported when they are first asked for (PEP 562).
_HOMES = {
    "AudioLMTrainer": ".trainer",
    "LMTrainResult": ".run",
    "TrainingStopped": ".trainer",
    "train_lm": ".run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
