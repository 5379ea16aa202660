"""Whatever audio a caller has -> tokens of the codec that the language model was trained on.

The codec is loaded when the first waveform comes: who works on tokens alone never needs it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..codec.config import ALMTokenizerConfig
from ..codec.model import ALMTokenizer
from ..codec.tokens import AudioTokens
from ..core.audio import as_waveform, read_audio, resample, to_mono
from ..core.data.decoding import measure_levels, normalize_loudness
from .config import AudioLMConfig

PAPER_WINDOW = 6  # frames per query where neither the caller nor a codec says it (paper.md 2.1)
# A voice is not heard in less (our default), nor in a signal below -66 dB of full scale.
SHORTEST_VOICE = 0.3  # seconds
SILENCE = 5e-4


class AudioInput:
    """Turns files, waveforms and tokens into :class:`AudioTokens` of one codec."""

    def __init__(
        self, config: AudioLMConfig, codec: ALMTokenizer | str | os.PathLike[str] | None
    ) -> None:
        """Remember the codec, or where it lies (a folder or hub id).

        Raises:
            ValueError: if a codec that is given does not fit the language model.
        """
        self.config = config
        self.source = None if codec is None or isinstance(codec, ALMTokenizer) else os.fspath(codec)
        self._codec: ALMTokenizer | None = None
        self._codec_config: ALMTokenizerConfig | None = None
        if isinstance(codec, ALMTokenizer):
            self._codec = self._fitting(codec)

    @property
    def codec(self) -> ALMTokenizer:
        """The codec; loaded now if it was not.

        Raises:
            ValueError: if there is none, or it is not the one of the language model.
        """
        if self._codec is None:
            if self.source is None:
                raise ValueError(
                    "this processor has no codec: pass audio_tokenizer= (an ALMTokenizer, its "
                    "folder or hub id), or give audio as AudioTokens"
                )
            codec = ALMTokenizer.from_pretrained(self.source).eval()
            self._codec = self._fitting(codec)
        return self._codec

    @property
    def loaded(self) -> ALMTokenizer | None:
        """The codec if it is in memory."""
        return self._codec

    @property
    def codec_config(self) -> ALMTokenizerConfig | None:
        """The codec's numbers, without its weights; None if there is no codec."""
        if self._codec is not None:
            return self._codec.config
        if self._codec_config is None and self.source is not None:
            self._codec_config = ALMTokenizerConfig.from_pretrained(self.source)
        return self._codec_config

    @property
    def fingerprint(self) -> str | None:
        """Of the codec whose codes the model knows, as far as that is known."""
        if self.config.codec_fingerprint is not None or self._codec is None:
            return self.config.codec_fingerprint
        return self._codec.fingerprint

    @staticmethod
    def is_tokens(audio: Any) -> bool:
        """Whether the audio is codes already."""
        return isinstance(audio, AudioTokens)

    def window(self, tokens: AudioTokens | None = None) -> int:
        """Frames per query: of tokens, else the codec's."""
        if tokens is not None:
            return tokens.frames_per_query
        config = self.codec_config
        return PAPER_WINDOW if config is None else config.frames_per_query

    def tokens(
        self,
        audio: Any,
        *,
        frames_per_query: int,
        sampling_rate: int | None = None,
        voice: bool = False,
        lead: int = 0,
    ) -> AudioTokens:
        """Return the tokens of one audio.

        Args:
            audio: AudioTokens, a path, samples `[S]` or `[channels, S]`, or a mapping with `array`
                and `sampling_rate` (or `path`), as in Hugging Face datasets.
            frames_per_query: w of the sequence that it goes into.
            sampling_rate: Hz of samples; the codec's if not given.
            voice: whether it is to show how somebody sounds: silence and less than
                :data:`SHORTEST_VOICE` seconds are refused.
            lead: samples of silence that are put before it, so that windows begin elsewhere.

        Raises:
            ValueError: for audio that cannot be read, tokens of another codec or rate, a model
                that has no codec; AudioError (a ValueError) for files.
        """
        if isinstance(audio, AudioTokens):
            self._check_tokens(audio, frames_per_query)
            if lead:
                raise ValueError(f"tokens have their windows: no {lead} samples go before them")
            if voice:
                _check_voice(audio.duration)
            return audio
        wav = self._waveform(audio, sampling_rate)
        if voice:
            _check_voice(wav.numel() / self.codec.sample_rate, wav)
        wav = F.pad(self._levelled(wav), (lead, 0))
        return self.codec.tokenize(wav, frames_per_query=frames_per_query)

    def of_codes(self, codes: Tensor, frames_per_query: int) -> AudioTokens:
        """Codes `[K, Q]` that a model has made, as tokens: whole windows of its codec."""
        config = self.codec_config
        if config is None:
            raise ValueError("without a codec, codes cannot be said to be so and so long")
        samples = codes.shape[-1] * frames_per_query * config.hop_length
        print_of = self.fingerprint or self.codec.fingerprint
        return AudioTokens(
            codes.detach().cpu().to(torch.int64), frames_per_query, samples, config.sample_rate,
            print_of,
        )  # fmt: skip

    def _waveform(self, audio: Any, sampling_rate: int | None) -> Tensor:
        rate = self.codec.sample_rate
        if isinstance(audio, Mapping):
            if audio.get("array") is None:
                audio = audio.get("path") or audio.get("bytes")
            else:
                audio, sampling_rate = audio["array"], audio.get("sampling_rate", sampling_rate)
        if isinstance(audio, str | Path | bytes):
            return torch.from_numpy(read_audio(audio, rate))
        if not isinstance(audio, Tensor) and not hasattr(audio, "__array__"):
            raise ValueError(
                f"audio must be AudioTokens, a path or samples [S]; came {type(audio).__name__}"
            )
        samples = torch.as_tensor(audio).squeeze()
        if not samples.is_floating_point():
            raise ValueError(f"float samples in [-1, 1] are expected; came {samples.dtype}")
        if samples.numel() == 0:
            raise ValueError("the audio has no samples")
        mono = as_waveform(samples) if samples.ndim == 1 else to_mono(as_waveforms(samples))
        return torch.from_numpy(resample(mono, sampling_rate or rate, rate))

    def _levelled(self, wav: Tensor) -> Tensor:
        """Normalize the loudness to that of the training data (`almtok lm tokenize --loudness`)."""
        wanted, samples = self.config.loudness_dbfs, wav.numpy()
        if wanted is None or not samples.any():
            return wav
        active = measure_levels(samples, self.codec.sample_rate).active_dbfs
        return torch.from_numpy(normalize_loudness(wanted, samples, active))

    def _check_tokens(self, tokens: AudioTokens, frames_per_query: int) -> None:
        expected = self.fingerprint
        if expected is not None and tokens.fingerprint != expected:
            raise ValueError(
                f"these tokens were made by codec {tokens.fingerprint}, this model reads codec "
                f"{expected}: their codes do not mean the same sounds"
            )
        if tokens.frames_per_query != frames_per_query:
            raise ValueError(
                f"these tokens have {tokens.frames_per_query} frames per query, the sequence has "
                f"{frames_per_query}: all audio of a sequence is of one rate"
            )
        if tokens.codes.shape[0] != self.config.num_codebooks:
            raise ValueError(
                f"tokens of {tokens.codes.shape[0]} codebooks came, this model reads "
                f"{self.config.num_codebooks}"
            )

    def _fitting(self, codec: ALMTokenizer) -> ALMTokenizer:
        mine = (self.config.num_codebooks, self.config.codebook_size)
        its = (codec.num_codebooks, codec.codebook_size)
        if mine != its:
            raise ValueError(
                f"this codec has {its[0]} codebooks of {its[1]} codes, the language model reads "
                f"{mine[0]} of {mine[1]}"
            )
        expected = self.config.codec_fingerprint
        if expected is not None and codec.fingerprint != expected:
            raise ValueError(
                f"this is codec {codec.fingerprint}, the language model was trained on codec "
                f"{expected}: its codes would not mean the same sounds"
            )
        return codec


def as_waveforms(samples: Tensor) -> Any:
    """Samples `[channels, S]` as an array.

    Raises:
        ValueError: for a batch, or more channels than samples.
    """
    if samples.ndim != 2 or samples.shape[0] > samples.shape[1]:
        raise ValueError(
            f"one recording [S] or [channels, S] is expected; came {list(samples.shape)}"
        )
    return samples.detach().float().cpu().numpy()


def _check_voice(seconds: float, wav: Tensor | None = None) -> None:
    if seconds < SHORTEST_VOICE:
        raise ValueError(
            f"the reference is too short to hear a voice in: {seconds:.2f} s came, at least "
            f"{SHORTEST_VOICE} s are needed"
        )
    if wav is not None and float(wav.abs().max()) < SILENCE:
        raise ValueError(
            f"the reference is silent: its loudest sample is {float(wav.abs().max()):.1e}, at "
            f"least {SILENCE:.0e} is needed"
        )
