"""Training of the codec: one loop, whose stages are configurations.

``config`` says what, ``loop`` does it: ``state`` holds the live objects, ``step`` one batch of
losses and gradients, ``update`` one optimiser step, ``checkpoint`` what survives a crash,
``monitor`` what a person sees.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .config import CodecTrainConfig, adapt, stage1, stage2

if TYPE_CHECKING:
    from .checkpoint import CheckpointError
    from .loop import TrainingStopped, TrainResult, train_codec

__all__ = [
    "CheckpointError",
    "CodecTrainConfig",
    "TrainResult",
    "TrainingStopped",
    "adapt",
    "stage1",
    "stage2",
    "train_codec",
]

# These load torch, so they are imported when they are first asked for (PEP 562).
_HOMES = {
    "CheckpointError": ".checkpoint",
    "TrainResult": ".loop",
    "TrainingStopped": ".loop",
    "train_codec": ".loop",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
