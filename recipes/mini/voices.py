"""Text -> speech in eight voices: espeak-ng when it loads, otherwise our formant synthesiser.

It is not a good speaker, but every letter has its sound, so text and audio belong together.
"""

import logging
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from almtok.core.audio import Waveform
from almtok.lm.synthesis.espeak import VOICES, EspeakSpeaker
from almtok.lm.synthesis.espeak import EspeakVoice as Voice

from .signals import Floats, band_noise

__all__ = ["VOICES", "Speak", "Voice", "find_speaker", "speak_formants"]

logger = logging.getLogger(__name__)

Speak = Callable[[str, Voice, int], Waveform]  # text, voice, sample rate -> [S]


def find_speaker() -> tuple[str, Speak]:
    """Return the name and function of the synthesiser; a fallback is logged with its reason."""
    try:
        return "espeak-ng", EspeakSpeaker().speak
    except (ImportError, OSError, RuntimeError) as error:
        logger.warning(
            "espeak-ng cannot be loaded (%s); the built-in formant synthesiser speaks instead,"
            " less clearly. `pip install espeakng-loader` brings espeak-ng.",
            error,
        )
    return "formants", _speak_formants


def _speak_formants(text: str, voice: Voice, sample_rate: int) -> Waveform:
    return speak_formants(text, voice.hertz, voice.tract, voice.words_per_minute / 160, sample_rate)


@dataclass(frozen=True)
class Phone:
    """One speech sound: three formants in Hz, length in s, and how it is excited."""

    formants: tuple[float, float, float]
    seconds: float
    voicing: float = 1.0
    noise: tuple[float, float, float] | None = None  # low Hz, high Hz, level
    closure: float = 0.0  # silence before, for stops


def _vowel(first: float, second: float, third: float = 2500, seconds: float = 0.12) -> Phone:
    return Phone((first, second, third), seconds)


def _fricative(low: float, high: float, level: float, voicing: float = 0.0) -> Phone:
    return Phone((400, 1500, 2500), 0.1, voicing, (low, high, level))


def _stop(second: float, low: float, high: float, voicing: float = 0.0) -> Phone:
    return Phone((300, second, 2500), 0.04, voicing, (low, high, 0.5), 0.05)


# Formants after Peterson and Barney (1952), rounded; spelling, not pronunciation, chooses.
PHONES = {
    "a": _vowel(730, 1700), "e": _vowel(530, 1840), "i": _vowel(390, 1990), "o": _vowel(570, 840),
    "u": _vowel(440, 1020), "y": _vowel(270, 2290, 3010), "ee": _vowel(270, 2290, 3010, 0.16),
    "oo": _vowel(300, 870, 2240, 0.16), "ai": _vowel(660, 1900, 2500, 0.17),
    "ou": _vowel(620, 1000, 2400, 0.17), "ow": _vowel(600, 950, 2400, 0.17),
    "r": _vowel(420, 1300, 1600, 0.08), "l": _vowel(360, 1100, 2600, 0.08),
    "w": _vowel(300, 700, 2200, 0.07), "m": _vowel(250, 1000, 2200, 0.08),
    "n": _vowel(250, 1500, 2300, 0.08), "ng": _vowel(250, 2000, 2600, 0.09),
    "s": _fricative(4500, 9000, 0.35), "sh": _fricative(2000, 5500, 0.4),
    "f": _fricative(2500, 9000, 0.12), "th": _fricative(3000, 9000, 0.1),
    "h": _fricative(500, 3000, 0.12), "z": _fricative(4500, 9000, 0.2, 0.4),
    "v": _fricative(2500, 8000, 0.08, 0.5), "j": _fricative(2000, 5500, 0.3, 0.4),
    "p": _stop(800, 300, 2000), "t": _stop(1800, 3500, 8000), "k": _stop(2000, 1500, 3500),
    "b": _stop(800, 300, 1500, 0.5), "d": _stop(1800, 2500, 6000, 0.5),
    "g": _stop(2000, 1200, 3000, 0.5), "ch": _stop(1800, 2000, 6000),
}  # fmt: skip
_SAME = {"c": "k", "q": "k", "x": "s", "ck": "k"}
_BREAK = "a pause"


def spell(text: str) -> list[str]:
    """Split a text into letters and pairs of letters with a sound; ``_BREAK`` between words.

    Example:
        >>> spell("the ship")
        ['th', 'e', 'a pause', 'sh', 'i', 'p']
    """
    phones: list[str] = []
    for number, word in enumerate(text.lower().split()):
        if number:
            phones.append(_BREAK)
        place = 0
        while place < len(word):
            for size in (2, 1):
                part = _SAME.get(word[place : place + size], word[place : place + size])
                if part in PHONES:
                    phones.append(part)
                    break
            place += size
    return phones


def speak_formants(
    text: str, hertz: float, tract: float, speed: float, sample_rate: int
) -> Waveform:
    """Speak: [S] at ``sample_rate``; ``tract`` scales the formants, ``speed`` 1.0 is normal."""
    phones = spell(text)
    lengths = [_samples(name, speed, sample_rate) for name in phones]
    total = sum(lengths)
    formants = np.full((3, total), 500.0)  # [formant, S]
    voicing, noise = np.zeros(total), np.zeros(total)
    # zlib's sum, not hash(): Python's own differs from run to run.
    rng = np.random.default_rng(zlib.crc32(text.encode()))
    begin = 0
    for name, length in zip(phones, lengths, strict=True):
        part = slice(begin, begin + length)
        begin += length
        if name == _BREAK:
            formants[:, part] = formants[:, max(0, part.start - 1)][:, None]
            continue
        phone = PHONES[name]
        formants[:, part] = np.asarray(phone.formants)[:, None] * tract
        open_from = part.start + round(phone.closure / speed * sample_rate)
        voicing[open_from : part.stop] = phone.voicing
        if phone.noise is not None:
            low, high, level = phone.noise
            size = part.stop - open_from
            burst = band_noise(rng, size, sample_rate, low, high) * np.hanning(size)
            noise[open_from : part.stop] += level * burst
    smooth = max(1, round(0.03 * sample_rate))
    formants = np.stack([_smoothed(row, smooth) for row in formants])
    wav = _voiced(hertz, formants, _smoothed(voicing, smooth), sample_rate) + 0.3 * noise
    return (0.3 * wav / max(1e-9, float(np.abs(wav).max()))).astype(np.float32)


def _samples(name: str, speed: float, sample_rate: int) -> int:
    seconds = 0.06 if name == _BREAK else PHONES[name].seconds + PHONES[name].closure
    return round(seconds / speed * sample_rate)


def _smoothed(values: Floats, width: int) -> Floats:
    """Moving average that keeps the length."""
    padded = np.pad(values, (width // 2, width - 1 - width // 2), mode="edge")
    sums = np.cumsum(np.concatenate([[0.0], padded]))
    return (sums[width:] - sums[:-width]) / width


def _voiced(hertz: float, formants: Floats, voicing: Floats, sample_rate: int) -> Floats:
    """Harmonics of a falling pitch, each as loud as the resonances at its frequency."""
    size = len(voicing)
    pitch = hertz * np.linspace(1.12, 0.85, size)
    first = np.exp(2j * np.pi * np.cumsum(pitch) / sample_rate)
    turning = np.ones_like(first)
    wav = np.zeros(size)
    for harmonic in range(1, int(min(5000, sample_rate / 2.2) / (1.12 * hertz))):
        frequency = harmonic * pitch
        gain = np.zeros(size)
        for row, bandwidth, level in zip(formants, (90, 120, 180), (1.0, 0.5, 0.25), strict=True):
            gain += level / (1 + ((frequency - row) / bandwidth) ** 2)
        turning *= first
        wav += gain * turning.imag
    return wav * voicing
