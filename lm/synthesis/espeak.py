"""espeak-ng as a synthesizer: eight voices that are told apart, or any voice of espeak-ng."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.audio import Waveform, resample
from ..text.phones import load_espeak
from .voices import check_names

RATE = 24_000  # Hz


@dataclass(frozen=True)
class EspeakVoice:
    """Parameters of a speaker."""

    name: str
    language: str  # as in BCP 47
    espeak: str  # espeak-ng's name of voice and variant
    words_per_minute: int
    pitch: int  # espeak-ng's scale, 0 to 99
    tract: float  # formants and pitch are raised by this factor: above 1 a smaller speaker
    hertz: float  # pitch of the built-in synthesiser


# Only variants without flutter: espeak-ng draws flutter from memory it never set, and the same
# sentence would differ from run to run. Listed are those that gave the same bytes in every order.
VOICES = (
    EspeakVoice("anna", "en-US", "en-us+shelby", 165, 55, 1.00, 200),
    EspeakVoice("beth", "en-GB", "en+shelby", 145, 40, 1.07, 220),
    EspeakVoice("clara", "en-US", "en-us+Hugo", 140, 80, 1.18, 230),
    EspeakVoice("dora", "en-GB", "en-gb-x-rp+michel", 135, 85, 1.28, 270),
    EspeakVoice("evan", "en-US", "en-us+Denis", 160, 50, 1.00, 120),
    EspeakVoice("fred", "en-US", "en-us+Storm", 170, 45, 0.96, 100),
    EspeakVoice("glen", "en-GB", "en+mike2", 155, 50, 1.00, 110),
    EspeakVoice("hugh", "en-GB", "en-gb-x-rp+david", 180, 40, 0.94, 90),
)


class EspeakSpeaker:
    """espeak-ng, ready to speak."""

    # Constants of speak_lib.h.
    _RATE, _PITCH = 1, 3
    _CHARACTER, _UTF8 = 1, 1

    def __init__(self) -> None:
        self._espeak = load_espeak()
        self._library = self._espeak.library
        self._blocks: list[np.ndarray] = []
        kind = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
        )
        self._callback = kind(self._take)  # kept, or the library would call freed memory

    def _take(self, samples: Any, count: int, _events: Any) -> int:
        if count > 0:
            self._blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def speak(self, text: str, voice: EspeakVoice, sample_rate: int) -> Waveform:
        """Read a text aloud: samples [S] at a rate in Hz.

        Raises:
            RuntimeError: espeak-ng gave no samples.
            ValueError: It has no such voice.
        """
        with self._espeak.lock:
            self._blocks.clear()
            self._library.espeak_SetSynthCallback(self._callback)
            self._espeak.set_voice(voice.espeak)
            self._library.espeak_SetParameter(self._RATE, voice.words_per_minute, 0)
            self._library.espeak_SetParameter(self._PITCH, voice.pitch, 0)
            data = text.encode()
            self._library.espeak_Synth(
                data, len(data) + 1, 0, self._CHARACTER, 0, self._UTF8, None, None
            )
            self._library.espeak_Synchronize()
            if not self._blocks:
                raise RuntimeError(f"espeak-ng gave no samples for {text!r}")
            wav = np.concatenate(self._blocks).astype(np.float32) / 32768.0
        own_rate = round(self._espeak.sample_rate * voice.tract)
        return resample(wav, own_rate, sample_rate)


class EspeakBackend:
    """espeak-ng as a :class:`~almtok.lm.synthesis.backends.Backend`.

    The seed varies pitch and vocal tract length, as readings of one speaker differ.
    """

    name, licence = "espeak-ng", ""

    def __init__(self) -> None:
        self._speaker: EspeakSpeaker | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_speaker": None}

    def voices(self) -> Sequence[str]:
        """The voices of ``VOICES``."""
        return [voice.name for voice in VOICES]

    def check_voice(self, recipe: str) -> None:
        """Check that it is one of ``VOICES``."""
        if "+" in recipe or ":" in recipe:
            raise ValueError(f"espeak-ng does not mix voices, got {recipe!r}")
        check_names(recipe, self.voices())

    def describe(self, recipe: str) -> dict[str, str]:
        """Gender and language of a voice."""
        voice = _BY_NAME[recipe]
        return {"gender": "female" if voice.hertz > 150 else "male", "language": voice.language}

    def speak(self, text: str, recipe: str, speed: float, seed: int) -> tuple[Waveform, int]:
        """Read a text aloud; see :class:`~almtok.lm.synthesis.backends.Backend`."""
        if self._speaker is None:
            self._speaker = EspeakSpeaker()
        voice, rng = _BY_NAME[recipe], np.random.default_rng(seed)
        varied = dataclasses.replace(
            voice,
            words_per_minute=round(voice.words_per_minute * speed),
            pitch=int(np.clip(voice.pitch + rng.integers(-12, 13), 0, 99)),
            tract=voice.tract * rng.uniform(0.96, 1.04),
        )
        return self._speaker.speak(text, varied, RATE), RATE


_BY_NAME = {voice.name: voice for voice in VOICES}
