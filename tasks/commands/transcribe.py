"""``almtok asr`` and ``caption``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from ...core.results_log import key_of
from ..pipelines.audio_captioning import AudioCaptioner
from ..pipelines.options import GenerationOptions
from ..pipelines.outputs import Transcript
from ..pipelines.speech_recognition import SpeechRecognizer
from .batch import BatchCommand
from .inputs import AudioItem, audio_items, load_audio
from .outputs import TextDestination, print_status


def transcribe(args: argparse.Namespace, options: GenerationOptions) -> int:
    """Transcribe every audio; 1 if one failed."""
    destination = TextDestination(args.out, as_json=args.json)
    items = audio_items(args.files, written=args.out is not None)
    return _Transcripts(args, options, items, destination).run()


def caption(args: argparse.Namespace, options: GenerationOptions) -> int:
    """Describe every audio; 1 if one failed."""
    destination = TextDestination(args.out, as_json=args.json)
    items = audio_items(args.files, written=args.out is not None)
    return _Captions(args, options, items, destination).run()


class _Transcripts(BatchCommand[AudioItem, Transcript]):
    destination: TextDestination

    def key(self, item: AudioItem, model: str, sampling: Mapping[str, Any]) -> str:
        args = self.args
        common = (model, args.command, sampling, self.settings(), args.seed)
        return key_of(common, item.id, item.stamp)

    def settings(self) -> tuple[Any, ...]:
        """Options of this command on which outputs depend."""
        return self.args.window, self.args.overlap

    def process(self, items: list[AudioItem]) -> list[Transcript]:
        window, overlap = self.settings()
        return SpeechRecognizer(self.pipeline, self.options).transcribe_all(
            [load_audio(item) for item in items],
            window_seconds=window,
            overlap_seconds=overlap,
            seed=self.args.seed,
        )

    def write(self, item: AudioItem, output: Transcript) -> dict[str, Any]:
        entry = {
            "id": item.id,
            "text": output.text,
            "seconds": round(output.duration, 3),
            "rtf": round(output.rtf, 4),
            "confidence": round(output.confidence, 4),
            "silent": output.silent,
            "windows": [
                {"start": round(w.start, 2), "stop": round(w.stop, 2), "text": w.text}
                for w in output.windows
            ],
        }
        self.destination.write(item.id, output.text, entry)
        return entry

    def report(self, item: AudioItem, output: Transcript, entry: Mapping[str, Any]) -> None:
        for problem in output.problems:
            print_status(f"{item.id}: {problem}")
        if self.args.out is None and self.args.json:
            super().report(item, output, entry)
        elif self.args.out is None:
            print(output.text if self.single else f"{item.id}\t{output.text}", flush=True)
        result = "silence" if output.silent else f"confidence {output.confidence:.2f}"
        print_status(f"{item.id}: {output.duration:.2f} s of audio, RTF {output.rtf:.2f}, {result}")


class _Captions(_Transcripts):
    def settings(self) -> tuple[Any, ...]:
        return (self.args.music,)

    def process(self, items: list[AudioItem]) -> list[Transcript]:
        return AudioCaptioner(self.pipeline, self.options).caption_all(
            [load_audio(item) for item in items], music=self.args.music, seed=self.args.seed
        )
