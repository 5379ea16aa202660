"""Training of the codec: one loop, whose stages are configurations.

``config`` says what, ``loop`` does it: ``state`` holds the live objects, ``step`` one batch of
losses and gradients, ``update`` one optimiser step, ``checkpoint`` what survives a crash,
``monitor`` what a person sees.
"""

from typing import TYPE_CHECKING

from ...core.lazy import lazy_names
from .config import CodecTrainConfig, adapt, stage1, stage2

if TYPE_CHECKING:
    from ...core.training.checkpoint import CheckpointError
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

# These load torch.
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "...core.training.checkpoint": ("CheckpointError",),
        ".loop": ("TrainResult", "TrainingStopped", "train_codec"),
    },
)
