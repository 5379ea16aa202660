"""AudioTokens: the only thing that crosses from the codec to a language model or to disk.

Codes mean nothing without the codec and the rate that made them, so they travel together
(paper.md 2.3: store w, number of codebooks, sample rate and length with every token file).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor


@dataclass(frozen=True)
class AudioTokens:
    """Codes of one recording and all that decoding needs."""

    codes: Tensor  # [K, Q] int64
    frames_per_query: int  # w
    num_samples: int  # length of the waveform, before it was padded to whole windows
    sample_rate: int  # Hz
    fingerprint: str  # of the codec, see ALMTokenizer.fingerprint

    def __post_init__(self) -> None:
        if self.codes.ndim != 2 or self.codes.dtype != torch.int64:
            raise ValueError(
                f"codes must be [K, Q] int64; came {list(self.codes.shape)} {self.codes.dtype}"
            )
        if self.frames_per_query < 1 or self.num_samples < 1:
            raise ValueError(
                f"frames_per_query and num_samples must be positive; came "
                f"{self.frames_per_query} and {self.num_samples}"
            )

    @property
    def duration(self) -> float:
        """Seconds of audio."""
        return self.num_samples / self.sample_rate

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file (two bytes a code); written aside, then renamed."""
        path = Path(path)
        aside = path.with_name(f".{path.name}.{os.getpid()}.part")
        metadata = {
            "format": "almtok-tokens-1",
            "frames_per_query": str(self.frames_per_query),
            "num_samples": str(self.num_samples),
            "sample_rate": str(self.sample_rate),
            "fingerprint": self.fingerprint,
        }
        save_file({"codes": self.codes.to(torch.uint16).contiguous()}, aside, metadata)
        os.replace(aside, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AudioTokens:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: if the file holds something else.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                codes = file.get_tensor("codes") if "codes" in file.keys() else None  # noqa: SIM118
        except FileNotFoundError:
            raise
        except Exception as error:  # safetensors raises its own types for damaged files
            raise ValueError(f"{path} is not a token file: {error}") from error
        if codes is None or metadata.get("format") != "almtok-tokens-1":
            raise ValueError(
                f"{path} is not a token file: format {metadata.get('format')!r}, "
                f"expected 'almtok-tokens-1'"
            )
        return cls(
            codes.to(torch.int64),
            int(metadata["frames_per_query"]),
            int(metadata["num_samples"]),
            int(metadata["sample_rate"]),
            metadata["fingerprint"],
        )
