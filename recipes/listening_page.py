r"""Write the listening page: recordings through codecs, speech, sounds and tunes of a checkpoint.

    python -m almtok.recipes.listening_page --data speech=talks/:test --out listening

The page is `index.html` with audio files (Opus) beside it. Nothing on it is chosen by ear: clips,
prompts and seeds follow from the options.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from almtok.codec.evaluation.codecs import EvaluatedCodec, load_almtok_codec
from almtok.codec.evaluation.harness import (
    EvaluationClip,
    evaluation_clips,
    evaluation_corpus,
    safe_name,
)
from almtok.codec.evaluation.peers import load_codec
from almtok.codec.refine_config import RefineConfig
from almtok.core.audio import resample, write_audio
from almtok.core.files import replaced_folder, write_text
from almtok.core.metrics.audio import SCORE_RATE
from almtok.core.options import Command
from almtok.core.report.render import render
from almtok.tasks import AudioGenerator, TextToSpeech

Floats = npt.NDArray[np.float32]

SENTENCES = (
    "The happy dog walked near the river.",
    "Good morning, how are you today?",
    "She bought three red apples and a loaf of bread.",
    "The committee met on Thursday.",
)
SOUNDS = ("a large dog barks", "a door closes", "footsteps on wood", "heavy rain", "a bell rings")
TUNES = ("a slow piano tune", "a fast melody on a violin", "a song of a string quartet")


@dataclass(frozen=True)
class Player:
    """An audio file of the page with its label."""

    label: str
    file: str  # relative to the page


@dataclass(frozen=True)
class Row:
    """Players that belong together, such as a recording and its reconstructions."""

    title: str
    players: tuple[Player, ...]


class AudioFolder:
    """Writes the audio files of the page.

    Args:
        folder: of the page.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, name: str, label: str, wav: Any, sample_rate: int) -> Player:
        """Write samples `[S]` as a mono Opus file and return its player."""
        path = self._folder / f"{name}.opus"
        write_audio(
            path, resample(np.asarray(wav, np.float32), sample_rate, SCORE_RATE), SCORE_RATE
        )
        return Player(label, path.name)


def codec_rows(
    files: AudioFolder, clips: Sequence[EvaluationClip], codecs: Sequence[EvaluatedCodec]
) -> Iterator[Row]:
    """Yield one row per recording: the recording, then the same from each codec."""
    for number, clip in enumerate(clips, 1):
        wav = clip.read()
        name = f"codec-{number}"
        players = [files.add(f"{name}-recording", "recording", wav, SCORE_RATE)]
        for codec in codecs:
            decoded = codec.code(resample(wav, SCORE_RATE, codec.sample_rate)).wav
            label = f"{codec.name}, {codec.kbps:.3g} kbit/s"
            players.append(
                files.add(f"{name}-{safe_name(codec.name)}", label, decoded, codec.sample_rate)
            )
        yield Row(f"{clip.domain}: {clip.text or clip.id}", tuple(players))


def speech_rows(files: AudioFolder, checkpoint: Path, seed: int) -> Iterator[Row]:
    """Yield speech of each of `SENTENCES`: the first draw, and the best of six by the own ASR."""
    speaker = TextToSpeech.from_pretrained(checkpoint)
    for number, text in enumerate(SENTENCES, 1):
        first = speaker.speak(text, seed=seed)
        best = speaker.speak(text, seed=seed, check=True, tries=6)
        made = (("first draw", first), ("best of six by its own recognizer", best))
        yield Row(
            text,
            tuple(
                files.add(f"speech-{number}-{draw}", label, speech.wav.numpy(), speech.sample_rate)
                for draw, (label, speech) in enumerate(made, 1)
            ),
        )


def generated_rows(files: AudioFolder, checkpoint: Path, task: str, seed: int) -> Iterator[Row]:
    """Yield two draws of each of `SOUNDS` or `TUNES`.

    Args:
        files: where audio is written.
        checkpoint: folder of codec and language model.
        task: "sound" or "music".
        seed: of the first draw.
    """
    generator = AudioGenerator.from_pretrained(checkpoint)
    make, prompts = (generator.sound, SOUNDS) if task == "sound" else (generator.music, TUNES)
    for number, prompt in enumerate(prompts, 1):
        players = []
        for draw in (1, 2):
            audio = make(prompt, seed=seed + draw - 1)
            players.append(
                files.add(
                    f"{task}-{number}-{draw}", f"draw {draw}", audio.wav.numpy(), audio.sample_rate
                )
            )
        yield Row(prompt, tuple(players))


def load_codecs(
    checkpoint: Path, frames_per_query: Sequence[int], peers: Sequence[str]
) -> list[EvaluatedCodec]:
    """The codec of a checkpoint at several rates and with code refinement, then other codecs."""
    folder = str(checkpoint / "codec")
    own: list[EvaluatedCodec] = [
        load_almtok_codec(folder, name=f"almtok-w{w}", frames_per_query=w) for w in frames_per_query
    ]
    own.append(load_almtok_codec(folder, name="almtok-search", search_steps=RefineConfig().steps))
    return own + [load_codec(name) for name in peers]


def write_page(
    out: Path,
    checkpoint: Path,
    clips: Sequence[EvaluationClip],
    codecs: Sequence[EvaluatedCodec],
    *,
    credits: Sequence[str],
    seed: int = 0,
) -> Path:
    """Write the page and its audio files; the folder is replaced as a whole.

    Args:
        out: folder of the page.
        checkpoint: folder of codec and language model.
        clips: recordings.
        codecs: that they are passed through.
        credits: sentences at the end of the page: sources and licences of the recordings.
        seed: of all draws.
    """
    with replaced_folder(out) as folder:
        files = AudioFolder(folder)
        sections = {
            "Codec": list(codec_rows(files, clips, codecs)),
            "Speech": list(speech_rows(files, checkpoint, seed)),
            "Sounds": list(generated_rows(files, checkpoint, "sound", seed)),
            "Tunes": list(generated_rows(files, checkpoint, "music", seed)),
        }
        page = render(
            "listening_page.html",
            title="almtok: listening page",
            sections=sections,
            credits=credits,
            seed=seed,
        )
        write_text(folder / "index.html", page)
    return out / "index.html"


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page as the command line says; exit with 1 after an error."""
    args = _parser().parse_args(arguments)
    try:
        clips = evaluation_clips(evaluation_corpus(args.data), limit=args.limit, seed=args.seed)
        codecs = load_codecs(args.checkpoint, args.frames_per_query, args.codecs)
        page = write_page(
            args.out, args.checkpoint, clips, codecs, credits=args.credits, seed=args.seed
        )
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    size = sum(path.stat().st_size for path in args.out.iterdir())
    print(f"{page}: {size / 1e6:.1f} MB with its audio files")


def _parser() -> argparse.ArgumentParser:
    from almtok.codec import shipped

    parser = Command(prog="listening_page", description="Write the listening page.")
    parser.add_argument("--checkpoint", type=Path, default=Path(shipped()),
                        help="folder of codec and language model")  # fmt: skip
    parser.add_argument("--data", nargs="+", required=True, metavar="SOURCE",
                        help="recordings, see docs/data.md")  # fmt: skip
    parser.add_argument("--limit", type=int, default=3, help="recordings of each domain")
    parser.add_argument("--frames-per-query", type=int, nargs="+", default=[5, 6, 7], metavar="W",
                        help="rates of the codec")  # fmt: skip
    parser.add_argument("--codecs", nargs="*", default=[], metavar="NAME",
                        help="other codecs, as in 'almtok codec evaluate'")  # fmt: skip
    parser.add_argument("--credits", nargs="*", default=[], metavar="TEXT",
                        help="sources and licences of recordings, one sentence each")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of clips and draws")
    parser.add_argument("--out", type=Path, required=True, help="folder; it is replaced")
    return parser
