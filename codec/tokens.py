"""AudioTokens: codes of a recording, for language models and token files.

Codes can only be decoded by the same codec at the same rate, so tokens include both (paper.md 2.3:
store w, number of codebooks, sample rate and length with every token file).

Letters: `S` samples.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from safetensors import safe_open
from safetensors.torch import load, save
from torch import Tensor

from ..core.audio import read_audio
from ..core.files import write_bytes
from ..core.reading import reading
from ..core.report.notebook import Html, card
from .streaming import StreamDecoder, StreamEncoder

if TYPE_CHECKING:
    from .model import ALMTokenizer


_FORMAT = "almtok-tokens-1"
_LARGEST_CODE = 2**16 - 1


@dataclass(frozen=True)
class AudioTokens:
    """Codes of one recording with everything that decoding needs."""

    codes: Tensor  # [K, Q] int64
    frames_per_query: int  # w
    num_samples: int  # length of the waveform before padding to whole windows
    sample_rate: int  # Hz
    fingerprint: str  # of the codec, see ALMTokenizer.fingerprint

    def __post_init__(self) -> None:
        if self.codes.ndim != 2 or self.codes.dtype != torch.int64:
            raise ValueError(
                f"codes must be [K, Q] int64, got {list(self.codes.shape)} {self.codes.dtype}"
            )
        numbers = (self.frames_per_query, self.num_samples, self.sample_rate)
        if min(numbers) < 1:
            raise ValueError(
                f"frames_per_query, num_samples and sample_rate must be positive, got {numbers}"
            )

    @property
    def duration(self) -> float:
        """Seconds of audio."""
        return self.num_samples / self.sample_rate

    @property
    def facts(self) -> list[str]:
        """Short facts for people: duration, number of codes, codec."""
        books, queries = self.codes.shape
        return [
            f"{self.duration:.2f} s",
            f"{books} × {queries} codes",
            f"{self.frames_per_query} frames per query",
            f"codec {self.fingerprint}",
        ]

    def show(self, codec: ALMTokenizer) -> Html:
        """Return a player of the decoded tokens and their map, which notebooks display.

        Raises:
            ValueError: The tokens are of another codec.
        """
        wav = codec.detokenize(self).cpu().numpy()
        codes = self.codes.cpu().numpy()
        return Html(card(facts=self.facts, codes=codes, wav=wav, sample_rate=self.sample_rate))

    def _repr_html_(self) -> str:
        """Map of the codes, for notebooks: codes alone cannot be played, see :meth:`show`."""
        return card(facts=self.facts, codes=self.codes.cpu().numpy())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file atomically, with two bytes per code.

        Raises:
            ValueError: A code does not fit into two bytes.
            OSError: The file cannot be written.
        """
        path = Path(path)
        # Not save_file: its files can be read by their owner only.
        data = self.to_bytes(path)
        try:
            write_bytes(path, data)
        except OSError as error:  # a full disk, among others
            raise OSError(f"cannot write {path}: {error}") from error

    def to_bytes(self, name: str | os.PathLike[str] = "the token file") -> bytes:
        """The content of a token file; `name` is used in messages.

        Raises:
            ValueError: A code does not fit into two bytes.
        """
        if self.codes.numel():
            low, high = int(self.codes.min()), int(self.codes.max())
            if low < 0 or high > _LARGEST_CODE:
                raise ValueError(
                    f"codes in {name} must be within 0..{_LARGEST_CODE}, got {low} to {high}"
                )
        metadata = {
            "format": _FORMAT,
            "frames_per_query": str(self.frames_per_query),
            "num_samples": str(self.num_samples),
            "sample_rate": str(self.sample_rate),
            "fingerprint": self.fingerprint,
        }
        return save({"codes": self.codes.to(torch.uint16).contiguous()}, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AudioTokens:
        """Read a file of :meth:`save`.

        Raises:
            ValueError: The file is not a token file, or is damaged.
            OSError: The file cannot be read.
        """
        with reading(path):
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                codes = file.get_tensor("codes") if "codes" in file.keys() else None  # noqa: SIM118
            return cls._of_file(codes, metadata, path)

    @classmethod
    def from_bytes(
        cls, data: bytes, name: str | os.PathLike[str] = "the token file"
    ) -> AudioTokens:
        """Read the content of a token file; `name` is used in messages.

        Raises:
            ValueError: It is not the content of a token file, or is damaged.
        """
        with reading(name):
            codes = load(data).get("codes")
            length = int.from_bytes(data[:8], "little")  # of the header, which `load` has checked
            metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
            return cls._of_file(codes, metadata, name)

    @classmethod
    def _of_file(
        cls, codes: Tensor | None, metadata: Mapping[str, str], name: str | os.PathLike[str]
    ) -> AudioTokens:
        if codes is None or metadata.get("format") != _FORMAT:
            raise ValueError(
                f"{name} is not a token file: format must be {_FORMAT!r}, "
                f"got {metadata.get('format')!r}"
            )
        return cls(
            codes.to(torch.int64),
            int(metadata["frames_per_query"]),
            int(metadata["num_samples"]),
            int(metadata["sample_rate"]),
            metadata["fingerprint"],
        )


class TokensMixin:
    """Methods of the codec beside the interface of the Hugging Face codecs."""

    def tokenize(
        self,
        audio: Tensor | str | os.PathLike[str],
        sampling_rate: int | None = None,
        frames_per_query: int | None = None,
    ) -> AudioTokens:
        """Encode one recording, a file or samples `[S]`, to :class:`AudioTokens`."""
        codec = cast("ALMTokenizer", self)
        if isinstance(audio, str | os.PathLike):
            wav = torch.as_tensor(read_audio(audio, codec.sample_rate))
            sampling_rate = codec.sample_rate
        else:
            wav = torch.as_tensor(audio)
        if wav.ndim != 1:
            raise ValueError(f"audio must be one recording [S], got {list(wav.shape)}")
        out = codec.encode(
            wav[None, None].to(codec.device),
            frames_per_query=frames_per_query,
            sampling_rate=sampling_rate,
            return_dict=True,
        )
        w, codes = codec.checked_window(frames_per_query), out.audio_codes[0].cpu()
        return AudioTokens(codes, w, wav.shape[-1], codec.sample_rate, codec.fingerprint)

    def detokenize(self, tokens: AudioTokens) -> Tensor:
        """Decode :class:`AudioTokens` of this codec to samples `[S]`.

        Raises:
            ValueError: The tokens are of another codec.
        """
        codec = cast("ALMTokenizer", self)
        if tokens.fingerprint != codec.fingerprint:
            raise ValueError(
                f"tokens must be of codec {codec.fingerprint}, got tokens of {tokens.fingerprint}:"
                " codes of different codecs are not compatible"
            )
        codes = tokens.codes[None].to(codec.device)
        w, length = tokens.frames_per_query, tokens.num_samples
        out = codec.decode(codes, frames_per_query=w, length=length, return_dict=True)
        return out.audio_values[0, 0]

    def stream_encoder(self, frames_per_query: int | None = None) -> StreamEncoder:
        """Open a stream from waveform chunks to codes."""
        codec = self._streamable()
        return StreamEncoder(codec, codec.checked_window(frames_per_query))

    def stream_decoder(self, frames_per_query: int | None = None) -> StreamDecoder:
        """Open a stream from codes to waveform."""
        codec = self._streamable()
        return StreamDecoder(codec, codec.checked_window(frames_per_query))

    def _streamable(self) -> ALMTokenizer:
        codec = cast("ALMTokenizer", self)
        if codec.config.attention_mode == "full":
            raise ValueError("attention_mode must be causal for streams, got 'full'")
        return codec
