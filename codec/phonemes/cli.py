"""``almtok codec phonemes``; torch is imported when it runs."""

import argparse
from pathlib import Path
from typing import Any

from ...core.choices import SOURCES, add_data, add_json, add_no_progress, add_seed
from ...core.printing import print_result

DESCRIPTION = """\
Train a phoneme classifier for the losses phones, first_phones and recognition of 'almtok codec
train'. Recordings with English texts are aligned by pocketsphinx; sounds and music are non-speech.
Takes minutes on a CPU.
"""
EXAMPLES = """
almtok codec phonemes --data speech=voices/manifest.jsonl sound=noises/ --out phonemes.safetensors
almtok codec train --phoneme-classifier phonemes.safetensors --weight-phones 2 ...
"""


def register(commands: Any) -> None:
    """Add ``phonemes`` to the sub-parsers of ``almtok codec``."""
    parser = commands.add_parser(
        "phonemes",
        help="train a phoneme classifier for the phoneme losses of a codec",
        description=DESCRIPTION,
        examples=EXAMPLES,
        notes=SOURCES,
    )
    add_data(parser)
    parser.group("output")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="safetensors file to write"
    )
    parser.group("training")
    parser.add_argument("--steps", default=1500, help="training steps")
    add_seed(parser)
    parser.add_argument("--workers", default=1, help="alignment processes")
    add_json(parser, advanced=True)
    add_no_progress(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run ``almtok codec phonemes``."""
    from .config import PhonemeClassifierConfig, PhonemeTrainingConfig
    from .labels import label_frames
    from .train import train_phoneme_classifier

    config, progress = PhonemeClassifierConfig(), not options.no_progress
    training = PhonemeTrainingConfig(steps=options.steps, seed=options.seed)
    cache = options.out.with_suffix(".labels.npz")  # alignment takes longer than training
    frames = label_frames(
        options.data, config, cache=cache, workers=options.workers, progress=progress
    )
    classifier, scores = train_phoneme_classifier(frames, config, training, progress=progress)
    classifier.save(options.out)
    text = (
        f"{options.out}: accuracy {100 * scores.accuracy:.1f} % on all frames,"
        f" {100 * scores.spoken_accuracy:.1f} % on speech, in {scores.clips} held-out clips"
    )
    print_result(options, text, {"file": options.out, "scores": scores})
    return 0
