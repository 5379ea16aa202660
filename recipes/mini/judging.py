"""What a classifier makes of the demo's sounds, and the demo's model of one more voice."""

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
from almtok.core.files import write_json
from almtok.tasks import AudioLMPipeline, TextToSpeech
from almtok.tasks.commands.inputs import safe_name
from almtok.tasks.evaluation.classifier import SoundClassifier

from ..lora_voice.study import median_pitch, nats_per_code
from .sounds import kind_of

RATE = 24_000
SAID = 3  # sentences of the new voice


@dataclass(frozen=True)
class NamedSound:
    """What a classifier of clips from the corpus calls a held-out sound, and one that was made."""

    id: str
    kind: str
    original: str
    through_codec: str
    made: str


@dataclass(frozen=True)
class NewVoice:
    """The model before and after it learned one more voice."""

    before: tuple[float, ...]  # nats per code, by layer, of sentences that it has not seen
    after: tuple[float, ...]
    pitch: float  # Hz, median of the voice
    pitch_before: float  # of what is said
    pitch_after: float
    texts: tuple[str, ...]  # said as OUT/before-N.flac and OUT/after-N.flac


def name_sounds(run: Path, bundle: AudioLMPipeline) -> Iterator[NamedSound]:
    """Every test sound that the scores know."""
    rows = [row for row in rows_of(run / "lessons") if row["domain"] == "sound"]
    known = ((row["wav"](), RATE, kind_of(row["text"])) for row in rows if row["split"] == "train")
    judge = SoundClassifier.fit(known)
    for row in rows:
        made = run / "scores" / "audio" / f"{safe_name(row['id'])}.made.flac"
        if row["split"] != "test" or not made.exists():
            continue
        wav = row["wav"]()
        heard = (wav, bundle.decode(bundle.tokens(wav)), read_audio(made, RATE))
        yield NamedSound(row["id"], kind_of(row["text"]), *(judge.name(one, RATE) for one in heard))


def learn_voice(run: Path, bundle: AudioLMPipeline, out: Path) -> NewVoice:
    """Say some sentences without and with the adapter."""
    rows = [row for row in rows_of(run / "voice") if row["split"] == "test"]
    texts = [row["text"] for row in rows[:SAID]]
    held_out = run / "voice-held-out"
    found: dict[str, Any] = {}
    for when in ("before", "after"):
        if when == "after":
            bundle.load_adapter(run / "adapter-run")
        speeches = TextToSpeech(bundle).speak_all(texts, carry=False)
        for number, speech in enumerate(speeches):
            speech.save(out / f"{when}-{number}.flac")
        found[when] = nats_per_code(bundle, held_out)
        found[f"pitch_{when}"] = _middle([np.asarray(speech.wav) for speech in speeches])
    pitch = _middle([row["wav"]() for row in rows])
    return NewVoice(**found, pitch=pitch, texts=tuple(texts))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """Rows of a corpus; `row["wav"]()` reads its samples."""
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]

    def reader(row: dict[str, Any]) -> Any:
        return lambda: read_audio(folder / row["audio"], RATE)

    return [{**row, "wav": reader(row)} for row in rows]


def _middle(wavs: Sequence[Waveform]) -> float:
    return round(float(np.median([median_pitch(wav) for wav in wavs])), 1)


def main(given: Sequence[str] | None = None) -> None:
    """Judge a run of the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="folder of the demo")
    parser.add_argument("--out", type=Path, required=True)
    add_device(parser)
    o = parser.parse_args(given)
    o.out.mkdir(parents=True, exist_ok=True)
    bundle = AudioLMPipeline.from_pretrained(o.run / "lm", device=o.device)
    sounds = [asdict(one) for one in name_sounds(o.run, bundle)]
    voice = asdict(learn_voice(o.run, bundle, o.out))
    write_json(o.out / "judged.json", {"sounds": sounds, "voice": voice})
