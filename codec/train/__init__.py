"""Training of the codec: one loop, whose stages are configurations.

``config`` describes a run and ``trainer`` executes it: ``state`` holds the live objects, ``step``
computes losses and gradients of a micro-batch, ``update`` makes one optimiser step, ``validation``
evaluates held-out crops, ``monitor`` writes the metrics.
"""

from typing import TYPE_CHECKING

from ...core.lazy import lazy_names
from .config import CodecTrainConfig, adapt, stage1, stage2

if TYPE_CHECKING:
    from ...core.training.checkpoint import CheckpointError
    from ...core.training.loop import TrainingStopped
    from .trainer import TrainResult, train_codec

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
        "...core.training.loop": ("TrainingStopped",),
        ".trainer": ("TrainResult", "train_codec"),
    },
)
