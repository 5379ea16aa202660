"""Whisper as a recognizer.

Decoding is greedy and forbids repeated sequences of 6 tokens: on bad audio Whisper repeats itself,
and a few such loops double an error rate. Weights are in float32 on all devices, so that the batch
does not change a transcript.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from transformers.utils import logging

from ..audio import Waveform
from ..choices import AUTO
from ..loading import load_float32
from ..reading import reading
from ..runtime import find_device
from .base import RATE, JudgedAudio, pretrained_name, version_of
from .recognizers import Recognizer

PIECE_SECONDS = 30.0  # of Whisper's encoder
CUT_SECONDS = 10.0  # longer audio is cut at the quietest moment of the last 10 s of a piece
NO_REPEAT_NGRAM = 6
_FRAME = RATE // 10


class Whisper(Recognizer):
    """A `WhisperForConditionalGeneration` of transformers.

    Multilingual models are given the language of the clip, English without one.
    """

    def __init__(
        self, place: str, *, device: str | torch.device = AUTO, batch_size: int = 8
    ) -> None:
        """Load the model.

        Args:
            place: folder or hub id.
            device: to run on.
            batch_size: pieces of at most 30 s that are transcribed together.

        Raises:
            ValueError: it is not a Whisper model that can be loaded, or it lacks weights.
        """
        from transformers import (
            AutoFeatureExtractor,
            AutoTokenizer,
            WhisperForConditionalGeneration,
        )

        with reading(f"whisper:{place} must be a folder or a hub id of Whisper", ValueError):
            model = load_float32(WhisperForConditionalGeneration, place, "whisper")
            self._features = AutoFeatureExtractor.from_pretrained(place, trust_remote_code=False)
            self._tokenizer: Any = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
        self.device, self.batch_size = find_device(device), batch_size
        self._model = model.to(self.device)
        self._generation = copy.deepcopy(model.generation_config)
        self._generation.update(do_sample=False, num_beams=1, no_repeat_ngram_size=NO_REPEAT_NGRAM)
        languages = getattr(self._generation, "lang_to_id", None) or {}
        self._languages = {token.strip("<|>") for token in languages}
        spelling = getattr(self._tokenizer, "english_spelling_normalizer", None) or {}
        self.spelling = tuple(sorted(spelling.items()))
        language = "language of the clip or English" if self._languages else "English only"
        self.name = (
            f"whisper:{pretrained_name(place, model)}, greedy,"
            f" no_repeat_ngram_size={NO_REPEAT_NGRAM}, {language}, float32,"
            f" {len(spelling)} British spellings"
        )
        self.details = version_of("transformers")

    def transcribe(self, wav: Any, sample_rate: int, language: str = "") -> str:
        """Transcribe samples `[S]`."""
        return self.transcribe_all([JudgedAudio(wav, sample_rate, language)])[0]

    @torch.inference_mode()
    def transcribe_all(self, clips: Sequence[JudgedAudio]) -> list[str]:
        """Transcribe clips of any length, in batches of pieces of at most 30 s."""
        pieces = [
            (number, piece, self._language(clip.language))
            for number, clip in enumerate(clips)
            for piece in cut(clip.at_rate())
        ]
        texts: list[list[str]] = [[] for _ in clips]
        for first in range(0, len(pieces), self.batch_size):
            numbers, wavs, languages = zip(*pieces[first : first + self.batch_size], strict=True)
            for number, text in zip(numbers, self._texts(wavs, languages), strict=True):
                texts[number].append(text)
        return [" ".join(" ".join(parts).split()) for parts in texts]

    def _language(self, code: str) -> str | None:
        base = code.replace("_", "-").partition("-")[0].lower() or "en"
        if self._languages and base not in self._languages:
            raise ValueError(f"language {code!r} is not one of the recognizer's")
        return base if self._languages else None

    def _texts(self, wavs: Sequence[Waveform], languages: Sequence[str | None]) -> list[str]:
        features = self._features(
            wavs, sampling_rate=RATE, return_tensors="pt", return_attention_mask=True
        )
        tokens = {"language": list(languages), "task": "transcribe"} if self._languages else {}
        with _no_warnings():  # generate warns of arguments that it passes to itself
            ids = self._model.generate(
                **features.to(self.device),
                generation_config=self._generation,
                return_timestamps=False,
                **tokens,
            )
        texts: list[str] = self._tokenizer.batch_decode(ids, skip_special_tokens=True)
        return texts


@contextmanager
def _no_warnings() -> Iterator[None]:
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def cut(wav: Waveform) -> Iterator[Waveform]:
    """Yield pieces [S] of at most 30 s, without those of silence."""
    longest, window = int(PIECE_SECONDS * RATE), int(CUT_SECONDS * RATE)
    while wav.size > longest:
        end = wav[longest - window : longest].reshape(-1, _FRAME)
        quietest = int(np.square(end, dtype=np.float64).sum(axis=1).argmin())
        place = longest - window + quietest * _FRAME + _FRAME // 2
        if wav[:place].any():
            yield wav[:place]
        wav = wav[place:]
    if wav.any():
        yield wav
