"""AudioInput: files, waveforms and tokens -> tokens of the codec of a language model.

The codec is loaded for the first waveform; tokens do not need it.
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
from ..core.audio import as_waveform, check_peak, check_rate, read_audio, resample, to_mono
from ..core.levels import measure_levels, normalize_loudness
from .config import AudioLMConfig
from .voices import check_cloning

PAPER_FRAMES_PER_QUERY = 6  # default without a codec (paper.md 2.1)
MIN_VOICE_SECONDS = 0.3  # shortest voice reference (our default)
SILENCE = 5e-4  # peak below which audio is silent, -66 dBFS


class AudioInput:
    """Turns files, waveforms and tokens into :class:`AudioTokens` of one codec."""

    def __init__(
        self, config: AudioLMConfig, codec: ALMTokenizer | str | os.PathLike[str] | None
    ) -> None:
        """Set the codec, or the folder or hub id from which it is loaded when needed.

        Raises:
            ValueError: if the codec does not match the language model.
        """
        self.config = config
        self.source = None if codec is None or isinstance(codec, ALMTokenizer) else os.fspath(codec)
        self._codec: ALMTokenizer | None = None
        self._codec_config: ALMTokenizerConfig | None = None
        if isinstance(codec, ALMTokenizer):
            self._codec = self._checked(codec)

    @property
    def codec(self) -> ALMTokenizer:
        """The codec, loaded at the first access.

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
            self._codec = self._checked(codec)
        return self._codec

    @property
    def loaded_codec(self) -> ALMTokenizer | None:
        """The codec if it was loaded, else None."""
        return self._codec

    @property
    def codec_config(self) -> ALMTokenizerConfig | None:
        """Configuration of the codec, without loading its weights; None without a codec."""
        if self._codec is not None:
            return self._codec.config
        if self._codec_config is None and self.source is not None:
            self._codec_config = ALMTokenizerConfig.from_pretrained(self.source)
        return self._codec_config

    @property
    def fingerprint(self) -> str | None:
        """Fingerprint of the codec of the model; None if it is unknown."""
        if self.config.codec_fingerprint is not None or self._codec is None:
            return self.config.codec_fingerprint
        return self._codec.fingerprint

    @property
    def default_frames_per_query(self) -> int:
        """Frames per query of the codec."""
        config = self.codec_config
        return PAPER_FRAMES_PER_QUERY if config is None else config.frames_per_query

    def tokens(
        self,
        audio: Any,
        *,
        frames_per_query: int,
        sampling_rate: int | None = None,
        voice: bool = False,
        lead: int = 0,
    ) -> AudioTokens:
        """Encode audio; tokens are checked and returned.

        Args:
            audio: AudioTokens, a path, samples `[S]` or `[channels, S]`, or a mapping with `array`
                and `sampling_rate` (or `path`), as in Hugging Face datasets.
            frames_per_query: w of the sequence.
            sampling_rate: Hz of samples; the codec's if None.
            voice: whether it is a voice reference: silence and less than
                :data:`MIN_VOICE_SECONDS` are refused.
            lead: samples of silence to put before it, which shift the windows of the codec.

        Raises:
            ValueError: for audio that cannot be read (AudioError for files), tokens of another
                codec or rate, samples without a codec, or a voice reference of a model that does
                not imitate any.
        """
        if voice:
            check_cloning(self.config)
        if isinstance(audio, AudioTokens):
            self._check_tokens(audio, frames_per_query)
            if lead:
                raise ValueError(f"lead must be 0 for audio tokens, got {lead}")
            if voice:
                _check_voice(audio.duration)
            return audio
        wav = self._waveform(audio, sampling_rate)
        if voice:
            _check_voice(wav.numel() / self.codec.sample_rate, wav)
        wav = F.pad(self._normalize(wav), (lead, 0))
        return self.codec.tokenize(wav, frames_per_query=frames_per_query)

    def from_codes(self, codes: Tensor, frames_per_query: int) -> AudioTokens:
        """Tokens of generated codes `[K, Q]`."""
        config = self.codec_config
        if config is None:
            raise ValueError("the length of codes in samples needs a codec, got None")
        samples = codes.shape[-1] * frames_per_query * config.hop_length
        return AudioTokens(
            codes.detach().cpu().to(torch.int64),
            frames_per_query,
            samples,
            config.sample_rate,
            self.fingerprint or self.codec.fingerprint,
        )

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
                f"audio must be AudioTokens, a path or samples [S], got {type(audio).__name__}"
            )
        samples = torch.atleast_1d(torch.as_tensor(audio).squeeze())
        if not samples.is_floating_point():
            raise ValueError(f"samples must be floats in [-1, 1], got {samples.dtype}")
        if samples.numel() == 0:
            raise ValueError("the audio has no samples")
        check_peak(samples.detach().float().cpu().numpy(), "the audio")
        mono = as_waveform(samples) if samples.ndim == 1 else to_mono(_as_waveforms(samples))
        given = rate if sampling_rate is None else sampling_rate
        check_rate(given, "the audio")
        return torch.from_numpy(resample(mono, given, rate))

    def _normalize(self, wav: Tensor) -> Tensor:
        """Normalize the loudness to that of the training data (`almtok lm tokenize --loudness`)."""
        target, samples = self.config.loudness_dbfs, wav.numpy()
        if target is None or not samples.any():
            return wav
        active = measure_levels(samples, self.codec.sample_rate).active_dbfs
        return torch.from_numpy(normalize_loudness(target, samples, active))

    def _check_tokens(self, tokens: AudioTokens, frames_per_query: int) -> None:
        expected = self.fingerprint
        if expected is not None and tokens.fingerprint != expected:
            raise ValueError(
                f"this model was trained on codes of codec {expected}, got tokens of codec "
                f"{tokens.fingerprint}"
            )
        if tokens.frames_per_query != frames_per_query:
            raise ValueError(
                f"frames_per_query must be {frames_per_query} in all audio of a sequence, got "
                f"tokens with {tokens.frames_per_query}"
            )
        if tokens.codes.shape[0] != self.config.num_codebooks:
            raise ValueError(
                f"tokens must have {self.config.num_codebooks} codebooks, got "
                f"{tokens.codes.shape[0]}"
            )

    def _checked(self, codec: ALMTokenizer) -> ALMTokenizer:
        expected = (self.config.num_codebooks, self.config.codebook_size)
        sizes = (codec.num_codebooks, codec.codebook_size)
        if sizes != expected:
            raise ValueError(
                f"the codec must have {expected[0]} codebooks of {expected[1]} codes, as the "
                f"language model, got {sizes[0]} of {sizes[1]}"
            )
        fingerprint = self.config.codec_fingerprint
        if fingerprint not in (None, codec.fingerprint):
            raise ValueError(
                f"the language model was trained on codes of codec {fingerprint}, got codec "
                f"{codec.fingerprint}"
            )
        return codec


def _as_waveforms(samples: Tensor) -> Any:
    """Samples `[channels, S]` as an array.

    Raises:
        ValueError: for a batch, or more channels than samples.
    """
    if samples.ndim != 2 or samples.shape[0] > samples.shape[1]:
        raise ValueError(
            f"samples must be one recording, [S] or [channels, S], got {list(samples.shape)}"
        )
    return samples.detach().float().cpu().numpy()


def _check_voice(seconds: float, wav: Tensor | None = None) -> None:
    if seconds < MIN_VOICE_SECONDS:
        raise ValueError(
            f"a voice reference must be at least {MIN_VOICE_SECONDS} s long, got {seconds:.2f} s"
        )
    if wav is not None and float(wav.abs().max()) < SILENCE:
        raise ValueError(
            f"the peak of a voice reference must be at least {SILENCE:.0e}, got silence "
            f"({float(wav.abs().max()):.1e})"
        )
