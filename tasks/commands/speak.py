"""``almtok tts``, once its options are read."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ...core.results_log import key_of, stamp
from ..pipelines.base import AudioLMPipeline
from ..pipelines.options import GenerationOptions
from ..pipelines.outputs import Speech
from ..pipelines.text_to_speech import TextToSpeech, Voice
from .inputs import AudioItem, TextItem, load_audio, text_items
from .outputs import AudioPlace, pcm, print_json, say, wav_header


def speak(args: argparse.Namespace, options: GenerationOptions) -> int:
    """Speak all that was given; 1 if something could not be spoken."""
    items = text_items(
        args.texts,
        args.batch,
        seed=args.seed,
        voice=args.voice,
        voice_text=args.voice_text,
    )
    if args.check is not None and args.check < 1:
        raise ValueError(f"--check takes a number of tries, at least 1; came {args.check}")
    if args.stream:
        return _stream(args, options, items)
    place = AudioPlace(args.out, len(items), args.format)
    model = model_stamp(args)
    keys = {item.id: _key(item, args, options, model) for item in items}
    waiting = [item for item in items if not place.done(keys[item.id], item.id)]
    if len(waiting) < len(items):
        say(f"{len(items) - len(waiting)} of {len(items)} are done already")
    if not waiting:
        return 0
    pipeline = load_pipeline(args)
    speaker = TextToSpeech(pipeline, options)
    return _speak_all(speaker, waiting, keys, place, args, single=len(items) == 1)


def load_pipeline(args: argparse.Namespace) -> AudioLMPipeline:
    """The checkpoint, without the bars of its loading."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    return AudioLMPipeline.from_pretrained(
        args.checkpoint, adapter=args.adapter, device=args.device, dtype=args.dtype
    )


def model_stamp(args: argparse.Namespace) -> str:
    """Changes when the checkpoint or the adapter does, or in what they are run."""
    adapter = None if args.adapter is None else stamp(args.adapter)
    return key_of(stamp(args.checkpoint), adapter, args.dtype)


def _speak_all(
    speaker: TextToSpeech,
    items: list[TextItem],
    keys: dict[str, str],
    place: AudioPlace,
    args: argparse.Namespace,
    *,
    single: bool,
) -> int:
    failed = 0
    voices: dict[tuple[str, str | None], Voice] = {}
    size = speaker.options.batch_size
    parts = tqdm(desc="speak", unit="part", disable=None if single else False, leave=False)
    with parts, tqdm(total=len(items), desc="texts", unit="text", disable=single) as bar:
        for first in range(0, len(items), size):
            ready: list[tuple[TextItem, Voice | None]] = []
            for item in items[first : first + size]:
                try:
                    voice = _voice(speaker, item, voices, args.voice_apart)
                    speaker.split(item.text, voice)
                    ready.append((item, voice))
                except ValueError as error:
                    if single:
                        raise
                    failed += 1
                    say(f"{item.id}: {error}")
                    place.note(item.id, keys[item.id], {"error": str(error)})
            for item, speech in _spoken(speaker, ready, args, parts):
                _finish(item, speech, keys[item.id], place, args)
            bar.update(len(items[first : first + size]))
    return 1 if failed else 0


def _spoken(
    speaker: TextToSpeech,
    ready: list[tuple[TextItem, Voice | None]],
    args: argparse.Namespace,
    bar: Any,
) -> list[tuple[TextItem, Speech]]:
    speeches = speaker.speak_all(
        [item.text for item, _ in ready],
        voice=[voice for _, voice in ready],
        seeds=[item.seed for item, _ in ready],
        check=args.check is not None,
        tries=args.check or 1,
        carry=not args.no_carry,
        progress=bar.update,
    )
    return [(item, speech) for (item, _), speech in zip(ready, speeches, strict=True)]


def _finish(
    item: TextItem, speech: Speech, key: str, place: AudioPlace, args: argparse.Namespace
) -> None:
    where = place.write(item.id, speech)
    entry: dict[str, Any] = {
        "id": item.id,
        "file": where,
        "text": item.text,
        "seconds": round(speech.duration, 3),
        "rtf": round(speech.rtf, 4),
        "seed": item.seed,
        "finish": speech.finish,
        "problems": list(speech.problems),
    }
    if speech.diff is not None:
        entry |= {
            "confidence": round(speech.confidence or 0.0, 4),
            "word_errors": speech.diff.errors,
            "tries": [part.tries for part in speech.parts],
            "diff": str(speech.diff),
        }
    place.note(item.id, key, entry)
    if args.json:
        print_json(entry)
    for problem in speech.problems:
        say(f"{item.id}: {problem}")
    sure = "" if speech.confidence is None else f", confidence {speech.confidence:.2f}"
    say(f"{where}: {speech.duration:.2f} s of speech, RTF {speech.rtf:.2f}{sure}")
    if speech.diff is not None and speech.diff.errors:
        say(f"  {speech.diff}")


def _stream(args: argparse.Namespace, options: GenerationOptions, items: list[TextItem]) -> int:
    """GeneratedAudio to standard output while it is made."""
    if args.out is not None or args.check is not None:
        raise ValueError("--stream goes to standard output, unchecked: leave --out and --check out")
    speaker = TextToSpeech(load_pipeline(args), options)
    voices: dict[tuple[str, str | None], Voice] = {}
    out, rate = sys.stdout.buffer, speaker.pipeline.sample_rate
    for item in items:  # errors before the first sound
        speaker.split(item.text, _voice(speaker, item, voices, args.voice_apart))
    if args.stream == "wav":
        out.write(wav_header(rate, None))
    for item in items:
        start, latency, samples = time.perf_counter(), None, 0
        voice = _voice(speaker, item, voices, args.voice_apart)
        for chunk in speaker.stream(
            item.text, voice=voice, seed=item.seed, carry=not args.no_carry
        ):
            out.write(pcm(chunk.waveform))
            out.flush()
            samples += chunk.waveform.numel()
            latency = latency or time.perf_counter() - start
            if chunk.result is not None and chunk.result.finish != "end":
                say(f"{item.id}: a part did not end by itself ({chunk.result.finish})")
        seconds = time.perf_counter() - start
        say(
            f"{samples / rate:.2f} s of speech, RTF {seconds * rate / max(1, samples):.2f}, "
            f"first sound after {latency or 0.0:.2f} s"
        )
    return 0


def _voice(
    speaker: TextToSpeech,
    item: TextItem,
    known: dict[tuple[str, str | None], Voice],
    apart: bool,
) -> Voice | None:
    if item.voice is None:
        return None
    name = (item.voice, item.voice_text)
    if name not in known:
        audio = load_audio(AudioItem(item.id, Path(item.voice)))
        known[name] = speaker.voice(audio, item.voice_text, apart=apart)
    return known[name]


def _key(item: TextItem, args: argparse.Namespace, options: GenerationOptions, model: str) -> str:
    """All that the sound depends on; not how many are made at once."""
    sampling = {**dataclasses.asdict(options), "batch_size": None}
    try:
        voice = None if item.voice is None else stamp(item.voice)
    except OSError:
        voice = "missing"  # reported when it is to be read
    facts = dataclasses.asdict(item)
    how = (args.check, args.no_carry, args.voice_apart, args.format)
    return key_of(model, facts, voice, sampling, how)
