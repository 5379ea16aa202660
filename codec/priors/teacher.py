"""What every teacher of the semantic prior has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor


class Teacher(ABC):
    """Audio at the teacher's own rate in, one vector per feature frame out.

    Attributes:
        name: what made the features, written into the prior file.
        dim: width P of a vector.
        sample_rate: rate in Hz that ``features`` expects.
        frame_rate: vectors per second.
        min_samples: shortest clip that gives a vector.
        piece_seconds: longer clips are cut into pieces of this length before they are read.
    """

    name: str
    dim: int
    sample_rate: int
    frame_rate: float
    min_samples: int
    piece_seconds: float = 30.0

    def features(self, wav: Tensor) -> Tensor:
        """Return the features [N, P] float32 of one clip ``wav`` [S]."""
        return self.features_batch([wav])[0]

    @torch.inference_mode()
    def features_batch(self, wavs: Sequence[Tensor]) -> list[Tensor]:
        """Return one [N, P] float32 tensor per clip; a clip's features do not depend on the others.

        Args:
            wavs: clips [S], float in [-1, 1], mono, at ``sample_rate`` Hz, of any lengths.
        """
        for wav in wavs:
            if wav.ndim != 1:
                raise ValueError(f"{self.name}: a clip must be [S], got {list(wav.shape)}")
            if wav.numel() < self.min_samples:
                raise ValueError(
                    f"{self.name}: a clip needs {self.min_samples} samples at "
                    f"{self.sample_rate} Hz, got {wav.numel()}"
                )
        if not wavs:
            return []
        # cuDNN would by default round convolutions to TF32, and a prior is made only once.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            return self._features([wav.float() for wav in wavs])

    @abstractmethod
    def _features(self, wavs: list[Tensor]) -> list[Tensor]:
        """Do the work of ``features_batch`` on checked clips."""
