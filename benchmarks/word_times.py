"""``python -m benchmarks.word_times``: word times by CTC beside those of a forced aligner.

    python -m benchmarks.word_times --data speech=voices/:test --out table.md
    python -m benchmarks.word_times --data speech=voices/:test --speak --out table.md

The texts are known, so only the alignment is measured. The reference is pocketsphinx, which has
errors of its own. With ``--speak`` the texts are spoken by the model instead of taken from the
recordings. Clips that the aligner does not align (words outside its dictionary) are left out and
counted.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from almtok.codec.checkpoints import DEFAULT
from almtok.codec.phonemes.aligner import Aligner
from almtok.core.data.entries import EntryReader
from almtok.core.files import write_text
from almtok.lm.text.normalize import plain
from almtok.tasks import AudioLMPipeline, TextToSpeech
from almtok.tasks.evaluation.clips import EvaluationClip, list_clips
from almtok.tasks.pipelines.word_alignment import align_words

from .harness import markdown_table

LIMITS = (0.08, 0.16, 0.24)  # seconds
HEADER = (
    "words of", "bound", "clips", "words", "bias, ms", "median error, ms", "90 %, ms",
    *(f"within {1000 * limit:.0f} ms" for limit in LIMITS),
)  # fmt: skip
Pairs = list[tuple[float, float]]  # (ours, reference), seconds


def bounds_of(
    pipeline: AudioLMPipeline, clips: Sequence[EvaluationClip], *, speak: bool
) -> Iterator[tuple[Pairs, Pairs] | None]:
    """Starts and ends of the words of each clip; None if it has no reference."""
    reader, aligner, tts = EntryReader(), Aligner(), TextToSpeech(pipeline)
    rate = pipeline.sample_rate
    for clip in clips:
        # Hyphens and dashes part words for the aligner.
        text = " ".join(re.sub(r"[^a-z' ]+", " ", plain(clip.text)).split())
        if speak:
            speech = tts.speak(text, timestamps=True)
            wav, words = speech.wav.numpy(), speech.words or ()
        else:
            wav = reader.read(clip.recording, rate)
            words = align_words(pipeline, [pipeline.tokens(wav)], [text])[0]
        reference = aligner.words(wav, rate, text)
        if [word.text for word in reference] != [word.text for word in words]:
            yield None
            continue
        pairs = list(zip(words, reference, strict=True))
        yield [(a.start, b.start) for a, b in pairs], [(a.end, b.end) for a, b in pairs]


def rows_of(name: str, found: Sequence[tuple[Pairs, Pairs]]) -> list[list[str]]:
    """A row of the table for the starts of the words, and one for their ends."""
    rows = []
    for bound, side in (("start", 0), ("end", 1)):
        ours, reference = np.array([pair for clip in found for pair in clip[side]]).T
        errors = ours - reference
        sizes = np.abs(errors)
        milliseconds = (np.median(errors), np.median(sizes), np.quantile(sizes, 0.9))
        rows.append(
            [name, bound, str(len(found)), str(len(errors))]
            + [f"{1000 * value:.0f}" for value in milliseconds]
            # A thousandth more: both times are multiples of 10 ms.
            + [f"{100 * np.mean(sizes <= limit + 1e-3):.0f} %" for limit in LIMITS]
        )
    return rows


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", nargs="+", required=True, metavar="SOURCE")
    parser.add_argument("--checkpoint", default=str(DEFAULT), metavar="DIR")
    parser.add_argument("--limit", type=int, metavar="N", help="clips of each source")
    parser.add_argument("--speak", action="store_true", help="speak the texts")
    parser.add_argument("--out", type=Path, metavar="FILE", help="Markdown (default: printed)")
    args = parser.parse_args()
    pipeline = AudioLMPipeline.from_pretrained(args.checkpoint)
    rows = []
    for source in args.data:
        clips = list_clips([source])[: args.limit]
        results = list(bounds_of(pipeline, clips, speak=args.speak))
        found = [result for result in results if result is not None]
        print(f"{source}: {len(found)} of {len(clips)} clips aligned", file=sys.stderr)
        if found:
            rows += rows_of(source, found)
    table = markdown_table(HEADER, rows) + "\n"
    if args.out is None:
        print(table, end="")
    else:
        write_text(args.out, table)


if __name__ == "__main__":
    main()
