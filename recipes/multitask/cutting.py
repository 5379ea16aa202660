"""Recordings cut into pieces of a few words, at the word boundaries that an alignment finds.

    python -c "from almtok.recipes.multitask.cutting import main; main()" SRC --out DIR

What readings of a synthesiser teach of letters holds for its voices; these are the same lesson in
the voices of the corpus. The aligner is pocketsphinx (`pip install almtok[eval]`), which knows
English words of its dictionary: recordings with another word are left out and counted. Made from a
seed; a second run makes what is missing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from almtok.codec.phonemes.aligner import Aligner, Word
from almtok.core.audio import Waveform, read_audio, resample
from almtok.core.data.reader import EntryReader
from almtok.core.files import write_text
from almtok.lm.data.recordings import Recording
from almtok.lm.data.sources import list_recordings

RATE = 24_000
_ROOM = 0.06  # seconds of silence kept on either side, where there is that much
_FADE = 0.008  # seconds: a cut inside speech must not click


@dataclass(frozen=True)
class Piece:
    """Some words that follow each other."""

    text: str
    start: float  # seconds
    end: float


def pieces(
    words: Sequence[Word], most: int, coverage: float, rng: np.random.Generator
) -> Iterator[Piece]:
    """Pieces of 1 to ``most`` words, until every word was taken ``coverage`` times on average."""
    taken = 0
    while taken < coverage * len(words):
        count = min(len(words), int(rng.integers(1, most + 1)))
        first = int(rng.integers(len(words) - count + 1))
        yield piece_of(words[first : first + count])
        taken += count


def piece_of(words: Sequence[Word]) -> Piece:
    """These words, with the silence around them as far as there is any."""
    return Piece(
        " ".join(word.text for word in words),
        words[0].start - min(_ROOM, words[0].room[0]),
        words[-1].end + min(_ROOM, words[-1].room[1]),
    )


@dataclass(frozen=True)
class _Job:
    number: int
    recording: Recording
    out: Path
    words: int
    coverage: float
    vary: float
    seed: int


def cut(
    sources: Sequence[str],
    out: Path,
    *,
    words: int = 6,
    coverage: float = 2.0,
    vary: float = 0.0,
    seed: int = 0,
    workers: int = 1,
) -> Path:
    """Write the pieces and their manifest; returns the manifest.

    Args:
        sources: recordings with texts.
        out: folder.
        words: most words of a piece.
        coverage: times that a word is used, on average.
        vary: pieces are played up to so much faster or slower, as if by another speaker, and have
            no name of a speaker then.
        seed: of all that is drawn; part of the names if it is not 0, so that several runs mix.
        workers: processes.

    Raises:
        ValueError: if there are no texts, or no recording could be aligned.
    """
    (out / "audio").mkdir(parents=True, exist_ok=True)
    found = [one for one in list_recordings(sources) if one.entry.text.strip()]
    if not found:
        raise ValueError(f"no text in {', '.join(sources)}: pieces need texts")
    jobs = [_Job(n, one, out, words, coverage, vary, seed) for n, one in enumerate(found)]
    rows: list[dict[str, str]] = []
    aligned = 0
    with get_context("spawn").Pool(workers, _start) as pool:
        # In order, so that the same command writes the same manifest.
        for made in tqdm(pool.imap(_cut, jobs, 8), total=len(jobs), unit="clip", desc="cutting"):
            rows += made
            aligned += bool(made)
    if not rows:
        raise ValueError(
            f"none of {len(jobs)} recordings of {', '.join(sources)} could be aligned: expected "
            "English texts in words"
        )
    if aligned < len(jobs):
        print(f"{len(jobs) - aligned} of {len(jobs)} recordings left out: not aligned")
    manifest = out / "manifest.jsonl"
    write_text(manifest, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return manifest


_of_process: list[tuple[Aligner, EntryReader]] = []


def _start() -> None:
    _of_process.append((Aligner(), EntryReader()))


def _cut(job: _Job) -> list[dict[str, str]]:
    """Cut one recording; rows of the manifest."""
    aligner, reader = _of_process[0]
    one, entry = job.recording, job.recording.entry
    wav = read_audio(reader.open(entry), RATE, start=one.start, seconds=one.seconds)
    rng = np.random.default_rng([job.seed, job.number])
    rows = []
    for count, piece in enumerate(
        pieces(aligner.words(wav, RATE, entry.text), job.words, job.coverage, rng)
    ):
        name = f"cut-{job.number:06d}-{count:02d}" + (f"-{job.seed}" if job.seed else "")
        path = job.out / "audio" / f"{name}.flac"
        speed = (1 + job.vary) ** rng.uniform(-1, 1)
        if not path.exists():
            part = faded(wav[round(piece.start * RATE) : round(piece.end * RATE)])
            part = resample(part, round(RATE * speed), RATE) if job.vary else part
            aside = path.with_suffix(".tmp")
            soundfile.write(aside, part, RATE, format="FLAC")
            aside.replace(path)
        row = {"id": name, "audio": f"audio/{path.name}", "text": piece.text}
        speaker = "" if job.vary else entry.speaker
        rows.append({**row, "speaker": speaker, "domain": "speech", "split": "train"})
    return rows


def faded(wav: Waveform) -> Waveform:
    """Without clicks at its ends."""
    length = min(round(_FADE * RATE), len(wav) // 2)
    ramp = np.linspace(0.0, 1.0, length, dtype=np.float32)
    wav = wav.copy()
    wav[:length] *= ramp
    wav[len(wav) - length :] *= ramp[::-1]
    return wav


def main() -> None:
    """Cut as the command line asks, see the head of this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("sources", nargs="+", help="recordings with texts, as for --data")
    add("--out", type=Path, required=True)
    add("--words", type=int, default=6, help="most words of a piece (default %(default)s)")
    add("--coverage", type=float, default=2.0, help="times a word is used (default %(default)s)")
    add("--vary", type=float, default=0.0, help="speeds vary by so much, such as 0.1")
    add("--seed", type=int, default=0)
    add("--workers", type=int, default=1, help="processes (default %(default)s)")
    o = parser.parse_args()
    how = {name: getattr(o, name) for name in ("words", "coverage", "vary", "seed", "workers")}
    print(cut(o.sources, o.out, **how))
