"""Text -> speech in eight voices: espeak-ng when it loads, otherwise our formant synthesiser."""

import ctypes
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from almtok.core.audio import Waveform, resample
from almtok.lm.text.espeak import load_espeak

from .formants import speak_formants

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Voice:
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
    Voice("anna", "en-US", "en-us+shelby", 165, 55, 1.00, 200),
    Voice("beth", "en-GB", "en+shelby", 145, 40, 1.07, 220),
    Voice("clara", "en-US", "en-us+Hugo", 140, 80, 1.18, 230),
    Voice("dora", "en-GB", "en-gb-x-rp+michel", 135, 85, 1.28, 270),
    Voice("evan", "en-US", "en-us+Denis", 160, 50, 1.00, 120),
    Voice("fred", "en-US", "en-us+Storm", 170, 45, 0.96, 100),
    Voice("glen", "en-GB", "en+mike2", 155, 50, 1.00, 110),
    Voice("hugh", "en-GB", "en-gb-x-rp+david", 180, 40, 0.94, 90),
)

Speak = Callable[[str, Voice, int], Waveform]  # text, voice, sample rate -> [S]


def find_speaker() -> tuple[str, Speak]:
    """Return the name and function of the synthesiser; a fallback is logged with its reason."""
    try:
        return "espeak-ng", _Espeak().speak
    except (ImportError, OSError, RuntimeError) as error:
        logger.warning(
            "espeak-ng cannot be loaded (%s); the built-in formant synthesiser speaks instead,"
            " less clearly. `pip install espeakng-loader` brings espeak-ng.",
            error,
        )
    return "formants", _speak_formants


def _speak_formants(text: str, voice: Voice, sample_rate: int) -> Waveform:
    return speak_formants(text, voice.hertz, voice.tract, voice.words_per_minute / 160, sample_rate)


class _Espeak:
    """espeak-ng as a synthesiser."""

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
        self._library.espeak_SetSynthCallback(self._callback)

    def _take(self, samples: Any, count: int, _events: Any) -> int:
        if count > 0:
            self._blocks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def speak(self, text: str, voice: Voice, sample_rate: int) -> Waveform:
        with self._espeak.lock:
            self._blocks.clear()
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
