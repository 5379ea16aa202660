"""Base class of the teachers of semantic priors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor


class Teacher(ABC):
    """Computes feature vectors of clips.

    Attributes:
        name: of the teacher, written to the prior file.
        dim: width P of a vector.
        sample_rate: of the clips, in Hz.
        frame_rate: vectors per second.
        min_samples: minimum length of a clip.
        piece_seconds: longer clips are split into pieces of this length.
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
                raise ValueError(f"{self.name}: clips must be [S], got {list(wav.shape)}")
            if wav.numel() < self.min_samples:
                raise ValueError(
                    f"{self.name}: clips must have at least {self.min_samples} samples at "
                    f"{self.sample_rate} Hz, got {wav.numel()}"
                )
        if not wavs:
            return []
        # By default cuDNN convolutions use TF32 and may be nondeterministic.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            return self._features([wav.float() for wav in wavs])

    @abstractmethod
    def _features(self, wavs: list[Tensor]) -> list[Tensor]:
        """Compute the features of checked clips."""
