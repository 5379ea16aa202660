"""``almtok sound``, ``music`` and ``continue``, once their options are read."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from ...core.results_log import key_of, stamp
from ..pipelines.audio_generation import AudioGenerator
from ..pipelines.options import GenerationOptions
from ..pipelines.outputs import GeneratedAudio
from .inputs import AudioItem, TextItem, audio_items, load_audio, text_items
from .outputs import AudioPlace, print_json, say
from .speak import load_pipeline, model_stamp

_TASKS = {"sound": "text_to_audio", "music": "text_to_music"}


def make(args: argparse.Namespace, options: GenerationOptions) -> int:
    """Make a sound, or music, of every description; 1 if one could not be made."""
    items = text_items(args.texts, args.batch, seed=args.seed)
    task = _TASKS[args.command]

    def sounds(generator: AudioGenerator, batch: list[TextItem]) -> list[GeneratedAudio]:
        rows = [{"text": item.text} for item in batch]
        seeds = [item.seed for item in batch]
        return generator.generate(task, rows, seconds=args.seconds, seeds=seeds)

    return _run(items, sounds, args, options, options.batch_size)


def continue_audio(args: argparse.Namespace, options: GenerationOptions) -> int:
    """Go on with every audio; 1 if one could not be."""
    items = audio_items(args.files)

    def sounds(generator: AudioGenerator, batch: list[AudioItem]) -> list[GeneratedAudio]:
        return [
            generator.continue_audio(load_audio(item), seconds=args.seconds, seed=args.seed)
            for item in batch
        ]

    return _run(items, sounds, args, options, 1)


def _run(
    items: list[Any],
    sounds: Callable[[AudioGenerator, list[Any]], list[GeneratedAudio]],
    args: argparse.Namespace,
    options: GenerationOptions,
    size: int,
) -> int:
    place = AudioPlace(args.out, len(items), args.format)
    keys = _keys(items, args, options)
    waiting = [item for item in items if not place.done(keys[item.id], item.id)]
    if len(waiting) < len(items):
        say(f"{len(items) - len(waiting)} of {len(items)} are done already")
    if not waiting:
        return 0
    generator = AudioGenerator(load_pipeline(args), options)
    failed = 0
    with tqdm(total=len(waiting), desc=args.command, disable=len(items) == 1) as bar:
        for first in range(0, len(waiting), size):
            batch = waiting[first : first + size]
            for item, result in _each(generator, batch, sounds, single=len(items) == 1):
                if isinstance(result, GeneratedAudio):
                    _finish(item, result, keys[item.id], place, args)
                else:
                    failed += 1
                    say(f"{item.id}: {result}")
                    place.note(item.id, keys[item.id], {"error": str(result)})
            bar.update(len(batch))
    return 1 if failed else 0


def _each(
    generator: AudioGenerator,
    batch: list[Any],
    sounds: Callable[[AudioGenerator, list[Any]], list[GeneratedAudio]],
    *,
    single: bool,
) -> list[tuple[Any, GeneratedAudio | ValueError]]:
    """Results of a batch; where one cannot be made, the others still are."""
    try:
        return list(zip(batch, sounds(generator, batch), strict=True))
    except ValueError as error:
        if single:
            raise
        if len(batch) == 1:
            return [(batch[0], error)]
    return [pair for item in batch for pair in _each(generator, [item], sounds, single=False)]


def _finish(
    item: Any, sound: GeneratedAudio, key: str, place: AudioPlace, args: argparse.Namespace
) -> None:
    where = place.write(item.id, sound)
    entry = {
        "id": item.id,
        "file": where,
        "text": getattr(item, "text", None),
        "seconds": round(sound.duration, 3),
        "rtf": round(sound.rtf, 4),
        "finish": sound.finish,
    }
    place.note(item.id, key, entry)
    if args.json:
        print_json(entry)
    end = "" if sound.finish == "end" else f", stopped by {sound.finish}"
    say(f"{where}: {sound.duration:.2f} s, RTF {sound.rtf:.2f}{end}")


def _keys(items: list[Any], args: argparse.Namespace, options: GenerationOptions) -> dict[str, str]:
    sampling = {**dataclasses.asdict(options), "batch_size": None}
    facts = (model_stamp(args), args.command, sampling, args.seconds, args.format)
    keys = {}
    for item in items:
        if isinstance(item, TextItem):
            own: Any = (item.text, item.seed)
        else:
            own = (
                key_of(item.source.hex()) if isinstance(item.source, bytes) else stamp(item.source)
            )
            own = (own, args.seed)
        keys[item.id] = key_of(facts, item.id, own)
    return keys
