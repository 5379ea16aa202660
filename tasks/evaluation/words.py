"""``almtok codec word-errors``: word errors of a recognizer on audio through codecs.

STOI and PESQ can miss lost words. The result is the increase in WER over that on the recordings,
paired by clip.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from tqdm import tqdm

from ...codec.checkpoints import shipped
from ...codec.cli import named_by_search, searches_of
from ...codec.evaluation.codecs import CodecUnavailable, EvaluatedCodec, load_almtok_codec
from ...codec.evaluation.peers import load_codec
from ...core.data.entries import EntryReader
from ...core.files import write_json, write_text
from ...core.metrics.audio import SCORE_RATE
from ...core.metrics.intervals import Interval, format_interval, rate_interval
from ..commands.outputs import print_status
from .measure import EvaluationClip, list_clips
from .recognizers import CachedRecognizer, Recognizer, load_recognizer
from .scores import text_errors

ORIGINAL = "the recordings"


@dataclass(frozen=True)
class CodecWordErrors:
    """Word errors through one codec, or of the recordings themselves."""

    coder: str
    kbps: float
    wer: Interval
    lost: Interval | None  # WER minus that of the recordings; None for the recordings


def measure(
    clips: Sequence[EvaluationClip], coders: Sequence[EvaluatedCodec], recognizer: Recognizer
) -> tuple[list[CodecWordErrors], list[dict[str, Any]]]:
    """Transcribe every clip, and every clip through every codec.

    Returns:
        Rows of the table, and all transcripts by clip.
    """
    reader, facts = EntryReader(), []
    for clip in tqdm(clips, desc="transcribe", unit="clip"):
        wav = reader.read(clip.recording, SCORE_RATE)
        transcripts = {ORIGINAL: recognizer.transcribe(wav, SCORE_RATE)}
        for coder in coders:
            # At the rate of the codec: resampling to 24 kHz in between costs Codec2 some points.
            resampled = soxr.resample(wav, SCORE_RATE, coder.sample_rate).astype(np.float32)
            decoded = coder.code(np.ascontiguousarray(resampled)).wav
            transcripts[coder.name] = recognizer.transcribe(decoded, coder.sample_rate)
        language = clip.recording.language
        facts.append({"id": clip.id, "text": clip.text, "language": language, "heard": transcripts})
    names = {ORIGINAL: 0.0, **{coder.name: coder.kbps for coder in coders}}
    return [_row(name, kbps, facts) for name, kbps in names.items()], facts


def _row(name: str, kbps: float, facts: Sequence[dict[str, Any]]) -> CodecWordErrors:
    counts, originals = (
        [text_errors(f["text"], f["heard"][coder], language=f["language"]) for f in facts]
        for coder in (name, ORIGINAL)
    )
    sizes = [count.size for count in counts]
    more = [a.errors - b.errors for a, b in zip(counts, originals, strict=True)]
    return CodecWordErrors(
        coder=name,
        kbps=kbps,
        wer=rate_interval([count.errors for count in counts], sizes),
        lost=None if name == ORIGINAL else rate_interval(more, sizes),
    )


def to_markdown(rows: Sequence[CodecWordErrors], judge: str) -> str:
    """The table, with intervals."""
    lines = [
        f"Words that {judge} gets wrong, %, on {rows[0].wer.n} clips; 95 % bootstrap intervals.",
        "",
        "| | kbit/s | WER | more than on the recordings |",
        "| --- | ---: | ---: | ---: |",
    ]
    for row in rows:
        rate = "" if row.lost is None else f"{row.kbps:.4g}"
        lost = "" if row.lost is None else format_interval(row.lost)
        lines.append(f"| {row.coder} | {rate} | {format_interval(row.wer)} | {lost} |")
    return "\n".join(lines) + "\n"


def evaluate_words(args: argparse.Namespace) -> int:
    """Evaluate, and write words.md and words.json; 1 if a peer codec could not be run."""
    recognizer = load_recognizer(args.recognizer)
    if recognizer is None:
        raise ValueError("word errors need a recognizer: --recognizer pocketsphinx")
    clips = [clip for clip in list_clips(args.data) if clip.domain == "speech"][: args.limit]
    if not clips:
        raise ValueError(f"no speech with a text in {', '.join(args.data)}")
    checkpoints = args.checkpoint or [str(shipped() / "codec")]
    names = ["almtok"] if len(checkpoints) == 1 else [f"almtok {Path(c)}" for c in checkpoints]
    coders: list[EvaluatedCodec] = [
        load_almtok_codec(
            place,
            name=named_by_search(name, steps),
            search_steps=steps,
            device=args.device,
        )
        for place, name in zip(checkpoints, names, strict=True)
        for steps in searches_of(args)
    ]
    missing = 0
    for peer in args.peers:
        try:
            coders.append(load_codec(peer, device=args.device))
        except CodecUnavailable as error:
            print_status(f"almtok: {peer} is not run: {error}")
            missing += 1
    judge = CachedRecognizer(recognizer, args.out)
    rows, facts = measure(clips, coders, judge)
    table = to_markdown(rows, recognizer.name)
    write_json(args.out / "words.json", {"rows": [asdict(row) for row in rows], "clips": facts})
    write_text(args.out / "words.md", table)
    print(table)
    print_status(f"words.md and words.json, with all transcripts, are in {args.out}")
    return 1 if missing else 0
