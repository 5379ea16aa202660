"""``almtok codec predictability``; torch is loaded only when it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..core.choices import (
    SOURCES,
    add_data,
    add_device,
    add_frames_per_query,
    add_json,
    add_limit,
    add_no_progress,
    add_out,
    add_seed,
)
from ..core.printing import print_result

if TYPE_CHECKING:
    from ..codec.evaluation.codecs import EvaluatedCodec

EXAMPLES = """
almtok codec predictability --checkpoint runs/mine/codec --frames-per-query 3 6 10 \\
    --data speech=voices/ --out predictability
"""


def register(commands: Any) -> None:
    """Add ``predictability`` to the sub-parsers of ``almtok codec``."""
    parser = commands.add_parser(
        "predictability",
        help="loss and perplexity of a small language model on codes, by rate",
        description="Train the same small language model on the codes of each codec and rate, for\n"
        "the same number of steps on the same audio, and measure its loss on held-out clips.",
        examples=EXAMPLES,
        notes=SOURCES,
    )
    add = parser.add_argument
    add_data(parser)
    add_limit(parser)
    parser.group("codecs")
    several: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}
    add("--checkpoint", metavar="DIR", help="codecs of almtok: folders or hub ids", **several)
    text = "other codecs, see 'almtok codec evaluate --help-all'"
    add("--peers", metavar="CODEC", help=text, **several)
    add_frames_per_query(parser, nargs="+")
    add_device(parser)
    parser.group("language model")
    add("--steps", default=300, help="training steps")
    add("--batch-size", default=16, help="excerpts per step", advanced=True)
    text = "length of an excerpt"
    add("--segment-seconds", default=8.0, metavar="S", help=text, advanced=True)
    add_seed(parser, help="seed of clips, weights and excerpts", advanced=True)
    add_out(parser, "folder for table.md and table.json", overwrite=False)
    add_json(parser)
    add_no_progress(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run ``almtok codec predictability``; return 1 if a codec could not be run."""
    if not options.checkpoint and not options.peers:
        raise ValueError("expected --checkpoint or --peers, got neither")
    from dataclasses import asdict

    import numpy as np
    import soxr
    from tqdm import tqdm

    from ..codec.evaluation.harness import evaluation_clips, evaluation_corpus
    from ..core.files import write_json, write_text
    from ..core.metrics.audio import SCORE_RATE
    from .predictability import PredictabilityConfig, measure_predictability, to_markdown

    progress = not options.no_progress
    config = PredictabilityConfig(
        steps=options.steps,
        batch_size=options.batch_size,
        segment_seconds=options.segment_seconds,
        seed=options.seed,
    )
    corpus = evaluation_corpus(options.data, options.out / "cache", progress=progress)
    clips = evaluation_clips(corpus, limit=options.limit, seed=options.seed)
    rows, missing = [], 0
    for codec in _codecs(options):
        if codec is None:
            missing += 1
            continue
        codes = {}
        for clip in tqdm(clips, desc=f"{codec.name}: codes", unit="clip", disable=not progress):
            wav = soxr.resample(clip.read(), SCORE_RATE, codec.sample_rate).astype(np.float32)
            codes[f"{clip.domain} {clip.id}"] = codec.encode(np.ascontiguousarray(wav))
        row = measure_predictability(
            codes,
            name=codec.name,
            frame_rate=codec.frame_rate or 0.0,
            codebook_size=codec.codebook_size or 0,
            config=config,
            device=options.device,
            progress=progress,
        )
        rows.append(row)
        codec.release()
    if not rows:
        raise ValueError(f"no codec could be run: {', '.join(options.peers)}")
    table = to_markdown(rows, config)
    write_text(options.out / "table.md", table)
    settings, found = asdict(config), [asdict(row) for row in rows]
    values = {"settings": settings, "data": corpus.fingerprint, "rows": found}
    write_json(options.out / "table.json", values)
    places = f"tables: {options.out / 'table.md'}, {options.out / 'table.json'}"
    print_result(options, f"{table}\n{places}", values)
    return 1 if missing else 0


def _codecs(options: argparse.Namespace) -> Iterator[EvaluatedCodec | None]:
    """All codecs, one after the other; None for one that cannot be run."""
    from ..codec.evaluation.codecs import CodecUnavailable, load_almtok_codec, row_name
    from ..codec.evaluation.peers import load_codec

    for checkpoint in dict.fromkeys(options.checkpoint):
        for w in dict.fromkeys(options.frames_per_query or [None]):
            name = row_name(checkpoint, several=len(options.checkpoint) > 1, frames_per_query=w)
            yield load_almtok_codec(
                checkpoint, name=name, frames_per_query=w, device=options.device
            )
    for peer in dict.fromkeys(options.peers):
        try:
            codec = load_codec(peer, device=options.device)
        except CodecUnavailable as error:
            print(f"almtok: {peer} is not run: {error}", file=sys.stderr)
            yield None
            continue
        if codec.codebook_size is None:
            raise ValueError(f"predictability needs codecs with codebooks, got {peer}")
        yield codec
