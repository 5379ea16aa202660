"""``almtok tts``."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...core.results_log import key_of, stamp
from ..pipelines.options import GenerationOptions
from ..pipelines.outputs import Speech
from ..pipelines.text_to_speech import TextToSpeech, Voice
from .batch import BatchCommand, load_pipeline
from .inputs import AudioItem, TextItem, load_audio, text_items
from .outputs import AudioDestination, pcm, print_status, wav_header

Voices = dict[tuple[str, str | None], Voice]


def speak(args: argparse.Namespace, options: GenerationOptions) -> int:
    """Speak all texts; 1 if one failed."""
    items = text_items(
        args.texts, args.batch, seed=args.seed, voice=args.voice, voice_text=args.voice_text
    )
    if args.check is not None and args.check < 1:
        raise ValueError(f"--check takes a number of tries, at least 1, got {args.check}")
    if args.stream:
        return _stream(args, options, items)
    destination = AudioDestination(args.out, len(items), args.format)
    return _SpeakCommand(args, options, items, destination, batch_size=options.batch_size).run()


class _SpeakCommand(BatchCommand[TextItem, Speech]):
    destination: AudioDestination
    unit = "text"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.voices: Voices = {}

    def key(self, item: TextItem, model: str, sampling: Mapping[str, Any]) -> str:
        args = self.args
        try:
            voice = None if item.voice is None else stamp(item.voice)
        except OSError:
            voice = "missing"  # an error of this item, when its voice is loaded
        # Two options of earlier versions, which were off: batches begun then are resumed.
        settings = (args.check, False, False, args.format)
        return key_of(model, dataclasses.asdict(item), voice, sampling, settings)

    def check(self, item: TextItem) -> None:
        self.tts.split(item.text, self._voice(item))

    def process(self, items: list[TextItem]) -> list[Speech]:
        disable = None if self.single else False
        with tqdm(desc="speak", unit="part", disable=disable, leave=False) as bar:
            return self.tts.speak_all(
                [item.text for item in items],
                voice=[self._voice(item) for item in items],
                seeds=[item.seed for item in items],
                check=self.args.check is not None,
                tries=self.args.check or 1,
                progress=bar.update,
            )

    def write(self, item: TextItem, output: Speech) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "id": item.id,
            "file": self.destination.write(item.id, output),
            "text": item.text,
            "seconds": round(output.duration, 3),
            "rtf": round(output.rtf, 4),
            "seed": item.seed,
            "finish": output.finish,
            "problems": list(output.problems),
        }
        if output.diff is not None:
            entry |= {
                "confidence": round(output.confidence or 0.0, 4),
                "word_errors": output.diff.errors,
                "tries": [part.tries for part in output.parts],
                "diff": str(output.diff),
            }
        return entry

    def report(self, item: TextItem, output: Speech, entry: Mapping[str, Any]) -> None:
        super().report(item, output, entry)
        for problem in output.problems:
            print_status(f"{item.id}: {problem}")
        sure = "" if output.confidence is None else f", confidence {output.confidence:.2f}"
        print_status(
            f"{entry['file']}: {output.duration:.2f} s of speech, RTF {output.rtf:.2f}{sure}"
        )
        if output.diff is not None and output.diff.errors:
            print_status(f"  {output.diff}")

    @property
    def tts(self) -> TextToSpeech:
        """The pipeline with the options of the command line."""
        return TextToSpeech(self.pipeline, self.options)

    def _voice(self, item: TextItem) -> Voice | None:
        return load_voice(self.tts, item, self.voices)


def load_voice(tts: TextToSpeech, item: TextItem, voices: Voices) -> Voice | None:
    """The voice reference of an item, loaded once."""
    if item.voice is None:
        return None
    name = (item.voice, item.voice_text)
    if name not in voices:
        audio = load_audio(AudioItem(item.id, Path(item.voice)))
        voices[name] = tts.voice(audio, item.voice_text)
    return voices[name]


def _stream(args: argparse.Namespace, options: GenerationOptions, items: list[TextItem]) -> int:
    """Write audio to standard output while it is generated."""
    if args.out is not None or args.check is not None:
        raise ValueError("--stream writes to standard output, unchecked: omit --out and --check")
    tts = TextToSpeech(load_pipeline(args), options)
    cache: Voices = {}
    out, rate = sys.stdout.buffer, tts.pipeline.sample_rate
    voices = [load_voice(tts, item, cache) for item in items]
    for item, voice in zip(items, voices, strict=True):
        tts.split(item.text, voice)  # raises errors before the first audio is written
    if args.stream == "wav":
        out.write(wav_header(rate, None))
    for item, voice in zip(items, voices, strict=True):
        start, latency, samples = time.perf_counter(), None, 0
        for chunk in tts.stream(item.text, voice=voice, seed=item.seed):
            out.write(pcm(chunk.waveform))
            out.flush()
            samples += chunk.waveform.numel()
            latency = latency or time.perf_counter() - start
            if chunk.result is not None and chunk.result.finish != "end":
                print_status(f"{item.id}: a part did not end by itself ({chunk.result.finish})")
        seconds = time.perf_counter() - start
        print_status(
            f"{samples / rate:.2f} s of speech, RTF {seconds * rate / max(1, samples):.2f}, "
            f"first sound after {latency or 0.0:.2f} s"
        )
    return 0
