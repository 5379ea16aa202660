"""``almtok tts``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...core.files import write_text
from ...core.pcm import pcm, wav_header
from ...core.printing import print_result
from ...core.results_log import key_of, stamp
from ...lm.config import AudioLMConfig
from ...lm.voices import check_voice, default_voice
from ..pipelines.base import AudioLMPipeline
from ..pipelines.options import GenerationOptions
from ..pipelines.outputs import Speech
from ..pipelines.speech_job import Voice
from ..pipelines.text_to_speech import TextToSpeech
from ..subtitles import to_subtitles
from ..word_times import TimedWord, words_to_json
from .batch import BatchCommand, load_pipeline
from .inputs import AudioItem, TextItem, load_audio, text_items
from .outputs import AudioDestination, print_status

References = dict[tuple[str, str | None], Voice]


def speak(args: argparse.Namespace, options: GenerationOptions) -> int:
    """Speak all texts; 1 if one failed."""
    if args.list_voices:
        return list_voices(args)
    items = text_items(
        args.texts, args.batch, seed=args.seed, voice=args.voice, reference=args.reference,
        reference_text=args.reference_text,
    )  # fmt: skip
    if args.check is not None and args.check < 1:
        raise ValueError(f"--check takes a number of tries, at least 1, got {args.check}")
    if args.stream:
        return _stream(args, options, items)
    destination = AudioDestination(args.out, len(items), args.format, as_json=args.json)
    if args.timestamps and destination.stdout:
        raise ValueError("--timestamps writes a file beside the audio: give --out a file or folder")
    return _SpeakCommand(args, options, items, destination, batch_size=options.batch_size).run()


class _SpeakCommand(BatchCommand[TextItem, Speech]):
    destination: AudioDestination
    unit = "text"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.references: References = {}

    def key(self, item: TextItem, model: str, sampling: Mapping[str, Any]) -> str:
        args = self.args
        try:
            reference = None if item.reference is None else stamp(item.reference)
        except OSError:
            reference = "missing"  # an error of this item, when its voice is loaded
        # Names and two options of earlier versions, which were off: batches begun then are resumed.
        settings = (args.check, False, False, args.format)
        facts = dataclasses.asdict(item)
        name = facts.pop("voice")
        facts |= {"voice": facts.pop("reference"), "voice_text": facts.pop("reference_text")}
        named = () if name is None else (name,)
        timed = () if args.timestamps is None else ("timestamps", args.timestamps)
        return key_of(model, facts, reference, sampling, settings, *named, *timed)

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
                timestamps=self.args.timestamps is not None,
                progress=bar.update,
            )

    def write(self, item: TextItem, output: Speech) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "id": item.id,
            "file": self.destination.write(item.id, output),
            "text": item.text,
            "voice": item.voice if item.reference else item.voice or default_voice(self.config),
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
        if output.words is not None:
            entry["timestamps"] = self._write_times(item, output, output.words)
        return entry

    def _write_times(self, item: TextItem, output: Speech, words: tuple[TimedWord, ...]) -> str:
        """Write the times of the words beside the audio; return the path."""
        form = self.args.timestamps
        path = self.destination.file(item.id).with_suffix(f".{form}")
        if form == "json":
            facts = {"text": output.text, "duration": round(output.duration, 3)}
            shown = json.dumps(facts | words_to_json(words), ensure_ascii=False, indent=1) + "\n"
        else:
            shown = to_subtitles(words, form)
        write_text(path, shown)
        return str(path)

    def report(self, item: TextItem, output: Speech, entry: Mapping[str, Any]) -> None:
        for problem in output.problems:
            print_status(f"{item.id}: {problem}")
        sure = "" if output.confidence is None else f", confidence {output.confidence:.2f}"
        print_status(
            f"{entry['file']}: {output.duration:.2f} s of speech, RTF {output.rtf:.2f}{sure}"
        )
        if output.diff is not None and output.diff.errors:
            print_status(f"  {output.diff}")

    @property
    def config(self) -> AudioLMConfig:
        """Configuration of the language model."""
        return self.pipeline.lm.config

    @property
    def tts(self) -> TextToSpeech:
        """The pipeline with the options of the command line."""
        return TextToSpeech(self.pipeline, self.options)

    def _voice(self, item: TextItem) -> str | Voice | None:
        return voice_of(self.tts, item, self.references)


def voice_of(tts: TextToSpeech, item: TextItem, references: References) -> str | Voice | None:
    """The name of the voice of an item, or its reference, which is loaded once.

    Raises:
        ValueError: the model has no such voice, or the reference cannot be used.
    """
    if item.reference is None:
        if item.voice is not None:
            check_voice(tts.pipeline.lm.config, item.voice)
        return item.voice
    name = (item.reference, item.reference_text)
    if name not in references:
        audio = load_audio(AudioItem(item.id, Path(item.reference)))
        references[name] = tts.voice(audio, item.reference_text)
    return references[name]


def list_voices(args: argparse.Namespace) -> int:
    """Print the names of the voices, the default one first."""
    voices = list(AudioLMPipeline.config_of(args.checkpoint).voices)
    if not voices:
        print_status("this model has no voices by name")
    lines = [f"{name} (default)" if number == 0 else name for number, name in enumerate(voices)]
    if lines or args.json:
        print_result(args, "\n".join(lines), voices)
    return 0


def _stream(args: argparse.Namespace, options: GenerationOptions, items: list[TextItem]) -> int:
    """Write audio to standard output while it is generated."""
    if any((args.out is not None, args.check is not None, args.timestamps, args.json)):
        raise ValueError(
            "--stream writes to standard output, unchecked: omit --out, --check, --timestamps and"
            " --json"
        )
    tts = TextToSpeech(load_pipeline(args), options)
    references: References = {}
    out, rate = sys.stdout.buffer, tts.pipeline.sample_rate
    voices = [voice_of(tts, item, references) for item in items]
    for item, voice in zip(items, voices, strict=True):
        tts.split(item.text, voice)  # raises errors before the first audio is written
    if args.stream == "wav":
        out.write(wav_header(rate, None))
    for item, voice in zip(items, voices, strict=True):
        start, latency, samples = time.perf_counter(), None, 0
        for chunk in tts.stream(item.text, voice=voice, seed=item.seed):
            out.write(pcm(chunk.waveform.flatten()))
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
