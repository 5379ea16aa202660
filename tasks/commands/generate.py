"""``almtok sound``, ``music`` and ``continue``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from ...core.results_log import key_of
from ..pipelines.audio_generation import AudioGenerator
from ..pipelines.options import GenerationOptions
from ..pipelines.outputs import GeneratedAudio
from .batch import BatchCommand, ItemT
from .inputs import AudioItem, TextItem, audio_items, load_audio, text_items
from .outputs import AudioDestination, print_status

_TASKS = {"sound": "text_to_audio", "music": "text_to_music"}


def generate(args: argparse.Namespace, options: GenerationOptions) -> int:
    """Generate a sound, or music, for every description; 1 if one failed."""
    items = text_items(args.texts, args.batch, seed=args.seed)
    destination = AudioDestination(args.out, len(items), args.format, as_json=args.json)
    return _Prompts(args, options, items, destination, batch_size=options.batch_size).run()


def continue_audio(args: argparse.Namespace, options: GenerationOptions) -> int:
    """Continue every audio; 1 if one failed."""
    items = audio_items(args.files)
    destination = AudioDestination(args.out, len(items), args.format, as_json=args.json)
    return _Continuations(args, options, items, destination).run()


class _GenerationCommand(BatchCommand[ItemT, GeneratedAudio]):
    destination: AudioDestination

    def facts(self, model: str, sampling: Mapping[str, Any]) -> Any:
        """All that outputs depend on, except for the input."""
        return model, self.args.command, sampling, self.args.seconds, self.args.format

    def write(self, item: ItemT, output: GeneratedAudio) -> dict[str, Any]:
        return {
            "id": item.id,
            "file": self.destination.write(item.id, output),
            "text": getattr(item, "text", None),
            "seconds": round(output.duration, 3),
            "rtf": round(output.rtf, 4),
            "finish": output.finish,
            "level_dbfs": output.level_dbfs,
            "tries": output.tries,
            "problems": list(output.problems),
        }

    def report(self, item: ItemT, output: GeneratedAudio, entry: Mapping[str, Any]) -> None:
        for problem in output.problems:
            print_status(f"{item.id}: {problem}")
        end = "" if output.finish == "end" else f", stopped by {output.finish}"
        level = "" if output.level_dbfs is None else f", {output.level_dbfs:.0f} dBFS"
        tries = "" if output.tries == 1 else f", drawn {output.tries} times"
        shown = f"{output.duration:.2f} s, RTF {output.rtf:.2f}{level}{tries}{end}"
        print_status(f"{entry['file']}: {shown}")


class _Prompts(_GenerationCommand[TextItem]):
    unit = "prompt"

    def key(self, item: TextItem, model: str, sampling: Mapping[str, Any]) -> str:
        return key_of(self.facts(model, sampling), item.id, (item.text, item.seed))

    def process(self, items: list[TextItem]) -> list[GeneratedAudio]:
        return AudioGenerator(self.pipeline, self.options).generate(
            _TASKS[self.args.command],
            [{"text": item.text} for item in items],
            seconds=self.args.seconds,
            seeds=[item.seed for item in items],
        )


class _Continuations(_GenerationCommand[AudioItem]):
    def key(self, item: AudioItem, model: str, sampling: Mapping[str, Any]) -> str:
        return key_of(self.facts(model, sampling), item.id, (item.stamp, self.args.seed))

    def process(self, items: list[AudioItem]) -> list[GeneratedAudio]:
        generator = AudioGenerator(self.pipeline, self.options)
        return [
            generator.continue_audio(
                load_audio(item), seconds=self.args.seconds, seed=self.args.seed
            )
            for item in items
        ]
