"""Evaluate the demo: its sounds by a classifier, its model before and after LoRA to a voice."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from almtok.core.audio import Waveform, read_audio
from almtok.core.choices import add_device
from almtok.core.files import file_name, write_json
from almtok.core.metrics.pitch import pitch_curve
from almtok.lm.data import TokenDataset
from almtok.lm.prompt_builder import PromptOptions
from almtok.lm.score import score
from almtok.lm.sequences import build_sequence
from almtok.tasks import AudioLMPipeline, TextToSpeech
from almtok.tasks.evaluation.classifier import SoundClassifier

from .sounds import kind_of

RATE = 24_000
_NUM_SENTENCES = 3  # sentences of the new voice


@dataclass(frozen=True)
class NamedSound:
    """Classes that a classifier assigns to a held-out sound and to a generated one."""

    id: str
    kind: str
    original: str
    through_codec: str
    made: str


@dataclass(frozen=True)
class NewVoice:
    """The model before and after LoRA to a new voice."""

    before: tuple[float, ...]  # nats per code, by layer, of held-out sentences
    after: tuple[float, ...]
    pitch: float  # Hz, median of the voice
    pitch_before: float  # of generated speech
    pitch_after: float
    texts: tuple[str, ...]  # synthesized as OUT/before-N.flac and OUT/after-N.flac


def name_sounds(run: Path, pipeline: AudioLMPipeline) -> Iterator[NamedSound]:
    """Yield every test sound for which the evaluation generated one."""
    rows = [row for row in rows_of(run / "language-corpus") if row["domain"] == "sound"]
    training = (
        (row["wav"](), RATE, kind_of(row["text"])) for row in rows if row["split"] == "train"
    )
    judge = SoundClassifier.fit(training)
    for row in rows:
        made = run / "scores" / "audio" / f"{file_name(row['id'])}.made.flac"
        if row["split"] != "test" or not made.exists():
            continue
        wav = row["wav"]()
        wavs = (wav, pipeline.decode(pipeline.tokens(wav)), read_audio(made, RATE))
        yield NamedSound(
            row["id"], kind_of(row["text"]), *(judge.name(samples, RATE) for samples in wavs)
        )


def learn_voice(run: Path, pipeline: AudioLMPipeline, out: Path) -> NewVoice:
    """Synthesize some sentences without and with the adapter."""
    rows = [row for row in rows_of(run / "voice") if row["split"] == "test"]
    texts = [row["text"] for row in rows[:_NUM_SENTENCES]]
    held_out = run / "voice-held-out"
    found: dict[str, Any] = {}
    for when in ("before", "after"):
        if when == "after":
            pipeline.load_adapter(run / "adapter-run")
        speeches = TextToSpeech(pipeline).speak_all(texts, carry=False)
        for number, speech in enumerate(speeches):
            speech.save(out / f"{when}-{number}.flac")
        found[when] = nats_per_code(pipeline, held_out)
        found[f"pitch_{when}"] = _middle([np.asarray(speech.wav) for speech in speeches])
    pitch = _middle([row["wav"]() for row in rows])
    return NewVoice(**found, pitch=pitch, texts=tuple(texts))


def nats_per_code(pipeline: AudioLMPipeline, tokens: Path) -> tuple[float, ...]:
    """Return the nats per code of each layer, over all recordings of a folder of token shards."""
    dataset, lm, sequences, frames = TokenDataset(tokens), pipeline.lm.config, [], 0
    for number in range(len(dataset)):
        row = dataset[number]
        example = pipeline.processor.prompt_builder.example(
            "tts", {"text": row.text}, row.tokens, PromptOptions()
        )
        sequences.append(build_sequence(example, lm, eos_id=pipeline.text_encoder.eos_id))
        frames += row.codes.shape[-1]
    scores = score(pipeline.lm, sequences)
    return tuple(
        -sum(layer) / frames for layer in zip(*(item.audio for item in scores), strict=True)
    )


def median_pitch(wav: Any) -> float:
    """Return the median pitch in Hz of samples `[S]` at 24 kHz; 0 if nothing is voiced."""
    curve = pitch_curve(wav, 24_000)
    return float(np.median(curve.hz[curve.voiced])) if curve.voiced.any() else 0.0


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Return the rows of a corpus; `row["wav"]()` reads the samples `[S]`."""
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]

    def reader(row: dict[str, Any]) -> Any:
        return lambda: read_audio(folder / row["audio"], RATE)

    return [{**row, "wav": reader(row)} for row in rows]


def _middle(wavs: Sequence[Waveform]) -> float:
    return round(float(np.median([median_pitch(wav) for wav in wavs])), 1)


def main(argv: Sequence[str] | None = None) -> None:
    """Evaluate a run of the demo from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="run folder of the demo")
    parser.add_argument("--out", type=Path, required=True)
    add_device(parser)
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    pipeline = AudioLMPipeline.from_pretrained(args.run / "lm", device=args.device)
    sounds = [asdict(sound) for sound in name_sounds(args.run, pipeline)]
    voice = asdict(learn_voice(args.run, pipeline, args.out))
    write_json(args.out / "comparison.json", {"sounds": sounds, "voice": voice})
