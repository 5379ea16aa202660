"""``almtok asr`` and ``caption``, once their options are read."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...core.files import write_text
from ...core.results_log import ResultsLog, key_of, stamp
from ..pipelines.audio_captioning import AudioCaptioner
from ..pipelines.base import AudioLMPipeline
from ..pipelines.options import GenerationOptions
from ..pipelines.outputs import Transcript
from ..pipelines.speech_recognition import SpeechRecognizer
from .inputs import AudioItem, audio_items, load_audio
from .outputs import JOURNAL, print_json, say
from .speak import load_pipeline, model_stamp

Hear = Callable[[AudioLMPipeline, AudioItem], Transcript]


def transcribe(args: argparse.Namespace, options: GenerationOptions) -> int:
    """Write down every audio; 1 if one could not be."""

    def hear(pipeline: AudioLMPipeline, item: AudioItem) -> Transcript:
        return SpeechRecognizer(pipeline, options).transcribe(
            load_audio(item),
            window_seconds=args.window,
            overlap_seconds=args.overlap,
            seed=args.seed,
        )

    return _run(hear, args, options, (args.window, args.overlap))


def caption(args: argparse.Namespace, options: GenerationOptions) -> int:
    """Describe every audio; 1 if one could not be."""

    def hear(pipeline: AudioLMPipeline, item: AudioItem) -> Transcript:
        return AudioCaptioner(pipeline, options).caption(
            load_audio(item), music=args.music, seed=args.seed
        )

    return _run(hear, args, options, (args.music,))


def _run(hear: Hear, args: argparse.Namespace, options: GenerationOptions, facts: Any) -> int:
    items = audio_items(args.files)
    journal = None if args.out is None else ResultsLog(args.out / JOURNAL)
    keys = _keys(items, args, options, facts) if journal is not None else {}
    pipeline: AudioLMPipeline | None = None
    failed = 0
    single = len(items) == 1
    for item in tqdm(items, desc=args.command, unit="file", disable=None if single else False):
        done = journal is not None and journal.get(item.id, keys[item.id]) is not None
        if done and _file(args, item).exists():
            continue
        if pipeline is None:  # only now: nothing to load where all is done
            pipeline = load_pipeline(args)
        try:
            found = hear(pipeline, item)
        except (ValueError, OSError) as error:
            if single:
                raise
            failed += 1
            say(f"{item.id}: {error}")
            if journal is not None:
                journal.add(item.id, keys[item.id], {"error": str(error)})
            continue
        _finish(item, found, args, several=not single)
        if journal is not None:
            journal.add(item.id, keys[item.id], _entry(item, found))
    return 1 if failed else 0


def _finish(item: AudioItem, found: Transcript, args: argparse.Namespace, *, several: bool) -> None:
    for problem in found.problems:
        say(f"{item.id}: {problem}")
    entry = _entry(item, found)
    if args.out is not None:
        text = json.dumps(entry, ensure_ascii=False, indent=1) if args.json else found.text
        write_text(_file(args, item), text + "\n")
    elif args.json:
        print_json(entry)
    else:
        print(f"{item.id}\t{found.text}" if several else found.text, flush=True)
    heard = "silence" if found.silent else f"confidence {found.confidence:.2f}"
    say(f"{item.id}: {found.duration:.2f} s of audio, RTF {found.rtf:.2f}, {heard}")


def _entry(item: AudioItem, found: Transcript) -> dict[str, Any]:
    return {
        "id": item.id,
        "text": found.text,
        "seconds": round(found.duration, 3),
        "rtf": round(found.rtf, 4),
        "confidence": round(found.confidence, 4),
        "silent": found.silent,
        "windows": [
            {"start": round(w.start, 2), "stop": round(w.stop, 2), "text": w.text}
            for w in found.windows
        ],
    }


def _file(args: argparse.Namespace, item: AudioItem) -> Path:
    folder: Path = args.out
    return folder / f"{item.id}.{'json' if args.json else 'txt'}"


def _keys(
    items: list[AudioItem], args: argparse.Namespace, options: GenerationOptions, facts: Any
) -> dict[str, str]:
    sampling = {**dataclasses.asdict(options), "batch_size": None}
    common = (model_stamp(args), args.command, sampling, facts, args.seed)
    return {
        item.id: key_of(
            common,
            item.id,
            key_of(item.source.hex()) if isinstance(item.source, bytes) else stamp(item.source),
        )
        for item in items
    }
