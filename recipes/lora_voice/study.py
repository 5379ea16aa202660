r"""What an adapter of a few recordings is worth: each recording held out in turn.

    python -c "from almtok.recipes.lora_voice.study import main; main()" \
        --base RUN --voice SRC --text "..." "..." --out DIR

For every speaker of SRC and each of her recordings, an adapter is trained on the others. Before and
after: how well the model predicts the codes of the one it has not seen, and the pitch of what it
says. What is done is not done again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from almtok.core.audio import read_audio, write_audio
from almtok.core.data.reader import EntryReader
from almtok.core.files import write_json, write_text
from almtok.core.metrics.pitch import pitch_curve
from almtok.lm.data import TokenDataset, TokenizeConfig, tokenize_corpus
from almtok.lm.data.sources import list_recordings
from almtok.lm.prompt_builder import PromptOptions
from almtok.lm.score import score
from almtok.lm.sequences import build_sequence
from almtok.lm.train.run import train_lm
from almtok.tasks import AudioLMPipeline, TextToSpeech, get_task

from . import recipe


@dataclass(frozen=True)
class Fold:
    """One recording that the adapter has not seen."""

    speaker: str
    recording: str
    before: tuple[float, ...]  # nats per code, by layer
    after: tuple[float, ...]
    pitch: float  # Hz, median of the speaker's recordings
    pitch_before: float  # of what is said without the adapter
    pitch_after: float


def study(options: argparse.Namespace) -> Iterator[Fold]:
    """Every fold of every speaker."""
    base = AudioLMPipeline.from_pretrained(options.base)
    for speaker, rows in _recordings(options.voice, Path(options.out)).items():
        if len(rows) < 2:
            continue
        for row in rows:
            place = Path(options.out, speaker, row["id"])
            facts = place / "fold.json"
            if not facts.exists():
                _tokenize(base, [one for one in rows if one is not row], place / "tokens")
                _tokenize(base, [row], place / "held-out")
                fold = _fold(options, speaker, row["id"], place, rows)
                write_json(facts, asdict(fold))
            said = json.loads(facts.read_text())
            yield Fold(**{**said, "before": tuple(said["before"]), "after": tuple(said["after"])})


def _recordings(sources: Sequence[str], out: Path) -> dict[str, list[dict[str, str]]]:
    """Recordings of each speaker as files: rows of manifests."""
    reader, speakers = EntryReader(), {}  # type: ignore[var-annotated]
    for one in list_recordings(sources):
        if not one.entry.text:
            continue
        file = out / "audio" / f"{Path(one.id).name}.wav"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            write_audio(file, read_audio(reader.open(one.entry), 24_000), 24_000)
        name = one.entry.speaker or "speaker"
        row = {"id": file.stem, "audio": str(file.resolve()), "text": one.entry.text}
        speakers.setdefault(name, []).append({**row, "speaker": name, "domain": "speech"})
    return speakers


def _tokenize(base: AudioLMPipeline, rows: Sequence[dict[str, str]], place: Path) -> None:
    """To codes, at the level that the base learned from."""
    manifest = place.with_suffix(".jsonl")
    write_text(manifest, "".join(json.dumps({**row, "split": "train"}) + "\n" for row in rows))
    level = TokenizeConfig(loudness_dbfs=base.lm.config.loudness_dbfs)
    tokenize_corpus([str(manifest)], base.codec, place, level, progress=False)


def _fold(
    options: argparse.Namespace, speaker: str, name: str, place: Path, rows: Sequence[Any]
) -> Fold:
    config = recipe.voice(
        [str(place / "tokens")], [], options.base, str(place), steps=options.steps,
        validate_every=0, progress=False, tensorboard=False,
    )  # fmt: skip
    bundle = AudioLMPipeline.from_pretrained(options.base)
    before, pitch_before = nats_per_code(bundle, place / "held-out"), _pitch(bundle, options.text)
    train_lm(config, get_task)
    bundle.load_adapter(place / "adapter-run")
    hers = [median_pitch(read_audio(row["audio"], 24_000)) for row in rows]
    return Fold(
        speaker=speaker,
        recording=name,
        before=before,
        after=nats_per_code(bundle, place / "held-out"),
        pitch=statistics.median(hers),
        pitch_before=pitch_before,
        pitch_after=_pitch(bundle, options.text),
    )


def nats_per_code(bundle: AudioLMPipeline, tokens: Path) -> tuple[float, ...]:
    """Nats per code of each layer, over all recordings of a folder."""
    dataset, lm, sequences, frames = TokenDataset(tokens), bundle.lm.config, [], 0
    for number in range(len(dataset)):
        row = dataset[number]
        given = {"text": row.text}
        example = bundle.processor.composer.example("tts", given, row.tokens, PromptOptions())
        sequences.append(build_sequence(example, lm, eos_id=bundle.texts.eos_id))
        frames += row.codes.shape[-1]
    found = score(bundle.lm, sequences)
    return tuple(-sum(layer) / frames for layer in zip(*(one.audio for one in found), strict=True))


def _pitch(bundle: AudioLMPipeline, texts: Sequence[str]) -> float:
    """Hz, median over what the model says."""
    speeches = TextToSpeech(bundle).speak_all(list(texts), carry=False)
    return statistics.median(median_pitch(np.asarray(speech.wav)) for speech in speeches)


def median_pitch(wav: Any) -> float:
    """Hz of samples `[S]` at 24 kHz; 0 where nothing is voiced."""
    curve = pitch_curve(wav, 24_000)
    return float(np.median(curve.hz[curve.voiced])) if curve.voiced.any() else 0.0


def table(folds: Sequence[Fold]) -> str:
    """Markdown: means over the folds of each speaker."""
    head = ("speaker", "recordings", "nats per code before, 1 / 2 / 3", "after", "pitch, Hz",
            "of what is said before", "after")  # fmt: skip
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for speaker in dict.fromkeys(fold.speaker for fold in folds):
        mine = [fold for fold in folds if fold.speaker == speaker]

        def mean(name: str, mine: Sequence[Fold] = mine) -> str:
            losses = torch.tensor([getattr(fold, name) for fold in mine]).mean(dim=0)
            return " / ".join(f"{float(loss):.2f}" for loss in losses)

        pitches = [statistics.median(getattr(fold, name) for fold in mine)
                   for name in ("pitch", "pitch_before", "pitch_after")]  # fmt: skip
        rows.append([speaker, str(len(mine)), mean("before"), mean("after"),
                     *(f"{hz:.0f}" for hz in pitches)])  # fmt: skip
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def main(given: Sequence[str] | None = None) -> None:
    """Run the study as the command line asks, see the head of this file."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--base", required=True, metavar="RUN", help="a language model with its codec")
    add("--voice", nargs="+", required=True, metavar="SRC", help="recordings with texts")
    add("--text", nargs="+", required=True, help="what is said, to hear the pitch of")
    add("--out", required=True, metavar="DIR")
    add("--steps", type=int, default=80, help="of each adapter (default %(default)s)")
    options = parser.parse_args(given)
    place = Path(options.out, "table.md")
    write_text(place, table(list(study(options))))
    print(place.read_text())
