"""``almtok codec phonemes``; nothing heavy is imported until it runs."""

import argparse
from pathlib import Path
from typing import Any

DESCRIPTION = """\
Train a listener: a small network that names the phones of speech, for the codec's loss `phones`.

Recordings with English texts are aligned by pocketsphinx; sounds and music teach it what is no
speech. Minutes on a CPU. The codec's training then asks of every column of codes which phones its
window has, and of the decoder to pronounce them, so that words survive:
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
        "--width", type=int, default=256, help="channels of its layers; default %(default)s"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="processes that align")
    parser.add_argument("--no-progress", action="store_true", help="no progress bars")
    parser.set_defaults(run=listener)


def listener(options: argparse.Namespace) -> int:
    """Run ``almtok codec phonemes``."""
    from .config import PhonemeClassifierConfig, PhonemeTrainingConfig
    from .labels import label_frames
    from .train import train_phoneme_classifier

    config, progress = PhonemeClassifierConfig(width=options.width), not options.no_progress
    training = PhonemeTrainingConfig(steps=options.steps, seed=options.seed)
    cache = options.out.with_suffix(".labels.npz")  # aligning takes longer than a second training
    frames = label_frames(
        options.data, config, cache=cache, workers=options.workers, progress=progress
    )
    trained, heard = train_phoneme_classifier(frames, config, training, progress=progress)
    trained.save(options.out)
    print(
        f"{options.out}: names {100 * heard.accuracy:.1f} % of all frames and"
        f" {100 * heard.spoken_accuracy:.1f} % of the spoken ones in {heard.clips} held-out clips"
    )
    return 0
