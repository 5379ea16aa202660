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
from ..pipelines.options import GenerationOptions
from ..pipelines.speech_recognition import SpeechRecognizer, Transcript
from .inputs import AudioItem, audio_items, load_audio
from .outputs import JOURNAL, print_json, say
from .speak import load_bundle, model_stamp

Hear = Callable[[SpeechRecognizer, AudioItem], Transcript]


def transcribe(options: argparse.Namespace, controls: GenerationOptions) -> int:
    """Write down every audio; 1 if one could not be."""

    def hear(transcriber: SpeechRecognizer, item: AudioItem) -> Transcript:
        return transcriber.transcribe(
            load_audio(item),
            window_seconds=options.window,
            overlap_seconds=options.overlap,
            seed=options.seed,
        )

    return _run(hear, options, controls, (options.window, options.overlap))


def caption(options: argparse.Namespace, controls: GenerationOptions) -> int:
    """Describe every audio; 1 if one could not be."""

    def hear(transcriber: SpeechRecognizer, item: AudioItem) -> Transcript:
        return transcriber.describe(load_audio(item), music=options.music, seed=options.seed)

    return _run(hear, options, controls, (options.music,))


def _run(hear: Hear, options: argparse.Namespace, controls: GenerationOptions, facts: Any) -> int:
    items = audio_items(options.files)
    journal = None if options.out is None else ResultsLog(options.out / JOURNAL)
    keys = _keys(items, options, controls, facts) if journal is not None else {}
    transcriber: SpeechRecognizer | None = None
    failed = 0
    single = len(items) == 1
    for item in tqdm(items, desc=options.command, unit="file", disable=None if single else False):
        done = journal is not None and journal.get(item.id, keys[item.id]) is not None
        if done and _file(options, item).exists():
            continue
        if transcriber is None:  # only now: nothing to load where all is done
            transcriber = SpeechRecognizer(load_bundle(options), controls)
        try:
            found = hear(transcriber, item)
        except (ValueError, OSError) as error:
            if single:
                raise
            failed += 1
            say(f"{item.id}: {error}")
            if journal is not None:
                journal.add(item.id, keys[item.id], {"error": str(error)})
            continue
        _finish(item, found, options, several=not single)
        if journal is not None:
            journal.add(item.id, keys[item.id], _entry(item, found))
    return 1 if failed else 0


def _finish(
    item: AudioItem, found: Transcript, options: argparse.Namespace, *, several: bool
) -> None:
    for problem in found.problems:
        say(f"{item.id}: {problem}")
    entry = _entry(item, found)
    if options.out is not None:
        text = json.dumps(entry, ensure_ascii=False, indent=1) if options.json else found.text
        write_text(_file(options, item), text + "\n")
    elif options.json:
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


def _file(options: argparse.Namespace, item: AudioItem) -> Path:
    folder: Path = options.out
    return folder / f"{item.id}.{'json' if options.json else 'txt'}"


def _keys(
    items: list[AudioItem], options: argparse.Namespace, controls: GenerationOptions, facts: Any
) -> dict[str, str]:
    sampling = {**dataclasses.asdict(controls), "batch_size": None}
    common = (model_stamp(options), options.command, sampling, facts, options.seed)
    return {
        item.id: key_of(
            common,
            item.id,
            key_of(item.source.hex()) if isinstance(item.source, bytes) else stamp(item.source),
        )
        for item in items
    }
