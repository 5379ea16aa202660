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
from ..subtitles import FORMATS, to_subtitles
from ..word_times import words_to_json
from .batch import BatchCommand
from .inputs import AudioItem, audio_items, load_audio
from .outputs import TextDestination, print_status


def transcribe(args: argparse.Namespace, options: GenerationOptions) -> int:
    """Transcribe every audio; 1 if one failed."""
    if args.json and args.format not in (None, "json"):
        raise ValueError(f"--json is --format json, got --format {args.format} too")
    form = args.format or ("json" if args.json else "text")
    args.json = form == "json"
    destination = TextDestination(args.out, form)
    items = audio_items(args.files, written=args.out is not None)
    if args.out is None and form in FORMATS and len(items) > 1:
        raise ValueError(f"--out DIR is missing: --format {form} writes a file for each audio")
    return _Transcripts(args, options, items, destination).run()


def caption(args: argparse.Namespace, options: GenerationOptions) -> int:
    """Describe every audio; 1 if one failed."""
    destination = TextDestination(args.out, "json" if args.json else "text")
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
        windows = self.args.window, self.args.overlap
        return (*windows, "timestamps") if self.timestamps else windows

    @property
    def timestamps(self) -> bool:
        """Whether the times of words are needed."""
        return self.args.timestamps or self.destination.form in FORMATS

    def process(self, items: list[AudioItem]) -> list[Transcript]:
        window, overlap = self.settings()[:2]
        return SpeechRecognizer(self.pipeline, self.options).transcribe_all(
            [load_audio(item) for item in items],
            window_seconds=window,
            overlap_seconds=overlap,
            timestamps=self.timestamps,
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
        if output.words is not None:
            entry |= words_to_json(output.words)
        self.destination.write(item.id, self._shown(output), entry)
        return entry

    def _shown(self, output: Transcript) -> str:
        """The text in the format of the destination, if it is not JSON."""
        if output.words is None or output.segments is None:
            return output.text
        if self.destination.form in FORMATS:
            return to_subtitles(output.words, self.destination.form).rstrip("\n")
        return "\n".join(
            f"[{segment.start:.2f} - {segment.end:.2f}] {segment.text}"
            for segment in output.segments
        )

    def report(self, item: AudioItem, output: Transcript, entry: Mapping[str, Any]) -> None:
        for problem in output.problems:
            print_status(f"{item.id}: {problem}")
        if self.args.out is None and not self.args.json:
            shown = self._shown(output)
            alone = self.single or self.destination.form in FORMATS
            print(shown if alone else f"{item.id}	{shown}", flush=True)
        result = "silence" if output.silent else f"confidence {output.confidence:.2f}"
        print_status(f"{item.id}: {output.duration:.2f} s of audio, RTF {output.rtf:.2f}, {result}")


class _Captions(_Transcripts):
    timestamps = False

    def settings(self) -> tuple[Any, ...]:
        return (self.args.music,)

    def process(self, items: list[AudioItem]) -> list[Transcript]:
        return AudioCaptioner(self.pipeline, self.options).caption_all(
            [load_audio(item) for item in items], music=self.args.music, seed=self.args.seed
        )
