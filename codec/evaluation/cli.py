"""``almtok codec evaluate``; torch is loaded only when it runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.choices import (
    SOURCES,
    add_data,
    add_device,
    add_frames_per_query,
    add_heard,
    add_json,
    add_judges,
    add_limit,
    add_out,
    add_recognizer,
    add_seed,
)
from ...core.printing import print_result
from ..cli import add_search, named_by_search, searches_of

if TYPE_CHECKING:
    from ...core.judges.base import Judge
    from .codecs import EvaluatedCodec
    from .fad import CodecVectors
    from .harness import EvaluationClip
    from .results import ClipResult
    from .table import Evaluation

EXAMPLES = """
almtok codec evaluate --checkpoint runs/mine/codec --data speech=voices/ --out scores
almtok codec evaluate --checkpoint runs/mine/codec --data test.parquet --limit 50 \\
    --peers encodec@1.5 mimi@0.55 codec2-700C opus-6k --reference codec2-700C --out scores
almtok codec evaluate --checkpoint runs/mine/codec --data speech=test.parquet \\
    --recognizer whisper:openai/whisper-base --speaker-encoder resemblyzer \\
    --mos distillmos dnsmos --heard train.parquet --out scores
"""
PEERS_HELP = "other codecs: encodec@1.5 (kbps), dac, mimi, codec2-700C, opus-6k ..."
NOTES = f"""
peers: encodec, dac, mimi, xcodec, xcodec2, higgs, wavtokenizer, neucodec (Hugging Face), each also
  as NAME@KBPS or NAME=FOLDER@KBPS; hf=FOLDER_OR_HUB_ID for another checkpoint of these;
  codec2-450, codec2-700C, codec2-1300, codec2-2400, opus-6k (installed programs)

{SOURCES}"""


def register(commands: Any) -> None:
    """Add ``evaluate`` to the sub-parsers of ``almtok codec``."""
    parser = commands.add_parser(
        "evaluate",
        help="measure codecs: quality, rate and speed on the same clips",
        description="Reconstruct clips with codecs and score quality, rate and speed. The same\n"
        "command resumes a stopped evaluation.",
        examples=EXAMPLES,
        notes=NOTES,
    )
    add = parser.add_argument
    add_data(parser)
    add_limit(parser)
    add_seed(parser, advanced=True)
    parser.group("codecs")
    several: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}
    text = "codecs of almtok: folders, hub ids or presets (random weights)"
    add("--checkpoint", metavar="DIR", help=text, **several)
    add("--peers", metavar="CODEC", help=PEERS_HELP, **several)
    text = "report paired differences to this codec of the table"
    add("--reference", metavar="CODEC", help=text, advanced=True)
    add_frames_per_query(parser, nargs="+")
    text = "embedding of Fréchet audio distances: whisper:ID, clap:ID, beats:FILE, wavlm ..."
    add("--fad", metavar="EMBEDDING", help=text, advanced=True)
    add_search(parser)
    add_device(parser)
    parser.group("judges of speech")
    add_recognizer(parser, "none")
    add_judges(parser)
    add_heard(parser)
    add_out(parser, "folder for table.md, table.json and scores of clips", overwrite=False)
    add("--html", action="store_true", help="also write report.html, with audio players")
    add_json(parser)
    text = "clips per domain whose audio is kept"
    add("--keep-audio", default=4, help=text, advanced=True)
    text = "evaluate clips again that failed before"
    add("--retry-failed", action="store_true", help=text, advanced=True)
    parser.set_defaults(run=evaluate)


def evaluate(options: argparse.Namespace) -> int:
    """Run ``almtok codec evaluate``; return 1 if a codec cannot run or has no scored clip."""
    if not options.checkpoint and not options.peers:
        raise ValueError("expected --checkpoint or --peers, got neither")
    if options.out.suffix in (".md", ".json", ".html"):
        raise ValueError(f"--out must be a folder, got {options.out}")
    if options.limit is not None and options.limit < 1:
        raise ValueError(f"--limit must be at least 1, got {options.limit}")
    from ...core.data.speakers import speaker_groups
    from ...core.metrics.audio import require_packages
    from .harness import corpus_transcripts, evaluation_clips, evaluation_corpus
    from .judged import RECORDINGS, judged_results
    from .markdown import to_markdown
    from .table import summarise

    specs = _codec_specs(options)
    judges = _load_judges(options)
    if options.reference is not None and options.reference not in [*specs, *_rows_of(judges)]:
        raise ValueError(
            f"--reference must be one of {', '.join(specs)}, got {options.reference!r}"
        )
    corpus = evaluation_corpus(options.data, options.out / "cache")
    clips = evaluation_clips(
        corpus,
        limit=options.limit,
        seed=options.seed,
        transcripts=corpus_transcripts(options.data) if options.recognizer != "none" else None,
    )
    require_packages(clip.domain for clip in clips)
    speech = [clip for clip in clips if clip.domain == "speech"]
    groups = speaker_groups({clip.id: clip.speaker for clip in speech}, options.heard)
    if judges and not speech:
        raise ValueError(f"judges need speech, such as speech=PATH; {options.data} has none")
    if options.recognizer != "none" and not any(clip.text for clip in speech):
        raise ValueError("--recognizer needs transcripts of the clips: none has one")
    vectors = _vectors(options, clips, corpus.fingerprint)
    results, not_run = _run_all(options, specs, clips, corpus.fingerprint, judges, vectors)
    if not set(results) - {RECORDINGS}:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in not_run.items())
        raise ValueError(f"no codec could be run: {reasons}")
    if options.reference in not_run:
        raise ValueError(f"the reference {options.reference} could not be run")
    scored, scale = judged_results(results, clips, judges, groups)
    table = summarise(
        list(scored.values()),
        reference=results[options.reference][0].name if options.reference else None,
        not_run=not_run,
        fad=None if vectors is None else vectors.table(),
        groups=groups,
        judges={judge.role: judge.pinned for judge in judges},
        speaker_scale=scale,
        seed=options.seed,
    )
    _write(options, table, to_markdown(table), clips)
    complete = all(len(row.failed) < row.clips for row in table.codecs)
    return 0 if complete and not not_run else 1


def _load_judges(options: argparse.Namespace) -> list[Judge]:
    from ...core.judges.load import load_mos, load_recognizer, load_speaker_encoder
    from ...core.metrics.words import count_errors

    recognizer = load_recognizer(options.recognizer, device=options.device)
    if recognizer is not None:
        count_errors("a", "a")  # raises now, not after an hour, if jiwer is missing
    encoder = load_speaker_encoder(options.speaker_encoder, device=options.device)
    return [judge for judge in (recognizer, encoder) if judge] + load_mos(options.mos)


def _rows_of(judges: Sequence[Judge]) -> list[str]:
    """Rows of the table besides codecs."""
    from .judged import RECORDINGS

    return [RECORDINGS] if judges else []


@dataclass(frozen=True)
class _CodecSpec:
    """A codec to run."""

    source: str  # argument of `load_codec`
    frames_per_query: int | None = None
    search_steps: int | None = None


def _codec_specs(options: argparse.Namespace) -> dict[str, _CodecSpec]:
    """The codecs to run by name, in the order of the table.

    Raises:
        ValueError: Two of them would write the same files.
    """
    from .harness import safe_name

    found = [
        (_own_name(options, checkpoint, w, steps), _CodecSpec(f"almtok={checkpoint}", w, steps))
        for checkpoint in dict.fromkeys(options.checkpoint)
        for w in dict.fromkeys(options.frames_per_query or [None])
        for steps in searches_of(options)
    ]
    found += [(peer, _CodecSpec(peer)) for peer in dict.fromkeys(options.peers)]
    names: dict[str, _CodecSpec] = {}
    for name, spec in found:  # the names of their files
        if other := names.get(safe_name(name)):
            raise ValueError(
                f"{other.source} and {spec.source} would both be called {safe_name(name)!r}:"
                " rename a folder"
            )
        names[safe_name(name)] = spec
    return dict(found)


def _run_all(
    options: argparse.Namespace,
    specs: dict[str, _CodecSpec],
    clips: list[EvaluationClip],
    data: str,
    judges: list[Judge],
    vectors: CodecVectors | None,
) -> tuple[dict[str, tuple[EvaluatedCodec, list[ClipResult]]], dict[str, str]]:
    from .codecs import CodecUnavailable
    from .harness import evaluate_codec
    from .judged import Recordings

    kept = _kept_ids(clips, options.keep_audio)
    results: dict[str, tuple[EvaluatedCodec, list[ClipResult]]] = {}
    for name in _rows_of(judges):
        speech = [clip for clip in clips if clip.domain == "speech"]
        own = Recordings()
        rows = evaluate_codec(own, speech, options.out, data=data, judges=judges, device="cpu")
        results[name] = own, rows
    not_run: dict[str, str] = {}
    for name, spec in specs.items():
        try:
            codec = _load(name, spec, options.device)
        except CodecUnavailable as error:
            print(f"almtok: {name} is not run: {error}", file=sys.stderr)
            not_run[name] = str(error)
            continue
        rows = evaluate_codec(
            codec,
            clips,
            options.out,
            data=data,
            judges=judges,
            keep_audio=kept,
            vectors=None if vectors is None else vectors.of(codec),
            retry_failed=options.retry_failed,
            device=options.device,
        )
        results[name] = codec, rows
        codec.release()
    _keep_originals(options.out, clips, kept)
    return results, not_run


def _vectors(
    options: argparse.Namespace, clips: list[EvaluationClip], data: str
) -> CodecVectors | None:
    """Where the embeddings of ``--fad`` go."""
    if options.fad is None:
        return None
    from .embeddings import embedding_key, load_embedding
    from .fad import CodecVectors

    embedding = load_embedding(options.fad, device=options.device)
    folder = options.out / "embeddings"
    return CodecVectors(embedding, embedding_key(options.fad), folder, clips, data)


def _load(name: str, spec: _CodecSpec, device: str) -> EvaluatedCodec:
    from .peers import load_almtok_codec, load_codec

    if not spec.source.startswith("almtok="):
        return load_codec(spec.source, device=device)
    return load_almtok_codec(
        spec.source.removeprefix("almtok="),
        name=name,
        frames_per_query=spec.frames_per_query,
        search_steps=spec.search_steps,
        device=device,
    )


def _own_name(
    options: argparse.Namespace, checkpoint: str, w: int | None, steps: int | None
) -> str:
    """``almtok`` with folder, w and search where there are several."""
    from .codecs import row_name

    name = row_name(checkpoint, several=len(options.checkpoint) > 1, frames_per_query=w)
    return named_by_search(name, steps)


def _kept_ids(clips: list[EvaluationClip], count: int) -> set[str]:
    """Ids of the first clips of each domain, up to 15 s, whose audio is kept."""
    kept: dict[str, list[str]] = {}
    for clip in clips:
        ids = kept.setdefault(clip.domain, [])
        if len(ids) < count and clip.seconds <= 15.0:
            ids.append(clip.id)
    return {name for ids in kept.values() for name in ids}


def _keep_originals(out: Path, clips: list[EvaluationClip], kept: set[str]) -> None:
    from ...core.audio import write_audio
    from ...core.files import file_name
    from ...core.metrics.audio import SCORE_RATE

    for clip in clips:
        path = out / "audio" / "original" / f"{file_name(clip.id)}.flac"
        if clip.id in kept and not path.exists():
            write_audio(path, clip.read(), SCORE_RATE)


def _write(
    options: argparse.Namespace, table: Evaluation, markdown: str, clips: list[EvaluationClip]
) -> None:
    from ...core.files import write_json, write_text

    write_text(options.out / "table.md", markdown)
    write_json(options.out / "table.json", table.to_dict())
    lines = [f"{markdown}\ntables: {options.out / 'table.md'}, {options.out / 'table.json'}"]
    if options.html:
        from .report import report_from_folder

        path = report_from_folder(options.out, table, clips, checkpoints=options.checkpoint)
        lines.append(f"report: {path}")
    print_result(options, "\n".join(lines), table.to_dict())
