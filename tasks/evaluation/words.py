"""``almtok codec word-errors``: word errors of a recognizer on audio through codecs.

STOI and PESQ can miss lost words. The result is the increase in WER over that on the recordings,
paired by clip.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
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
from ...core.data.speakers import speaker_groups
from ...core.files import write_json, write_text
from ...core.judges.base import JudgedAudio
from ...core.judges.load import load_recognizer
from ...core.judges.recognizers import CachedRecognizer, Recognizer
from ...core.metrics.audio import SCORE_RATE
from ...core.metrics.intervals import Interval, format_interval, rate_interval
from ...core.printing import print_result
from ..commands.outputs import print_status
from .clips import EvaluationClip, list_clips
from .scores import Spelling, TextErrors, text_errors

ORIGINAL = "the recordings"


_BATCH = 8  # clips that are transcribed together


@dataclass(frozen=True)
class CodecWordErrors:
    """Word errors through one codec, or of the recordings themselves."""

    coder: str
    kbps: float
    wer: Interval
    lost: Interval | None  # WER minus that of the recordings; None for the recordings
    cer: Interval
    speakers: str = ""  # group of clips; "" is all


def measure(
    clips: Sequence[EvaluationClip],
    coders: Sequence[EvaluatedCodec],
    recognizer: Recognizer,
    groups: Mapping[str, Collection[str]] | None = None,
) -> tuple[list[CodecWordErrors], list[dict[str, Any]]]:
    """Transcribe every clip, and every clip through every codec.

    Args:
        clips: to transcribe.
        coders: codecs.
        recognizer: that transcribes.
        groups: ids of clips by name, for further rows.

    Returns:
        Rows of the table, and all transcripts by clip.
    """
    reader, facts = EntryReader(), []
    with tqdm(total=len(clips), desc="transcribe", unit="clip") as bar:
        for first in range(0, len(clips), _BATCH):
            facts += _heard(clips[first : first + _BATCH], coders, recognizer, reader)
            bar.update(len(facts) - first)
    names = {ORIGINAL: 0.0, **{coder.name: coder.kbps for coder in coders}}
    rows = []
    for group, ids in {"": [clip.id for clip in clips], **(groups or {})}.items():
        chosen = [fact for fact in facts if fact["id"] in ids]
        rows += [
            _row(name, kbps, chosen, recognizer.spelling, group) for name, kbps in names.items()
        ]
    return rows, facts


def _heard(
    clips: Sequence[EvaluationClip],
    coders: Sequence[EvaluatedCodec],
    recognizer: Recognizer,
    reader: EntryReader,
) -> list[dict[str, Any]]:
    """Transcripts of a batch of clips, by codec."""
    wavs = [reader.read(clip.recording, SCORE_RATE) for clip in clips]
    languages = [clip.recording.language for clip in clips]
    audio = {
        ORIGINAL: [
            JudgedAudio(wav, SCORE_RATE, code) for wav, code in zip(wavs, languages, strict=True)
        ]
    }
    for coder in coders:
        # At the rate of the codec: resampling to 24 kHz in between costs Codec2 some points.
        resampled = [soxr.resample(wav, SCORE_RATE, coder.sample_rate) for wav in wavs]
        decoded = [
            coder.code(np.ascontiguousarray(wav.astype(np.float32))).wav for wav in resampled
        ]
        audio[coder.name] = [
            JudgedAudio(wav, coder.sample_rate, code)
            for wav, code in zip(decoded, languages, strict=True)
        ]
    heard = {name: recognizer.transcribe_all(items) for name, items in audio.items()}
    return [
        {
            "id": clip.id,
            "text": clip.text,
            "language": language,
            "heard": {name: texts[number] for name, texts in heard.items()},
        }
        for number, (clip, language) in enumerate(zip(clips, languages, strict=True))
    ]


def _row(
    name: str, kbps: float, facts: Sequence[dict[str, Any]], spelling: Spelling, group: str
) -> CodecWordErrors:
    def counts(coder: str, *, characters: bool = False) -> list[TextErrors]:
        return [
            text_errors(
                fact["text"],
                fact["heard"][coder],
                characters=characters,
                language=fact["language"],
                spelling=spelling,
            )
            for fact in facts
        ]

    words, originals, letters = counts(name), counts(ORIGINAL), counts(name, characters=True)
    sizes = [count.size for count in words]
    more = [a.errors - b.errors for a, b in zip(words, originals, strict=True)]
    return CodecWordErrors(
        coder=name,
        kbps=kbps,
        wer=rate_interval([count.errors for count in words], sizes),
        lost=None if name == ORIGINAL else rate_interval(more, sizes),
        cer=rate_interval([one.errors for one in letters], [one.size for one in letters]),
        speakers=group,
    )


def to_markdown(rows: Sequence[CodecWordErrors], judge: str) -> str:
    """The tables, with intervals."""
    lines = [
        f"Words that {judge} gets wrong, %, on {rows[0].wer.n} clips; 95 % bootstrap intervals.",
    ]
    for group in dict.fromkeys(row.speakers for row in rows):
        own = [row for row in rows if row.speakers == group]
        lines += ["", f"{group.capitalize()} ({own[0].wer.n} clips)"] if group else []
        lines += [
            "",
            "| | kbit/s | WER | more than on the recordings | CER |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
        for row in own:
            rate = "" if row.lost is None else f"{row.kbps:.4g}"
            lost = "" if row.lost is None else format_interval(row.lost)
            wer, cer = format_interval(row.wer), format_interval(row.cer)
            lines.append(f"| {row.coder} | {rate} | {wer} | {lost} | {cer} |")
    return "\n".join(lines) + "\n"


def evaluate_words(args: argparse.Namespace) -> int:
    """Evaluate, and write words.md and words.json; 1 if a peer codec could not be run."""
    recognizer = load_recognizer(args.recognizer, device=args.device)
    if recognizer is None:
        raise ValueError("word errors need a recognizer, such as --recognizer pocketsphinx")
    clips = [clip for clip in list_clips(args.data) if clip.domain == "speech"][: args.limit]
    if not clips:
        raise ValueError(f"no speech with a text in {', '.join(args.data)}")
    groups = speaker_groups({clip.id: clip.recording.speaker for clip in clips}, args.heard)
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
    rows, facts = measure(clips, coders, judge, groups)
    table = to_markdown(rows, recognizer.pinned)
    found = {"recognizer": recognizer.pinned, "rows": [asdict(row) for row in rows], "clips": facts}
    write_json(args.out / "words.json", found)
    write_text(args.out / "words.md", table)
    print_result(args, table, found)
    print_status(f"words.md and words.json, with all transcripts, are in {args.out}")
    return 1 if missing else 0
