"""Pictures as pixels `[H, W, 3]`, uint8, without matplotlib: for trackers of training.

Levels are absolute, so that pictures of different steps and models can be compared.
Letters: S samples, K codebooks, Q positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .figures import mel_level, scatter_codes

Pixels = npt.NDArray[np.uint8]

# Levels of mel bands in dB of a full-scale sine: from black to the brightest colour.
_LOWEST_DB, _HIGHEST_DB = -85.0, -15.0
# Colours of the values 0 to 1 at equal distances; brightness grows steadily.
_COLOURS = np.array(
    [(0, 0, 0), (38, 20, 92), (112, 28, 126), (192, 54, 100), (240, 112, 50), (254, 190, 70),
     (255, 253, 210)],
    dtype=np.float64,
)  # fmt: skip
_LINE = 2  # pixels between stacked pictures


def paint(values: npt.NDArray[np.float64]) -> Pixels:
    """Colour values 0..1 `[H, W]`."""
    places = np.linspace(0.0, 1.0, len(_COLOURS))
    channels = [np.interp(values, places, column) for column in _COLOURS.T]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def spectrogram_pixels(wavs: Sequence[npt.ArrayLike], sample_rate: int) -> Pixels:
    """Log-mel spectrograms of waveforms `[S]`, above each other; low frequencies at the bottom."""
    images = []
    for wav in wavs:
        level = mel_level(wav, sample_rate)  # [frames, bands]
        images.append(paint((level.T[::-1] - _LOWEST_DB) / (_HIGHEST_DB - _LOWEST_DB)))
    width = max(image.shape[1] for image in images)
    line = np.full((_LINE, width, 3), 255, dtype=np.uint8)
    rows = []
    for image in images:
        missing = width - image.shape[1]
        rows += [np.pad(image, ((0, 0), (0, missing), (0, 0))), line]
    return np.concatenate(rows[:-1])


def code_pixels(codes: npt.ArrayLike) -> Pixels:
    """Codes `[K, Q]` as cells `[8 K, 4 Q, 3]`, the first codebook on top."""
    cells = paint(0.15 + 0.85 * scatter_codes(np.asarray(codes)))
    return cells.repeat(8, axis=0).repeat(4, axis=1)
