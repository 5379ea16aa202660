"""What speaks: one interface for espeak-ng, Kokoro, Piper and functions of the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from ...core.audio import Waveform, as_waveform
from ...core.functions import load_function, split_place
from ...core.reading import reading

ESPEAK = "espeak"


class Backend(Protocol):
    """A speech synthesizer. Instances are pickled for worker processes, before they have spoken.

    Attributes:
        name: Of the synthesizer, for the manifest.
        licence: Of the model, for the manifest; "" if unknown.
    """

    name: str
    licence: str

    def voices(self) -> Sequence[str]:
        """Voices that are used if none is named; empty if any name is possible."""

    def check_voice(self, recipe: str) -> None:
        """Check the recipe of a voice; raise ``ValueError`` with some known names otherwise."""

    def describe(self, recipe: str) -> dict[str, str]:
        """``gender`` and ``language`` of a voice, as far as they are known."""

    def speak(self, text: str, recipe: str, speed: float, seed: int) -> tuple[Waveform, int]:
        """Read a text aloud.

        Args:
            text: Words and punctuation, numbers written out.
            recipe: Voice.
            speed: 1 is the usual speed of the voice, 2 twice as fast.
            seed: Of all random choices; equal arguments give equal samples.

        Returns:
            Samples [S], and their rate in Hz.
        """


class FunctionBackend:
    """A function ``speak(text, voice, speed, seed) -> (samples, sample_rate)`` in a Python file."""

    licence = ""

    def __init__(self, file: str, function: str) -> None:
        """Load the file.

        Raises:
            ValueError: There is no such file, it cannot be run, or has no such function.
        """
        self.name = f"{Path(file).name}:{function}"
        self._place = file, function
        self._function: Callable[..., Any] | None = load_function(file, function)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_function": None}

    def voices(self) -> Sequence[str]:
        """Any name is possible."""
        return ()

    def check_voice(self, recipe: str) -> None:
        """Any name is possible."""

    def describe(self, recipe: str) -> dict[str, str]:
        """Nothing is known."""
        return {}

    def speak(self, text: str, recipe: str, speed: float, seed: int) -> tuple[Waveform, int]:
        """Call the function; see :class:`Backend`.

        Raises:
            ValueError: It raises an exception, or does not return samples and a rate.
        """
        if self._function is None:
            self._function = load_function(*self._place)
        with reading(self.name, ValueError):
            found = self._function(text, recipe, speed, seed)
            if not (isinstance(found, tuple) and len(found) == 2):
                raise ValueError(f"must return samples and their rate, got {found!r:.60}")
            rate = int(found[1])
            if rate < 1:
                raise ValueError(f"the rate must be at least 1 Hz, got {rate}")
        return as_waveform(found[0]), rate


def load_backend(model: str, language: str) -> Backend:
    """Load a synthesizer.

    Args:
        model: ``espeak``, a folder of Kokoro or Piper, or ``FILE.py:FUNCTION``.
        language: Of the texts, such as "en".

    Raises:
        ValueError: It is none of these, or cannot be loaded.
        ModuleNotFoundError: A package is missing; the message says how to install it.
    """
    if place := split_place(model):
        return FunctionBackend(*place)
    if model == ESPEAK:
        if language.lower()[:2] != "en":
            raise ValueError(f"the voices of espeak-ng read English, got language {language!r}")
        from .espeak import EspeakBackend

        return EspeakBackend()
    folder = Path(model).expanduser()
    if (folder / "vocab.json").is_file():
        from .kokoro import Kokoro

        return Kokoro(folder, language)
    if any(folder.glob("*.onnx.json")):
        from .piper import Piper

        return Piper(folder, language)
    raise ValueError(
        f"model must be {ESPEAK}, a folder of Kokoro (model.onnx, vocab.json, voices/) or of Piper"
        f" (NAME.onnx, NAME.onnx.json), or FILE.py:FUNCTION, got {model!r}"
    )
