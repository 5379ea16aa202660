"""Synthetic sound events with captions: 16 kinds, each with variations."""

from collections.abc import Callable

import numpy as np

from .signals import Floats, band_noise, decay, harmonics, place, slow_noise, times

Made = tuple[str, Floats]  # caption, samples [S]
_COUNTS = ("zero", "once", "twice", "three times", "four times", "five times")


def make_sound(kind: str, rng: np.random.Generator, sample_rate: int) -> Made:
    """One sound of a kind from ``SOUNDS``: its caption and its samples [S], of any loudness."""
    return SOUNDS[kind](rng, sample_rate)


def _choose(rng: np.random.Generator, *options: str) -> str:
    return options[int(rng.integers(len(options)))]


def _repeat(
    sound: Callable[[int], Floats], count: int, gap: float, sample_rate: int, tail: float = 0.3
) -> Floats:
    """``count`` sounds, each ``gap`` seconds after the one before."""
    parts = [sound(number) for number in range(count)]
    wav = np.zeros(round(((count - 1) * gap + tail) * sample_rate) + max(map(len, parts)))
    for number, part in enumerate(parts):
        place(wav, part, number * gap, sample_rate)
    return wav


def _rain(rng: np.random.Generator, rate: int) -> Made:
    kind = _choose(rng, "light", "heavy")
    size = round(rng.uniform(2.5, 4.5) * rate)
    wav = (0.15 if kind == "light" else 0.6) * band_noise(rng, size, rate, 800, 9000)
    for _ in range(round(size / rate * (25 if kind == "light" else 80))):
        drop = band_noise(rng, round(0.008 * rate), rate, 1500, 9000)
        drop *= decay(times(len(drop) / rate, rate), 0.0005, 0.002)[: len(drop)]
        place(wav, drop, rng.uniform(0, size / rate), rate, rng.uniform(0.5, 3.0))
    return f"{kind} rain falls", wav


def _wind(rng: np.random.Generator, rate: int) -> Made:
    kind = _choose(rng, "a soft", "a strong")
    size = round(rng.uniform(3, 5) * rate)
    low = 100 if kind == "a soft" else 250
    gust = slow_noise(rng, size, rate, 1.5)
    wav = band_noise(rng, size, rate, low, 4 * low) * (0.3 + gust)
    if kind == "a strong":
        wav += 0.7 * harmonics(400 + 350 * gust, [1.0], rate) * gust**2
    return f"{kind} wind blows", wav


def _bell(rng: np.random.Generator, rate: int) -> Made:
    height = _choose(rng, "low", "high")
    count = int(rng.integers(1, 5))
    pitch = rng.uniform(280, 420) if height == "low" else rng.uniform(900, 1400)
    time = times(1.8, rate)

    def ring(_: int) -> Floats:
        wav = np.zeros(len(time))
        for ratio, level in ((0.5, 0.4), (1, 1), (1.19, 0.5), (1.5, 0.4), (2, 0.6), (2.74, 0.3)):
            wav += (
                level * np.sin(2 * np.pi * ratio * pitch * time) * decay(time, 0.002, 0.7 / ratio)
            )
        return wav

    return f"a {height} bell rings {_COUNTS[count]}", _repeat(ring, count, 0.7, rate, 0)


def _dog(rng: np.random.Generator, rate: int) -> Made:
    size_word = _choose(rng, "small", "large")
    count = int(rng.integers(1, 6))
    base = rng.uniform(500, 650) if size_word == "small" else rng.uniform(170, 240)

    def bark(_: int) -> Floats:
        time = times(0.2, rate)
        pitch = base * rng.uniform(0.95, 1.05) * (0.7 + 0.5 * np.sin(np.pi * time / 0.2))
        wav = harmonics(pitch, [0.6, 1.0, 0.8, 0.6, 0.4, 0.3, 0.2], rate)
        wav += 0.8 * band_noise(rng, len(time), rate, base, 6 * base)
        return wav * decay(time, 0.015, 0.05)

    return f"a {size_word} dog barks {_COUNTS[count]}", _repeat(bark, count, 0.38, rate)


def _engine(rng: np.random.Generator, rate: int) -> Made:
    kind = _choose(rng, "idles", "speeds up", "slows down")
    size = round(rng.uniform(2.5, 4) * rate)
    slope = {"idles": (1, 1), "speeds up": (1, 2.8), "slows down": (2.8, 1)}[kind]
    pitch = (
        rng.uniform(28, 45)
        * np.linspace(*slope, size)
        * (1 + 0.02 * slow_noise(rng, size, rate, 8))
    )
    wav = harmonics(pitch, [1 / (1 + 0.25 * number) for number in range(24)], rate)
    return f"an engine {kind}", wav + 0.4 * band_noise(rng, size, rate, 60, 1200)


def _clock(rng: np.random.Generator, rate: int) -> Made:
    kind, gap = (("slowly", 0.5), ("quickly", 0.2))[int(rng.integers(2))]
    time = times(0.03, rate)
    pitches = rng.uniform(1800, 2600), rng.uniform(1200, 1700)

    def tick(number: int) -> Floats:
        tone = np.sin(2 * np.pi * pitches[number % 2] * time)
        return (tone + 0.5 * band_noise(rng, len(time), rate, 2000, 8000)) * decay(
            time, 0.0005, 0.005
        )

    return f"a clock ticks {kind}", _repeat(tick, round(3 / gap), gap, rate)


def _siren(rng: np.random.Generator, rate: int) -> Made:
    kind = _choose(rng, "rises and falls", "alternates between two tones")
    time = times(rng.uniform(3, 4.5), rate)
    if kind == "rises and falls":
        pitch = 900 + 400 * np.sin(2 * np.pi * rng.uniform(0.4, 0.9) * time - np.pi / 2)
    else:
        pitch = np.where((time * rng.uniform(1.2, 1.8)) % 1 < 0.5, 660.0, 880.0)
    return f"a siren {kind}", harmonics(pitch, [1.0, 0.5, 0.35, 0.2], rate)


def _knock(rng: np.random.Generator, rate: int) -> Made:
    count = int(rng.integers(2, 6))
    pitch = rng.uniform(140, 240)

    def knock(_: int) -> Floats:
        time = times(0.12, rate)
        wav = harmonics(np.full(len(time), pitch), [1, 0.7, 0.4, 0.2], rate)
        return (wav + 0.5 * band_noise(rng, len(time), rate, 200, 2500)) * decay(time, 0.001, 0.02)

    return f"someone knocks on a door {_COUNTS[count]}", _repeat(knock, count, 0.27, rate)


def _steps(rng: np.random.Generator, rate: int) -> Made:
    kind, gap = (("walks", 0.55), ("runs", 0.28))[int(rng.integers(2))]
    ground, low, high = (("gravel", 1500, 7000), ("wood", 80, 500))[int(rng.integers(2))]

    def step(_: int) -> Floats:
        time = times(0.15, rate)
        return band_noise(rng, len(time), rate, low, high) * decay(time, 0.01, 0.03)

    return f"someone {kind} on {ground}", _repeat(step, round(3 / gap), gap, rate)


def _water(rng: np.random.Generator, rate: int) -> Made:
    kind, count = (("slowly", 5), ("fast", 14))[int(rng.integers(2))]

    def drop(_: int) -> Floats:
        time = times(0.12, rate)
        pitch = rng.uniform(700, 1300) * (1 + 6 * time)
        return harmonics(pitch, [1.0, 0.2], rate) * decay(time, 0.003, 0.025)

    return f"water drips {kind}", _repeat(drop, count, 3 / count, rate)


def _bird(rng: np.random.Generator, rate: int) -> Made:
    kind = _choose(rng, "chirps", "trills")
    base = rng.uniform(2500, 4200)

    def call(_: int) -> Floats:
        time = times(0.5 if kind == "trills" else 0.12, rate)
        bend = np.sin(2 * np.pi * 25 * time) if kind == "trills" else 1 - time / 0.06
        return harmonics(base * (1 + 0.2 * bend), [1.0, 0.15], rate) * np.hanning(len(time))

    count, gap = (4, 0.7) if kind == "trills" else (8, 0.3)
    return f"a bird {kind}", _repeat(call, count, gap, rate)


def _thunder(rng: np.random.Generator, rate: int) -> Made:
    place_word = _choose(rng, "near", "far away")
    size = round(rng.uniform(3, 4.5) * rate)
    time = np.arange(size) / rate
    wav = band_noise(rng, size, rate, 25, 180) * (0.3 + slow_noise(rng, size, rate, 5))
    if place_word == "near":
        wav += 1.5 * band_noise(rng, size, rate, 200, 5000) * decay(time, 0.01, 0.15)
    return f"thunder rolls {place_word}", wav * decay(time, 0.1, 1.3)


def _alarm(rng: np.random.Generator, rate: int) -> Made:
    height, pitch = (("low", 700.0), ("high", 2000.0))[int(rng.integers(2))]
    count = int(rng.integers(2, 6))

    def beep(_: int) -> Floats:
        time = times(0.18, rate)
        return np.sign(np.sin(2 * np.pi * pitch * time)) * np.hanning(len(time)) ** 0.2

    return f"a {height} alarm beeps {_COUNTS[count]}", _repeat(beep, count, 0.35, rate)


def _waves(rng: np.random.Generator, rate: int) -> Made:
    size = round(rng.uniform(4, 5) * rate)
    swell = np.sin(np.pi * np.arange(size) / rate / rng.uniform(1.8, 2.4)) ** 4
    return "ocean waves break on the shore", band_noise(rng, size, rate, 150, 5000) * (0.1 + swell)


def _clapping(rng: np.random.Generator, rate: int) -> Made:
    kind, many = (("one person claps", 1), ("a crowd applauds", 30))[int(rng.integers(2))]
    wav = np.zeros(round(3 * rate))
    for _ in range(many):
        begin, gap = rng.uniform(0, 0.3), rng.uniform(0.25, 0.35)
        low = rng.uniform(700, 1200)
        while begin < 2.9:
            time = times(0.06, rate)
            clap = band_noise(rng, len(time), rate, low, 4 * low) * decay(time, 0.001, 0.012)
            place(wav, clap, begin, rate)
            begin += gap * rng.uniform(0.95, 1.05)
    return kind, wav


def _phone(rng: np.random.Generator, rate: int) -> Made:
    count = int(rng.integers(1, 4))
    pitch = rng.uniform(900, 1300)

    def ring(_: int) -> Floats:
        time = times(0.7, rate)
        switching = np.where((time * 20) % 1 < 0.5, pitch, 1.25 * pitch)
        return harmonics(switching, [1.0, 0.3, 0.2], rate) * np.hanning(len(time)) ** 0.1

    return f"a telephone rings {_COUNTS[count]}", _repeat(ring, count, 1.1, rate, 0)


SOUNDS: dict[str, Callable[[np.random.Generator, int], Made]] = {
    "rain": _rain, "wind": _wind, "bell": _bell, "dog": _dog, "engine": _engine, "clock": _clock,
    "siren": _siren, "knock": _knock, "steps": _steps, "water": _water, "bird": _bird,
    "thunder": _thunder, "alarm": _alarm, "waves": _waves, "clapping": _clapping, "phone": _phone,
}  # fmt: skip

# A word that all captions of a kind have, and no others.
_TELLING = {
    "rain": "rain", "wind": "wind", "bell": "bell", "dog": "dog", "engine": "engine",
    "clock": "clock", "siren": "siren", "knocks": "knock", "walks": "steps", "runs": "steps",
    "water": "water", "bird": "bird", "thunder": "thunder", "alarm": "alarm", "waves": "waves",
    "claps": "clapping", "applauds": "clapping", "telephone": "phone",
}  # fmt: skip


def kind_of(caption: str) -> str:
    """Return the kind of sound of a caption of :func:`make_sound`; "" for other texts."""
    return next((_TELLING[word] for word in caption.split() if word in _TELLING), "")
