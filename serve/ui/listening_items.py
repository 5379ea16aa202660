"""Clips of a listening test: the same recordings by several systems.

They come from a folder with a subfolder per system, or from the codec at several rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile
import torch

from ...codec.model import ALMTokenizer
from ...core.audio import AUDIO_SUFFIXES, Waveform, resample, write_audio
from ...core.files import files_below, walk
from ...lm.synthesis.espeak import EspeakBackend
from .limits import MAX_TEST_SECONDS, read_upload

REFERENCE = "reference"  # name of the system with the originals
ANCHOR = "anchor 3.5 kHz"  # of MUSHRA: the reference through a low-pass filter
MAX_SYSTEMS = 8
MAX_CLIPS = 8  # that are made with the codec
# Half the rate is the edge of the filter: soxr passes up to 0.91 of it (3.5 kHz).
_ANCHOR_RATE = 7700
_LEAST_RATE, _MOST_RATE = 16_000, 48_000  # Hz, of files of a folder
_SENTENCES = (("anna", "The rain has stopped and the sun is out again."),
              ("evan", "She had your dark suit in greasy wash water all year."),
              ("beth", "Two narrow gauge rails run along the bay."))  # fmt: skip


@dataclass(frozen=True)
class ListeningItems:
    """Files by system and name of the clip; they are read when they are asked for."""

    sample_rate: int  # at which clips are played, in Hz
    clips: Mapping[str, Mapping[str, Path]]  # system -> name of the clip -> file

    def __post_init__(self) -> None:
        if len(self.clips) < 2:
            raise ValueError(f"a listening test needs at least 2 systems, got {list(self.clips)}")
        if len(self.clips) > MAX_SYSTEMS:
            raise ValueError(f"at most {MAX_SYSTEMS} systems are compared, got {len(self.clips)}")

    @property
    def systems(self) -> tuple[str, ...]:
        """Names of the systems."""
        return tuple(self.clips)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the clips."""
        return tuple(next(iter(self.clips.values())))

    def wav(self, system: str, name: str) -> Waveform:
        """A clip [S], of the anchor too.

        Raises:
            ValueError: its file cannot be read or is too long.
        """
        if system == ANCHOR:
            original = self.wav(REFERENCE, name)
            low = resample(original, self.sample_rate, _ANCHOR_RATE)
            return resample(low, _ANCHOR_RATE, self.sample_rate)[: len(original)]
        return read_upload(str(self.clips[system][name]), self.sample_rate, MAX_TEST_SECONDS)


def items_of_folder(folder: Path, sample_rate: int) -> ListeningItems:
    """The clips of a folder with a subfolder per system.

    Args:
        folder: its subfolders have files of the same names (suffixes may differ).
        sample_rate: at which clips are played, in Hz.

    Raises:
        ValueError: there are no clips, a subfolder lacks some, or two have one name.
        FileNotFoundError: there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(2, "No such file or directory", str(folder))
    clips: dict[str, dict[str, Path]] = {}
    for place, _, files in walk(folder):
        found = [place / name for name in files if Path(name).suffix.lower() in AUDIO_SUFFIXES]
        if place != folder and found:
            _check_names(place, [file.stem for file in found])
            clips[place.relative_to(folder).as_posix()] = {file.stem: file for file in found}
    if not clips:
        raise ValueError(f"{folder} has no subfolders with audio files: one per system is expected")
    names = set.union(*(set(own) for own in clips.values()))
    for system, own in clips.items():
        if missing := sorted(names - set(own)):
            raise ValueError(f"{folder / system} has no clip {missing[0]!r}, which others have")
    ordered = {system: {name: own[name] for name in sorted(names)} for system, own in clips.items()}
    return ListeningItems(sample_rate, ordered)


def items_of_codec(
    codec: ALMTokenizer, files: Sequence[str], rates: Sequence[int], folder: Path
) -> ListeningItems:
    """Recordings through the codec at several numbers of frames per code, and the recordings.

    Args:
        codec: encodes and decodes.
        files: recordings; without any, three sentences of espeak-ng.
        rates: frames per code (w).
        folder: where the clips are written.

    Raises:
        ValueError: there are too many files, no rates, two files of one name, or a file cannot be
            used.
    """
    if len(files) > MAX_CLIPS:
        raise ValueError(f"At most {MAX_CLIPS} clips are compared, got {len(files)}.")
    if not 1 <= len(set(rates)) < MAX_SYSTEMS:
        raise ValueError(f"Choose 1 to {MAX_SYSTEMS - 1} values of w.")
    _check_names("the upload", [Path(file).stem for file in files])
    rate = codec.sample_rate
    originals = {
        Path(file).stem: read_upload(file, rate, MAX_TEST_SECONDS) for file in files
    } or _sentences(rate)
    clips: dict[str, dict[str, Path]] = {}
    for w in (None, *sorted(set(rates))):
        system = REFERENCE if w is None else f"w = {w}"
        clips[system] = {}
        for number, (name, wav) in enumerate(originals.items()):
            if w is not None:
                tokens = codec.tokenize(torch.as_tensor(wav), rate, w)
                wav = codec.detokenize(tokens).float().cpu().numpy()
            clips[system][name] = folder / f"{number}-{w or 0}.wav"
            write_audio(clips[system][name], wav, rate)
    return ListeningItems(rate, clips)


def _check_names(place: str | Path, names: Sequence[str]) -> None:
    """Refuse two clips of one name."""
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"Two clips of {place} are named {name!r}: rename one of them.")


def _sentences(sample_rate: int) -> dict[str, Waveform]:
    espeak = EspeakBackend()
    spoken = {}
    for voice, text in _SENTENCES:
        wav, rate = espeak.speak(text, voice, 1.0, 0)
        spoken[f"sentence by {voice}"] = resample(wav, rate, sample_rate)
    return spoken


def common_rate(folder: Path) -> int:
    """The highest sample rate of the files of a folder, 16 to 48 kHz, in Hz.

    Raises:
        ValueError: a file cannot be read.
    """
    rates = [_LEAST_RATE]
    for file in files_below(folder, AUDIO_SUFFIXES) if folder.is_dir() else ():
        try:
            rates.append(soundfile.info(file).samplerate)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{file} cannot be read: {error.error_string}") from error
    return min(_MOST_RATE, max(rates))
