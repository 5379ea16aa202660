"""``almtok codec phonemes``; torch is imported when it runs."""

import argparse
from pathlib import Path
from typing import Any

DESCRIPTION = """\
Train a phoneme classifier for the losses phones, first_phones and recognition of the codec.

Recordings with English texts are aligned by pocketsphinx; sounds and music serve as non-speech.
Minutes on a CPU. Codec training then predicts the phones of each window from its codes and matches
the phoneme posteriors of decoded and original audio:
almtok codec train --listener FILE --weight-phones 2 --weight-recognition 1
"""


def register(commands: Any) -> None:
    """Add ``phonemes`` to the sub-parsers of ``almtok codec``."""
    parser = commands.add_parser(
        "phonemes",
        help="train a phoneme classifier for the phoneme losses of a codec",
        description=DESCRIPTION,
        epilog="example: almtok codec phonemes --data speech=voices/manifest.jsonl sound=noises/"
        " --out listener.safetensors",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data",
        nargs="+",
        required=True,
        metavar="SOURCE",
        help="[DOMAIN=]LOCATION[:SPLIT]; speech as manifests or Parquet with texts",
    )
    parser.add_argument("--out", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--steps", type=int, default=1500, help="default %(default)s")
    parser.add_argument(
        "--width", type=int, default=256, help="channels of the layers; default %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="alignment processes")
    parser.add_argument("--no-progress", action="store_true", help="no progress bars")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run ``almtok codec phonemes``."""
    from .config import PhonemeClassifierConfig, PhonemeTrainingConfig
    from .labels import label_frames
    from .train import train_phoneme_classifier

    config, progress = PhonemeClassifierConfig(width=options.width), not options.no_progress
    training = PhonemeTrainingConfig(steps=options.steps, seed=options.seed)
    cache = options.out.with_suffix(".labels.npz")  # alignment takes longer than training
    frames = label_frames(
        options.data, config, cache=cache, workers=options.workers, progress=progress
    )
    classifier, scores = train_phoneme_classifier(frames, config, training, progress=progress)
    classifier.save(options.out)
    print(
        f"{options.out}: accuracy {100 * scores.accuracy:.1f} % on all frames,"
        f" {100 * scores.spoken_accuracy:.1f} % on speech, in {scores.clips} held-out clips"
    )
    return 0
