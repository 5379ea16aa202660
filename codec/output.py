"""Outputs of the codec, under the names of the Hugging Face codecs.

Letters: `B` batch, `S` samples, `Q` queries, `K` codebooks.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from transformers.utils import ModelOutput


@dataclass
class ALMTokenizerEncoderOutput(ModelOutput):
    """Output of :meth:`ALMTokenizer.encode`."""

    audio_codes: Tensor = None  # type: ignore[assignment]  # [B, K, Q] int64
    # [B, Q] bool, False for padding of shorter rows
    audio_codes_mask: Tensor = None  # type: ignore[assignment]
    # [B] int64, samples of each row before padding
    num_samples: Tensor = None  # type: ignore[assignment]


@dataclass
class ALMTokenizerDecoderOutput(ModelOutput):
    """Output of :meth:`ALMTokenizer.decode`."""

    audio_values: Tensor = None  # type: ignore[assignment]  # [B, 1, S] float32


@dataclass
class ALMTokenizerOutput(ModelOutput):
    """Output of :meth:`ALMTokenizer.forward`."""

    audio_codes: Tensor = None  # type: ignore[assignment]  # [B, K, Q] int64
    audio_values: Tensor = None  # type: ignore[assignment]  # [B, 1, S] float32
