"""Cut recordings into pieces of a few words, at word boundaries found by forced alignment.

    python -c "from almtok.recipes.transforms.cut_words import main; main()" SRC --out DIR

Short pieces teach a model how sounds and letters correspond. The aligner is pocketsphinx
(`pip install almtok[eval]`) with its English dictionary: recordings with a word that is not in it
are skipped and counted. The result depends on the seed only; a second run makes missing files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from almtok.codec.phonemes.aligner import Aligner, Word
from almtok.core.audio import Waveform, resample
from almtok.core.data.entries import AudioEntry, EntryReader
from almtok.core.data.manifests import list_entries

from .common import RATE, command_line, map_in_processes, write_manifest

_MARGIN = 0.06  # seconds of silence kept on either side, where there is that much
_FADE = 0.008  # seconds, against clicks where speech is cut


@dataclass(frozen=True)
class Piece:
    """Consecutive words of a recording."""

    text: str
    start: float  # seconds
    end: float  # seconds


def draw_pieces(
    words: Sequence[Word], most: int, coverage: float, rng: np.random.Generator
) -> Iterator[Piece]:
    """Draw pieces of 1 to `most` words until every word was used `coverage` times on average."""
    taken = 0
    while taken < coverage * len(words):
        count = min(len(words), int(rng.integers(1, most + 1)))
        first = int(rng.integers(len(words) - count + 1))
        yield piece_of(words[first : first + count])
        taken += count


def piece_of(words: Sequence[Word]) -> Piece:
    """Join consecutive words, with up to 60 ms of the silence on either side."""
    return Piece(
        " ".join(word.text for word in words),
        words[0].start - min(_MARGIN, words[0].room[0]),
        words[-1].end + min(_MARGIN, words[-1].room[1]),
    )


def fade(wav: Waveform) -> Waveform:
    """Return a copy of samples `[S]` at 24 kHz, faded in and out over 8 ms."""
    length = min(round(_FADE * RATE), len(wav) // 2)
    ramp = np.linspace(0.0, 1.0, length, dtype=np.float32)
    wav = wav.copy()
    wav[:length] *= ramp
    wav[len(wav) - length :] *= ramp[::-1]
    return wav


@dataclass(frozen=True)
class _Job:
    number: int
    entry: AudioEntry
    out: Path
    words: int
    coverage: float
    vary: float
    seed: int


def cut_recordings(
    sources: Sequence[str],
    out: Path,
    *,
    words: int = 6,
    coverage: float = 2.0,
    vary: float = 0.0,
    seed: int = 0,
    workers: int = 1,
) -> Path:
    """Write the pieces and a manifest of them; return the manifest.

    Args:
        sources: recordings with texts.
        out: folder to write.
        words: most words of a piece.
        coverage: how often a word is used, on average.
        vary: speeds are drawn between 1 / (1 + vary) and 1 + vary. A piece of another speed sounds
            like another speaker and has no speaker name.
        seed: of all random choices. It is part of file names if it is not 0, so that runs with
            several seeds can share a folder.
        workers: processes.

    Raises:
        ValueError: there are no texts, or no recording could be aligned.
    """
    (out / "audio").mkdir(parents=True, exist_ok=True)
    entries = [entry for entry in list_entries(sources, transcripts=True) if entry.text.strip()]
    if not entries:
        raise ValueError(f"no text in {', '.join(sources)}: pieces need texts")
    jobs = [_Job(n, entry, out, words, coverage, vary, seed) for n, entry in enumerate(entries)]
    cut = list(map_in_processes(_load, _cut, jobs, workers=workers, description="cut"))
    rows = [row for pieces in cut for row in pieces]
    if not rows:
        raise ValueError(
            f"none of {len(jobs)} recordings of {', '.join(sources)} could be aligned: texts must "
            "be English words"
        )
    if skipped := sum(not pieces for pieces in cut):
        print(f"{skipped} of {len(jobs)} recordings left out: not aligned")
    return write_manifest(out, rows)


def _load() -> tuple[Aligner, EntryReader]:
    return Aligner(), EntryReader()


def _cut(loaded: tuple[Aligner, EntryReader], job: _Job) -> list[dict[str, str]]:
    """Cut one recording and return the rows of its pieces."""
    aligner, reader = loaded
    entry = job.entry
    wav = reader.read(entry, RATE)
    rng = np.random.default_rng([job.seed, job.number])
    rows = []
    words = aligner.words(wav, RATE, entry.text)
    for count, piece in enumerate(draw_pieces(words, job.words, job.coverage, rng)):
        name = f"cut-{job.number:06d}-{count:02d}" + (f"-{job.seed}" if job.seed else "")
        path = job.out / "audio" / f"{name}.flac"
        speed = (1 + job.vary) ** rng.uniform(-1, 1)
        if not path.exists():
            part = fade(wav[round(piece.start * RATE) : round(piece.end * RATE)])
            part = resample(part, round(RATE * speed), RATE) if job.vary else part
            aside = path.with_suffix(".tmp")
            soundfile.write(aside, part, RATE, format="FLAC")
            aside.replace(path)
        row = {"id": name, "audio": f"audio/{path.name}", "text": piece.text}
        speaker = "" if job.vary else entry.speaker
        rows.append({**row, "speaker": speaker, "domain": "speech", "split": "train"})
    return rows


def main() -> None:
    """Run the transform from the command line."""
    parser = command_line(__doc__)
    add = parser.add_argument
    add("--words", type=int, default=6, help="most words of a piece (default %(default)s)")
    add("--coverage", type=float, default=2.0, help="times a word is used (default %(default)s)")
    add("--vary", type=float, default=0.0, help="vary speeds by this factor, such as 0.1")
    add("--seed", type=int, default=0)
    add("--workers", type=int, default=1, help="processes (default %(default)s)")
    print(cut_recordings(**vars(parser.parse_args())))
