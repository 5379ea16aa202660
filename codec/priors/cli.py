"""``almtok codec prior``: make or read the file of a semantic prior."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...core.choices import add_device
from .config import DEFAULT_CHECKPOINTS, DEFAULT_LAYERS, WIDTHS, PriorConfig

DESCRIPTION = """\
Make the semantic prior: the first codebook of the codec, which is never trained.

Half of its entries are cluster centres of a speech teacher's features, half of a sound teacher's
(the paper: wav2vec 2.0 and BEATs). Features are computed over your audio, clustered by k-means,
scaled, and written to one file that 'almtok codec train --prior FILE' reads. Needed once.
A stopped run goes on when the same command is given again.
"""

EPILOG = f"""\
teachers:
  spectral              smoothed spectra; no download, minutes for hours of audio on one core
  wav2vec2[:CHECKPOINT] hub id or folder, default {DEFAULT_CHECKPOINTS["wav2vec2"]}
  hubert[:CHECKPOINT]   default {DEFAULT_CHECKPOINTS["hubert"]}
  wavlm[:CHECKPOINT]    default {DEFAULT_CHECKPOINTS["wavlm"]}
  beats:FILE            an official BEATs checkpoint (.pt) or a safetensors copy of one

examples:
  almtok codec prior --data speech=voices/ sound=noises/ music=songs/ --out prior.safetensors
  almtok codec prior --teacher-speech wav2vec2 --teacher-sound beats:BEATs_iter3.pt \\
      --data speech=hf:openslr/librispeech_asr:train --data sound=audioset/ --out prior.safetensors
  almtok codec prior --describe prior.safetensors
"""


def register(commands: Any) -> None:
    """Add ``prior`` to the sub-parsers of ``almtok codec``."""
    defaults = PriorConfig()
    parser = commands.add_parser(
        "prior",
        help="cluster teacher features to the semantic prior (the first codebook)",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_argument_group("what to do")
    what.add_argument("--out", type=Path, metavar="FILE", help="the prior to make (.safetensors)")
    what.add_argument("--describe", type=Path, metavar="FILE", help="say what a prior file holds")
    what.add_argument("--force", action="store_true", help="replace FILE if made otherwise")
    _add_data(parser, defaults)
    _add_teachers(parser, defaults)
    _add_clustering(parser, defaults)
    parser.set_defaults(run=run)


def _add_data(parser: argparse.ArgumentParser, defaults: PriorConfig) -> None:
    group = parser.add_argument_group("audio")
    group.add_argument(
        "--data",
        nargs="+",
        action="extend",
        default=[],
        metavar="[DOMAIN=]SOURCE",
        help="folders, manifests (.jsonl .csv .tsv), Parquet files or hf:NAME:SPLIT; speech serves "
        "the speech half, sound and music the sound half, audio of no known domain both",
    )
    group.add_argument(
        "--cache", type=Path, metavar="DIR", help="where decoded audio is kept (default: nowhere)"
    )
    group.add_argument(
        "--max-vectors",
        type=int,
        default=defaults.max_vectors,
        metavar="N",
        help="feature frames per half; longer audio is thinned evenly (default %(default)s)",
    )


def _add_teachers(parser: argparse.ArgumentParser, defaults: PriorConfig) -> None:
    group = parser.add_argument_group("teachers")
    for half in ("speech", "sound"):
        group.add_argument(
            f"--teacher-{half}",
            default=getattr(defaults, f"teacher_{half}"),
            metavar="KIND[:SOURCE]",
            help=f"teacher of the {half} half (default %(default)s)",
        )
    group.add_argument(
        "--layers",
        type=_numbers,
        default=DEFAULT_LAYERS,
        metavar="N,N",
        help="layers of wav2vec2, hubert, wavlm to average, from 1 (default 6,7,8,9); "
        "BEATs gives its last",
    )
    group.add_argument(
        "--normalize",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="bring clips to mean 0 and variance 1 (default: as the checkpoint's "
        "preprocessor_config.json says)",
    )
    group.add_argument(
        "--widths",
        choices=WIDTHS,
        default=defaults.widths,
        help="teachers of different width: refuse, fill with zeros, or project the wider one "
        "by a seeded orthogonal matrix (default %(default)s)",
    )
    group.add_argument(
        "--spectral-width",
        type=int,
        default=defaults.spectral_width,
        metavar="P",
        help="numbers per spectral vector (default %(default)s)",
    )
    add_device(group)


def _add_clustering(parser: argparse.ArgumentParser, defaults: PriorConfig) -> None:
    group = parser.add_argument_group("clustering")
    group.add_argument(
        "--codebook-size",
        type=int,
        default=defaults.codebook_size,
        metavar="C",
        help="entries of the codec's first codebook (default %(default)s)",
    )
    group.add_argument(
        "--num-speech",
        type=int,
        metavar="N",
        help="entries of the speech half (default: half of the codebook)",
    )
    group.add_argument(
        "--epochs", type=int, default=defaults.epochs, help="mini-batch epochs (%(default)s)"
    )
    group.add_argument(
        "--passes",
        type=int,
        default=defaults.passes,
        help="full passes after them, at most (%(default)s)",
    )
    group.add_argument("--seed", type=int, default=defaults.seed, help="default %(default)s")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers like 6,7,8,9, got {text!r}") from None


def run(options: argparse.Namespace) -> int:
    """Describe a prior file or make one."""
    if options.describe is not None:
        from .prior import load_prior

        print(load_prior(options.describe).describe())
        return 0
    if options.out is None or not options.data:
        raise ValueError("name the audio with --data and the file with --out, or use --describe")
    names = PriorConfig.__dataclass_fields__
    config = PriorConfig(**{k: v for k, v in vars(options).items() if k in names})
    from ...core.data import AudioCorpus, DataConfig
    from .build import build_prior

    corpus = AudioCorpus.scan(options.data, DataConfig(), options.cache)
    prior = build_prior(
        config,
        corpus,
        options.out,
        device=options.device,
        force=options.force,
    )
    print(prior.describe())
    print(f"{options.out} is ready")
    return 0
