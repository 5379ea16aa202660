"""Values for the players of Gradio."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Sound = tuple[int, npt.NDArray[np.int16]]  # rate in Hz, samples [S]


def sound(wav: Any, sample_rate: int) -> Sound:
    """Samples [S] in [-1, 1] for ``gr.Audio``, which would scale float samples to full level."""
    samples = np.asarray(wav, np.float32).ravel()
    return sample_rate, (np.clip(samples, -1.0, 1.0) * 32767.0).astype(np.int16)
