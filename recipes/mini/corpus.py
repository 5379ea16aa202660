"""A corpus made on the spot: spoken sentences, sound events and tunes, each with its text.

Nothing is downloaded and nothing is under anyone's licence. The same seed gives the same bytes.
"""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from almtok.codec.audio import Waveform, write_audio
from almtok.codec.files import write_json, write_text

from .phrases import SPLITS, sentences
from .signals import faded
from .sounds import SOUNDS, make_sound
from .tunes import make_tune
from .voices import VOICES, Speak, find_speaker

DOMAINS = ("speech", "sound", "music")
# Raised when other bytes come out for the same seed.
_VERSION = 1
_SHARES = {"speech": 0.5, "sound": 0.25, "music": 0.25}
_SPLIT_SHARES = {"train": 0.8, "validation": 0.1, "test": 0.1}


@dataclass(frozen=True)
class Row:
    """One line of the manifest."""

    id: str
    audio: str  # path, relative to the manifest
    text: str  # the sentence, or a caption of what is heard
    speaker: str
    language: str
    domain: str
    duration: float  # seconds
    split: str


def make_corpus(
    out_dir: str | os.PathLike[str],
    seed: int = 0,
    minutes: float = 8.0,
    *,
    sample_rate: int = 24000,
    progress: bool = True,
) -> Path:
    """Write ``manifest.jsonl`` and FLAC files; half speech, a quarter sounds, a quarter tunes.

    The audio of each split and domain lies in ``SPLIT/DOMAIN/``; train, validation and test share
    no sentence. A corpus that is there already is left alone, an interrupted one goes on.

    Args:
        out_dir: Its folder.
        seed: Another seed gives other sentences, sounds and tunes.
        minutes: Audio in all; each domain and split gets its share, and at least one clip.
        sample_rate: In Hz.
        progress: Show a progress bar.

    Returns:
        The manifest; ``f"{manifest}:train"`` is a source for ``AudioCorpus.scan``.

    Raises:
        ValueError: The folder holds a corpus with other options.
    """
    if minutes <= 0:
        raise ValueError(f"minutes must be positive, got {minutes}")
    folder, manifest = Path(out_dir), Path(out_dir) / "manifest.jsonl"
    options: dict[str, object] = {
        "version": _VERSION,
        "seed": seed,
        "minutes": float(minutes),
        "sample_rate": sample_rate,
    }
    if not _begun(folder, options) and manifest.exists():
        raise ValueError(f"{manifest} is of another corpus; choose another folder")
    if manifest.exists():
        return manifest
    name, speak = find_speaker()
    if _begun(folder, options).get("synthesiser", name) != name:
        raise ValueError(f"{folder} was begun with another synthesiser than {name}; choose another")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "corpus.json", {**options, "synthesiser": name})
    rows = []
    with tqdm(total=round(60 * minutes), desc="corpus", unit="s", disable=not progress) as bar:
        for domain in DOMAINS:
            for split in SPLITS:
                seconds = 60 * minutes * _SHARES[domain] * _SPLIT_SHARES[split]
                for row in _make_part(folder, domain, split, seconds, seed, sample_rate, speak):
                    rows.append(row)
                    bar.update(min(round(row.duration), bar.total - bar.n))
    # Written last: a folder with a manifest is complete.
    lines = [json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows]
    write_text(manifest, "".join(lines))
    return manifest


def _begun(folder: Path, options: dict[str, object]) -> dict[str, object]:
    """What the corpus in the folder was made with, {} where there is none."""
    try:
        found = dict(json.loads((folder / "corpus.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    if {name: found.get(name) for name in options} != options:
        raise ValueError(
            f"{folder} holds a corpus made with {found}, asked for {options}; choose another folder"
        )
    return found


def _make_part(
    folder: Path,
    domain: str,
    split: str,
    seconds: float,
    seed: int,
    sample_rate: int,
    speak: Speak,
) -> Iterator[Row]:
    """Clips of one domain and split until their length is reached."""
    place = DOMAINS.index(domain), SPLITS.index(split)
    texts = sentences(split, np.random.default_rng(np.random.SeedSequence((seed, *place))))
    made, number = 0.0, 0
    while made < seconds:
        # Its own generator, so that a clip depends on no other and an interrupted run can go on.
        rng = np.random.default_rng(np.random.SeedSequence((seed, *place, number + 1)))
        name = f"{domain}-{split}-{number:04d}"
        path = folder / split / domain / f"{name}.flac"
        speaker = language = ""
        if domain == "speech":
            voice = VOICES[number % len(VOICES)]
            text, speaker, language = next(texts), voice.name, voice.language
            if not path.exists():
                quiet = np.zeros(round(rng.uniform(0.05, 0.2) * sample_rate), np.float32)
                wav = np.concatenate([quiet, speak(text, voice, sample_rate), quiet])
                _write(path, wav, rng, sample_rate)
        else:
            if domain == "sound":
                kind = list(SOUNDS)[number % len(SOUNDS)]
                text, samples = make_sound(kind, rng, sample_rate)
            else:
                text, samples = make_tune(rng, sample_rate)
            if not path.exists():
                _write(path, faded(samples, sample_rate).astype(np.float32), rng, sample_rate)
        duration = round(soundfile.info(path).frames / sample_rate, 3)
        yield Row(
            id=name,
            audio=path.relative_to(folder).as_posix(),
            text=text,
            speaker=speaker,
            language=language,
            domain=domain,
            duration=duration,
            split=split,
        )
        made, number = made + duration, number + 1


def _write(path: Path, wav: Waveform, rng: np.random.Generator, sample_rate: int) -> None:
    """Between -26 and -18 dBFS loud, over faint noise: recordings are never digitally silent."""
    level = 10 ** (rng.uniform(-26, -18) / 20)
    wav = wav * (level / max(1e-9, float(np.sqrt(np.mean(wav**2)))))
    floor = 10 ** (rng.uniform(-85, -70) / 20)
    wav = wav + floor * rng.standard_normal(len(wav), np.float32)
    write_audio(path, wav / max(1.0, float(np.abs(wav).max()) / 0.98), sample_rate)


def main(given: Sequence[str] | None = None) -> None:
    """Make a corpus as the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=8.0)
    o = parser.parse_args(given)
    print(make_corpus(o.out, o.seed, o.minutes))
