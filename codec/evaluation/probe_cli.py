"""``almtok codec probe``; torch is loaded only when it runs."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from ...core.choices import (
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
from ...core.printing import print_result

if TYPE_CHECKING:
    from .probe_features import Features

WINDOW_RATE = 12.5  # windows of phones per second
TASK_NAMES = ("phones", "speaker", "class")
EXAMPLES = """
almtok codec probe --checkpoint runs/mine/codec --data speech=voices/manifest.jsonl --out probes
almtok codec probe --checkpoint runs/mine/codec --features whisper:openai/whisper-base hubert \\
    --data test.parquet --limit 300 --out probes
"""
NOTES = f"""
phones:  frames of {1 / WINDOW_RATE:g} s, by forced alignment of English texts (pip install
  pocketsphinx); test speakers are in no other part, if there are four or more
speaker: mean over the clip; clips of every speaker are in all parts (column 'speaker')
class:   mean over the clip (column 'label')

features beside the codecs: log-mel (always), whisper:ID, clap:ID, wav2vec2[:ID], hubert[:ID],
  wavlm[:ID], beats:FILE, spectral, phonemes:FILE; codes of other codecs: --peers

{SOURCES}"""


def register(commands: Any) -> None:
    """Add ``probe`` to the sub-parsers of ``almtok codec``."""
    parser = commands.add_parser(
        "probe",
        help="measure what codes tell linearly of phones, speakers and sound classes",
        description="Train linear probes on codes, quantized and unquantized queries, and on\n"
        "other features, and test them on held-out clips.",
        examples=EXAMPLES,
        notes=NOTES,
    )
    add = parser.add_argument
    add_data(parser)
    add_limit(parser)
    add_seed(parser, help="seed of clips and splits", advanced=True)
    parser.group("features")
    several: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}
    add("--checkpoint", metavar="DIR", help="codecs of almtok: folders or hub ids", **several)
    add("--features", metavar="NAME", help="embeddings, such as whisper:ID or hubert", **several)
    text = "codes of other codecs, see 'almtok codec evaluate --help-all'"
    add("--peers", metavar="CODEC", help=text, advanced=True, **several)
    add_frames_per_query(parser, nargs="+")
    add_device(parser)
    parser.group("probes")
    text = "probes to run (default: all that the data has labels for)"
    add("--tasks", nargs="+", choices=TASK_NAMES, default=TASK_NAMES, metavar="TASK", help=text)
    add_out(parser, "folder for table.md, table.json and alignments", overwrite=False)
    add_json(parser)
    add_no_progress(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run ``almtok codec probe``; return 1 if a codec could not be run."""
    if not options.checkpoint and not options.features and not options.peers:
        raise ValueError("expected --checkpoint, --features or --peers, got none")
    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit must be at least 1, got {options.limit}")
    from ...core.data.entries import EntryReader
    from ...core.data.manifests import list_entries
    from ...core.files import write_json, write_text
    from ...core.metrics.audio import SCORE_RATE
    from .probe_tasks import choose, make_tasks
    from .probes import run_probes, to_markdown

    progress = not options.no_progress
    features, missing = _features(options)
    clips = choose(list_entries(options.data, transcripts=True), options.limit, options.seed)
    tasks, not_probed = make_tasks(
        clips, WINDOW_RATE, options.out, names=options.tasks, seed=options.seed, progress=progress
    )
    if not tasks:
        reasons = "; ".join(f"{name}: {why}" for name, why in not_probed.items())
        raise ValueError(f"{', '.join(options.data)} has labels for no probe: {reasons}")
    reader = EntryReader()
    table = run_probes(
        {name: lambda one=entry: reader.read(one, SCORE_RATE) for name, entry in clips.items()},  # type: ignore[misc]
        features,
        tasks,
        rate=WINDOW_RATE,
        not_probed=not_probed,
        seed=options.seed,
        progress=progress,
    )
    markdown = to_markdown(table)
    write_text(options.out / "table.md", markdown)
    write_json(options.out / "table.json", table.to_dict())
    places = f"tables: {options.out / 'table.md'}, {options.out / 'table.json'}"
    print_result(options, f"{markdown}\n{places}", table.to_dict())
    return 1 if missing else 0


def _features(options: argparse.Namespace) -> tuple[list[Features], int]:
    """All features, and how many codecs could not be loaded."""
    from .codecs import CodecUnavailable, load_almtok_codec, row_name
    from .embeddings import load_embedding
    from .peers import load_codec
    from .probe_features import CodecFeatures, EmbeddingFeatures, LogMel, TokenizerFeatures

    found: list[Features] = [LogMel()]
    for checkpoint in dict.fromkeys(options.checkpoint):
        model = load_almtok_codec(checkpoint, device=options.device).model
        for w in dict.fromkeys(options.frames_per_query or [None]):
            name = row_name(checkpoint, several=len(options.checkpoint) > 1, frames_per_query=w)
            found.append(TokenizerFeatures(model, name, w))
    missing = 0
    for peer in dict.fromkeys(options.peers):
        try:
            found.append(CodecFeatures(load_codec(peer, device=options.device)))
        except CodecUnavailable as error:
            print(f"almtok: {peer} is not run: {error}", file=sys.stderr)
            missing += 1
    for name in options.features:
        found.append(EmbeddingFeatures(load_embedding(name, device=options.device)))
    return found, missing
