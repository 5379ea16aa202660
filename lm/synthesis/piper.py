"""Voices of Piper in ONNX: ``NAME.onnx`` with ``NAME.onnx.json``, one or many speakers each.

The models draw their pace and intonation at random. onnxruntime draws from a stream that begins
with a session, so each reading opens its own: a reading must not depend on those before it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...core.audio import Waveform
from ...core.reading import field, read_json_object
from .onnx import check_installed, open_session
from .phonemes import phonemize
from .voices import check_names

_LICENCE = re.compile(r"licen[cs]e[*_: ]+(\S.*)", re.IGNORECASE)
_PAD, _BEGIN, _END = "_", "^", "$"


class Piper:
    """A folder of Piper voices as a :class:`~almtok.lm.synthesis.backends.Backend`.

    Voices are called by their file, ``en_US-joe-medium``, and speakers of one file
    ``en_US-libritts-high/p225``.
    """

    name = "piper"

    def __init__(self, folder: Path, language: str = "en") -> None:
        """Read the descriptions of the voices.

        Args:
            folder: With the voices.
            language: Of the texts, such as "en".

        Raises:
            ModuleNotFoundError: onnxruntime is not installed.
            ValueError: A file is damaged or missing, or there is no voice of the language.
        """
        check_installed()
        self._configs: dict[str, dict[str, Any]] = {}
        self._voices: dict[str, tuple[Path, int | None]] = {}  # file, and number of the speaker
        for path in sorted(folder.glob("*.onnx.json")):
            self._read(path, language)
        if not self._voices:
            raise ValueError(f"{folder} has no voice of Piper for language {language!r}")
        card = folder / "MODEL_CARD"
        found = _LICENCE.search(card.read_text("utf-8")) if card.is_file() else None
        self.licence = found[1].strip() if found else ""

    def _read(self, path: Path, language: str) -> None:
        config, model = read_json_object(path), path.with_suffix("")
        voice = field(field(config, "espeak", dict, path), "voice", str, path)
        if not voice.lower().startswith(language.lower()[:2]):
            return
        field(config, "phoneme_id_map", dict, path)
        field(field(config, "audio", dict, path), "sample_rate", int, path)
        if not model.is_file():
            raise ValueError(f"{model} is missing beside {path.name}")
        name = model.stem
        self._configs[str(model)] = config
        speakers = config.get("speaker_id_map") or {}
        self._voices |= {f"{name}/{key}": (model, number) for key, number in speakers.items()}
        if not speakers:
            self._voices[name] = model, None

    def voices(self) -> Sequence[str]:
        """All voices of the language."""
        return list(self._voices)

    def check_voice(self, recipe: str) -> None:
        """Check that there is such a voice; voices of Piper cannot be mixed."""
        if "+" in recipe:
            raise ValueError(f"voices of Piper cannot be mixed, got {recipe!r}")
        check_names(recipe, self.voices())

    def describe(self, recipe: str) -> dict[str, str]:
        """Language of a voice."""
        config = self._configs[str(self._voices[recipe][0])]
        code = (config.get("language") or {}).get("code") or config["espeak"]["voice"]
        return {"language": str(code).replace("_", "-")}

    def speak(self, text: str, recipe: str, speed: float, seed: int) -> tuple[Waveform, int]:
        """Read a text aloud; see :class:`~almtok.lm.synthesis.backends.Backend`."""
        model, speaker = self._voices[recipe]
        config = self._configs[str(model)]
        ids = self._encode(text, config)
        given = {"noise_scale": 0.667, "length_scale": 1.0, "noise_w": 0.8}
        given |= config.get("inference", {})
        scales = [given["noise_scale"], given["length_scale"] / speed, given["noise_w"]]
        feeds: dict[str, Any] = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array(scales, np.float32),
        }
        if speaker is not None:
            feeds["sid"] = np.array([speaker], np.int64)
        wav: Waveform = open_session(model, seed).run(None, feeds)[0].reshape(-1)
        return wav, int(config["audio"]["sample_rate"])

    @staticmethod
    def _encode(text: str, config: dict[str, Any]) -> list[int]:
        table = config["phoneme_id_map"]
        phones = unicodedata.normalize("NFD", phonemize(text, config["espeak"]["voice"]))
        known = [table[sign] for sign in phones if sign in table]
        if not known:
            raise ValueError(f"nothing of {text[:40]!r} can be pronounced")
        # Signs are parted by the pad.
        parted = [number for ids in known for number in (*ids, *table[_PAD])]
        return [*table[_BEGIN], *table[_PAD], *parted, *table[_END]]
