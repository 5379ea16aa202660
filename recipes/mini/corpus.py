"""Generate corpora of spoken sentences, sound events and tunes, each with its text.

Nothing is downloaded, and the audio is under no licence. The same seed gives the same bytes. There
are three kinds: `codec` has many voices, `language` has one voice and single words too, and `voice`
is a voice that the others do not have.
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

from almtok.core.audio import Waveform, write_audio
from almtok.core.files import write_json, write_text
from almtok.core.reading import read_json_object

from .phrases import FEW, SPLITS, WHOLE, Phrases
from .signals import faded
from .sounds import SOUNDS, make_sound
from .tunes import make_tune
from .voices import VOICES, Speak, Voice, find_speaker

DOMAINS = ("speech", "sound", "music")
# Increased when the same seed gives other bytes.
_VERSION = 2


@dataclass(frozen=True)
class Part:
    """Clips of one domain and split."""

    domain: str
    split: str
    share: float  # of the duration of the corpus
    voices: tuple[Voice, ...] = VOICES
    phrases: Phrases = WHOLE
    words: bool = False  # one to three words instead of sentences
    plain: bool = False  # tunes with short captions

    @property
    def name(self) -> str:
        """Prefix of the names of its clips."""
        return f"{'words' if self.words else self.domain}-{self.split}"

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of its random choices, in addition to the seed of the corpus."""
        place = DOMAINS.index(self.domain), SPLITS.index(self.split)
        return (*place, 1 << 20) if self.words else place


def _parts(kind: str) -> list[Part]:
    """Return the parts of a corpus of this kind.

    Raises:
        ValueError: there is no such kind.
    """
    if kind == "voice":
        return [
            Part("speech", "train", 0.75, (NEW_VOICE,), FEW),
            Part("speech", "test", 0.25, (NEW_VOICE,), FEW),
        ]
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    shares = {"speech": 0.5, "sound": 0.25, "music": 0.25}
    splits = dict.fromkeys(DOMAINS, (0.8, 0.1, 0.1))
    voices: tuple[Voice, ...] = VOICES
    phrases, words = WHOLE, []
    if kind == "language":
        # A small vocabulary and one voice, so that each word is frequent; the test part has two
        # sounds of each kind.
        voices, phrases = LANGUAGE_VOICES, FEW
        words = [Part("speech", "train", 0.4, voices, phrases, words=True)]
        shares = {"speech": 0.39, "sound": 0.14, "music": 0.07}
        splits = {
            "speech": (0.94, 0.03, 0.03),
            "sound": (0.8, 0.05, 0.15),
            "music": (0.8, 0.05, 0.15),
        }
    return words + [
        Part(domain, split, shares[domain] * share, voices, phrases, plain=kind == "language")
        for domain in DOMAINS
        for split, share in zip(SPLITS, splits[domain], strict=True)
    ]


KINDS = ("codec", "language", "voice")
# The voice with the lowest WER of pocketsphinx. From the same minutes of two voices the model
# learned less, because each word of a voice was rarer (docs/lab/demo.md).
LANGUAGE_VOICES = tuple(voice for voice in VOICES if voice.name == "evan")
(NEW_VOICE,) = (voice for voice in VOICES if voice.name == "clara")


@dataclass(frozen=True)
class Row:
    """A row of the manifest."""

    id: str
    audio: str  # path, relative to the manifest
    text: str  # the sentence, or a caption
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
    kind: str = "codec",
    sample_rate: int = 24000,
    progress: bool = True,
) -> Path:
    """Write ``manifest.jsonl``, FLAC files, and all possible sentences as ``grammar.jsgf``.

    The audio of each split and domain lies in ``SPLIT/DOMAIN/``; train, validation and test share
    no sentence. A corpus that is there already is left alone, an interrupted one goes on.

    Args:
        out_dir: Its folder.
        seed: Another seed gives other sentences, sounds and tunes.
        minutes: Audio in all; each domain and split gets its share, and at least one clip.
        kind: Of ``KINDS``: half speech for a codec, mostly speech for a language model, one voice.
        sample_rate: In Hz.
        progress: Show a progress bar.

    Returns:
        The manifest; ``f"{manifest}:train"`` is a source for ``AudioCorpus.scan``.

    Raises:
        ValueError: The folder holds a corpus with other options; there is no such kind.
    """
    if minutes <= 0:
        raise ValueError(f"minutes must be positive, got {minutes}")
    folder, manifest, parts = Path(out_dir), Path(out_dir) / "manifest.jsonl", _parts(kind)
    options: dict[str, object] = {
        "version": _VERSION,
        "kind": kind,
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
    with tqdm(
        total=round(60 * minutes), desc="corpus", unit=" s of audio", disable=not progress
    ) as bar:
        for part in parts:
            for row in _make_part(folder, part, 60 * minutes, seed, sample_rate, speak):
                rows.append(row)
                bar.update(min(round(row.duration), bar.total - bar.n))
    write_text(folder / "grammar.jsgf", parts[0].phrases.grammar())
    # Written last: a folder with a manifest is complete.
    lines = [json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows]
    write_text(manifest, "".join(lines))
    return manifest


def _begun(folder: Path, options: dict[str, object]) -> dict[str, object]:
    """What the corpus in the folder was made with, {} where there is none."""
    try:
        found: dict[str, object] = read_json_object(folder / "corpus.json")
    except FileNotFoundError:
        return {}
    if {name: found.get(name) for name in options} != options:
        raise ValueError(
            f"{folder} holds a corpus made with {found}, asked for {options}; choose another folder"
        )
    return found


def _make_part(
    folder: Path, part: Part, seconds: float, seed: int, sample_rate: int, speak: Speak
) -> Iterator[Row]:
    """Clips of one part until its share of these seconds is reached."""
    start = np.random.default_rng(np.random.SeedSequence((seed, *part.seeds)))
    phrases = part.phrases
    texts = phrases.word_groups(start) if part.words else phrases.sentences(part.split, start)
    made, number, domain, split = 0.0, 0, part.domain, part.split
    while made < part.share * seconds:
        # Its own generator, so that a clip depends on no other and an interrupted run can go on.
        rng = np.random.default_rng(np.random.SeedSequence((seed, *part.seeds, number + 1)))
        name = f"{part.name}-{number:04d}"
        path = folder / split / domain / f"{name}.flac"
        speaker = language = ""
        if domain == "speech":
            voice = part.voices[number % len(part.voices)]
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
                text, samples = make_tune(rng, sample_rate, plain=part.plain)
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--kind", choices=KINDS, default="codec")
    o = parser.parse_args(given)
    print(make_corpus(o.out, o.seed, o.minutes, kind=o.kind))
