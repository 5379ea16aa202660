"""Kokoro-82M (hexgrad/Kokoro-82M, Apache-2.0) in ONNX: natural speech at 24 kHz in many voices.

A folder has ``model.onnx`` or ``model.int8.onnx``, ``vocab.json`` and ``voices/*.bin``. A voice is
a table of style vectors, one for each number of phones, and a mixture is a weighted mean of such
tables. The model draws nothing at random: the seed has no effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...core.audio import Waveform
from ...core.reading import UnreadableFile, field, read_json_object
from ..text.sentences import split_text
from .onnx import check_installed, open_session
from .phonemes import phonemize
from .voices import check_names, parse_recipe

RATE = 24_000  # Hz
_MOST_PHONES = 509
_STYLE = 256
_MODELS = ("model.onnx", "model.int8.onnx")
# First letter of a voice's name -> language of its speaker, as in BCP 47. Japanese and Chinese
# voices have phones that espeak-ng does not write.
_LANGUAGES = {
    "a": "en-US", "b": "en-GB", "e": "es", "f": "fr-FR", "h": "hi", "i": "it", "p": "pt-BR",
}  # fmt: skip
# espeak-ng's names where they differ.
_ESPEAK = {"en-US": "en-us", "en-GB": "en", "fr-FR": "fr-fr", "pt-BR": "pt-br"}
_GENDERS = {"f": "female", "m": "male"}
# English phones of espeak-ng that the model's training data wrote otherwise.
_ENGLISH = str.maketrans({"r": "ɹ", "x": "k", "ʲ": "j", "ɬ": "l"})


class Kokoro:
    """A folder of Kokoro as a :class:`~almtok.lm.synthesis.backends.Backend`."""

    name, licence = "kokoro", "Apache-2.0"

    def __init__(self, folder: Path, language: str = "en") -> None:
        """Read what the folder has; the model itself is loaded at the first reading.

        Args:
            folder: With the model, vocabulary and voices.
            language: Of the texts: "en", or another one that the model has voices of.

        Raises:
            ModuleNotFoundError: onnxruntime is not installed.
            ValueError: A file is missing or damaged, or the folder has no voice of the language.
        """
        check_installed()
        models = [folder / name for name in _MODELS if (folder / name).is_file()]
        if not models:
            raise ValueError(f"{folder} has no {' or '.join(_MODELS)}")
        self.folder, self.language, self._model = folder, language, models[0]
        vocabulary = read_json_object(folder / "vocab.json")
        self._ids: dict[str, int] = field(vocabulary, "vocab", dict, folder / "vocab.json")
        self._known = sorted(path.stem for path in (folder / "voices").glob("*.bin"))
        if not self.voices():
            raise ValueError(
                f"{folder}/voices has no voice for language {language!r};"
                f" found {', '.join(self._known[:8]) or 'none'}"
            )
        self._session: Any = None
        self._tables: dict[str, np.ndarray] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None, "_tables": {}}

    def voices(self) -> Sequence[str]:
        """Voices of the language."""
        base = self.language.lower()
        return [name for name in self._known if _language_of(name).lower().startswith(base)]

    def check_voice(self, recipe: str) -> None:
        """Check that the folder has the voices; those of other languages give an accent."""
        check_names(recipe, self._known)

    def describe(self, recipe: str) -> dict[str, str]:
        """Gender if all parts of a mixture share it, and the accent that texts are read with."""
        genders = {_GENDERS.get(name[1:2], "") for name, _ in parse_recipe(recipe)}
        gender = genders.pop() if len(genders) == 1 else ""
        return {"gender": gender, "language": self._accent(recipe)}

    def _accent(self, recipe: str) -> str:
        """Language of the largest part that speaks the language of the texts."""
        own = set(self.voices())
        parts = [(share, name) for name, share in parse_recipe(recipe) if name in own]
        return _language_of(max(parts)[1] if parts else self.voices()[0])

    def speak(self, text: str, recipe: str, speed: float, seed: int) -> tuple[Waveform, int]:
        """Read a text aloud; see :class:`~almtok.lm.synthesis.backends.Backend`."""
        accent = self._accent(recipe)
        ids = self._encode(text, accent)
        if len(ids) <= _MOST_PHONES:
            return self._run(ids, recipe, speed), RATE
        parts = [self._encode(part, accent) for part in _parts(text)]
        return np.concatenate([self._run(ids, recipe, speed) for ids in parts]), RATE

    def _encode(self, text: str, language: str) -> list[int]:
        phones = phonemize(text, _ESPEAK.get(language, language))
        if language.startswith("en"):
            phones = phones.translate(_ENGLISH)
        ids = [self._ids[sign] for sign in phones if sign in self._ids]
        if not ids:
            raise ValueError(f"nothing of {text[:40]!r} can be pronounced")
        return ids

    def _run(self, ids: Sequence[int], recipe: str, speed: float) -> Waveform:
        style = self._style(recipe)[min(len(ids), _MOST_PHONES)][None]
        feeds = {
            "tokens": np.array([[0, *ids[:_MOST_PHONES], 0]], np.int64),
            "style": style,
            "speed": np.array([speed], np.float32),
        }
        if self._session is None:
            self._session = open_session(self._model)
        wav: Waveform = self._session.run(None, feeds)[0].reshape(-1)
        return wav

    def _style(self, recipe: str) -> np.ndarray:
        """Table of a voice [phones, 256]."""
        mixed: np.ndarray = np.zeros(1, np.float32)
        for name, share in parse_recipe(recipe):
            if name not in self._tables:
                self._tables[name] = _read_table(self.folder / "voices" / f"{name}.bin")
            mixed = mixed + np.float32(share) * self._tables[name]
        return mixed


def _read_table(path: Path) -> np.ndarray:
    table = np.fromfile(path, np.float32)
    if table.size < (_MOST_PHONES + 1) * _STYLE or table.size % _STYLE:
        raise UnreadableFile(
            f"{path} must hold {_MOST_PHONES + 1} vectors of {_STYLE} float32 numbers,"
            f" got {table.size} numbers"
        )
    return table.reshape(-1, _STYLE)


def _language_of(name: str) -> str:
    return _LANGUAGES.get(name[:1], "") if name[1:2] in _GENDERS else ""


def _parts(text: str) -> list[str]:
    """Parts of at most 300 characters, which have fewer phones than the model reads at once."""
    return split_text(text, max_chars=300)
