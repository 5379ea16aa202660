"""Short tunes with captions: an instrument, a scale, a tempo, optionally with chords or drums."""

from collections.abc import Callable

import numpy as np

from .signals import Floats, band_noise, decay, harmonics, place, times

Note = Callable[[float, float, np.random.Generator, int], Floats]  # Hz, seconds, rng, rate -> [S]

_SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "pentatonic": (0, 2, 4, 7, 9),
    "blues": (0, 3, 5, 6, 7, 10),
}
_KEYS = ("C", "D", "E", "F", "G", "A")
_SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9}
_TEMPOS = {"slow": 80.0, "medium": 112.0, "fast": 152.0}  # beats per minute
_PLAIN = ("slow", "fast")  # for plain captions
# Lengths in beats of one bar of four.
_RHYTHMS = {
    "steady": (1, 1, 1, 1),
    "flowing": (0.5,) * 8,
    "dotted": (1.5, 0.5, 1.5, 0.5),
    "lively": (0.5, 0.5, 1, 0.5, 0.5, 1),
}


def make_tune(
    rng: np.random.Generator, sample_rate: int, *, plain: bool = False
) -> tuple[str, Floats]:
    """One tune of one to four bars: its caption and its samples [S], of any loudness.

    Args:
        rng: Its draws.
        sample_rate: In Hz.
        plain: Half as long, and a caption of what is heard at once: tempo, instrument, what is
            beneath. Scale, key and rhythm vary as ever and are not named.
    """
    instrument = _choose(rng, INSTRUMENTS)
    scale, key = _choose(rng, _SCALES), _choose(rng, _KEYS)
    tempo, rhythm = _choose(rng, _PLAIN if plain else _TEMPOS), _choose(rng, _RHYTHMS)
    below = _choose(
        rng, ("alone", "with chords", "with drums", "with bass and drums")[: 3 if plain else 4]
    )
    bars = {"slow": 2, "medium": 3, "fast": 4}[tempo] // (2 if plain else 1)
    beat = 60.0 / (_TEMPOS[tempo] * rng.uniform(0.97, 1.03))
    wav = np.zeros(round((4 * bars * beat + 0.6) * sample_rate))
    root = 60 + _SEMITONES[key]
    _melody(wav, instrument, root, _SCALES[scale], _RHYTHMS[rhythm], bars, beat, rng, sample_rate)
    if below == "with chords":
        _chords(wav, root - 12, _SCALES[scale], bars, beat, rng, sample_rate)
    if "drums" in below:
        _drums(wav, bars, beat, rng, sample_rate)
    if "bass" in below:
        for bar in range(2 * bars):
            note = _plucked(_hertz(root - 24 + (0, 7)[bar % 2]), 2 * beat, rng, sample_rate)
            place(wav, note, 2 * bar * beat, sample_rate, 0.8)
    played = "" if below == "alone" else f" {below}"
    if plain:
        return f"a {tempo} {instrument} tune{played}", wav
    return f"a {tempo} {rhythm} {instrument} tune in {key} {scale}{played}", wav


def _choose(rng: np.random.Generator, options: object) -> str:
    names = list(options)  # type: ignore[call-overload]
    return str(names[int(rng.integers(len(names)))])


def _hertz(midi: float) -> float:
    return float(440.0 * 2 ** ((midi - 69) / 12))


def _melody(
    wav: Floats,
    instrument: str,
    root: int,
    scale: tuple[int, ...],
    rhythm: tuple[float, ...],
    bars: int,
    beat: float,
    rng: np.random.Generator,
    sample_rate: int,
) -> None:
    """A random walk on the scale that ends on its root."""
    degree, begin = int(rng.integers(0, len(scale))), 0.0
    lengths = list(rhythm) * bars
    for number, length in enumerate(lengths):
        if number == len(lengths) - 1:
            degree = 0 if degree < len(scale) // 2 + 1 else len(scale)
        octave, step = divmod(degree, len(scale))
        pitch = _hertz(root + 12 * octave + scale[step])
        note = INSTRUMENTS[instrument](pitch, 0.95 * length * beat + 0.05, rng, sample_rate)
        place(wav, note, begin * beat, sample_rate, rng.uniform(0.8, 1.0))
        begin += length
        degree = int(np.clip(degree + rng.integers(-2, 3), -2, len(scale) + 2))


def _chords(
    wav: Floats,
    root: int,
    scale: tuple[int, ...],
    bars: int,
    beat: float,
    rng: np.random.Generator,
    sample_rate: int,
) -> None:
    for bar in range(bars):
        first = 0 if bar in (0, bars - 1) else int(rng.integers(len(scale)))
        for step in (first, first + 2, first + 4):
            octave, degree = divmod(step, len(scale))
            pitch = _hertz(root + 12 * octave + scale[degree])
            place(wav, _organ(pitch, 4 * beat, rng, sample_rate), 4 * bar * beat, sample_rate, 0.25)


def _drums(wav: Floats, bars: int, beat: float, rng: np.random.Generator, sample_rate: int) -> None:
    time = times(0.25, sample_rate)
    kick = np.sin(2 * np.pi * np.cumsum(50 + 120 * np.exp(-time / 0.03)) / sample_rate)
    kick *= decay(time, 0.002, 0.08)
    snare = band_noise(rng, len(time), sample_rate, 300, 7000) * decay(time, 0.001, 0.05)
    hat = band_noise(rng, len(time), sample_rate, 6000, 11000) * decay(time, 0.001, 0.015)
    for count in range(8 * bars):
        begin = count * beat / 2
        place(wav, hat, begin, sample_rate, 0.15)
        if count % 4 == 0:
            place(wav, kick, begin, sample_rate, 1.2)
        if count % 4 == 2:
            place(wav, snare, begin, sample_rate, 0.35)


def _piano(pitch: float, seconds: float, rng: np.random.Generator, rate: int) -> Floats:
    time = times(seconds + 0.3, rate)
    wav = np.zeros(len(time))
    for number in range(1, 9):
        # stiff strings: harmonics lie a little high, and high ones die first
        partial = number * pitch * np.sqrt(1 + 0.0004 * number**2)
        if partial < 0.45 * rate:
            wav += np.sin(2 * np.pi * partial * time) * decay(time, 0.004, 0.9 / number) / number
    return wav * np.clip((seconds + 0.3 - time) / 0.2, 0, 1)


def _held(levels: list[float], attack: float, vibrato: float, breath: float) -> Note:
    """An instrument whose tone lasts."""

    def note(pitch: float, seconds: float, rng: np.random.Generator, rate: int) -> Floats:
        time = times(seconds, rate)
        bend = 1 + vibrato * np.sin(2 * np.pi * 5.5 * time) * np.minimum(1, time / 0.3)
        wav = harmonics(pitch * bend, levels, rate)
        wav += breath * band_noise(rng, len(time), rate, pitch, 4 * pitch)
        release = np.clip((seconds - time) / 0.06, 0, 1)
        return wav * np.minimum(1, time / attack) * release

    return note


def _plucked(pitch: float, seconds: float, rng: np.random.Generator, rate: int) -> Floats:
    time = times(seconds, rate)
    where = rng.uniform(0.12, 0.25)  # of the string: harmonics with a node there stay silent
    wav = np.zeros(len(time))
    first = np.exp((2j * np.pi * pitch - 0.9) * time)  # its powers turn and fall faster
    turning = np.ones_like(first)
    for number in range(1, 13):
        if number * pitch < 0.45 * rate:
            turning *= first
            wav += np.sin(np.pi * number * where) / number * turning.imag
    return wav * decay(time, 0.003, 0.8) * np.clip((seconds - time) / 0.03, 0, 1)


def _xylophone(pitch: float, seconds: float, rng: np.random.Generator, rate: int) -> Floats:
    time = times(max(seconds, 0.4), rate)
    wav = np.zeros(len(time))
    for ratio, level, fall in ((2.0, 1.0, 0.2), (6.0, 0.4, 0.06), (13.0, 0.15, 0.02)):
        if ratio * pitch < 0.45 * rate:
            wav += level * np.sin(2 * np.pi * ratio * pitch * time) * decay(time, 0.001, fall)
    return wav


_organ = _held([1.0, 0.6, 0.4, 0.3, 0.0, 0.2, 0.0, 0.15], 0.02, 0.0, 0.0)

INSTRUMENTS: dict[str, Note] = {
    "piano": _piano,
    "flute": _held([1.0, 0.25, 0.08], 0.06, 0.006, 0.05),
    "organ": _organ,
    "guitar": _plucked,
    "violin": _held([1 / number for number in range(1, 13)], 0.09, 0.01, 0.01),
    "trumpet": _held([0.6, 1.0, 0.9, 0.7, 0.5, 0.35, 0.2, 0.1], 0.03, 0.003, 0.01),
    "clarinet": _held([1.0, 0.05, 0.7, 0.05, 0.45, 0.05, 0.25], 0.04, 0.002, 0.02),
    "xylophone": _xylophone,
}
