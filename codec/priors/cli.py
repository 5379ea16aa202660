"""``almtok codec prior``: build or describe a semantic prior."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...core.choices import add_device
from .config import DEFAULT_CHECKPOINTS, DEFAULT_LAYERS, WIDTHS, PriorConfig

DESCRIPTION = """\
Build the semantic prior: the first codebook of the codec, which is never trained.

Half of its entries are cluster centres of a speech teacher's features, half of a sound teacher's
(the paper: wav2vec 2.0 and BEATs). Features are computed over your audio, clustered by k-means,
scaled, and written to one file that 'almtok codec train --prior FILE' reads. Needed once.
The same command resumes a stopped run.
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
    files = parser.add_argument_group("files")
    files.add_argument(
        "--out", type=Path, metavar="FILE", help="prior file to write (.safetensors)"
    )
    files.add_argument(
        "--describe", type=Path, metavar="FILE", help="print the contents of a prior file"
    )
    files.add_argument("--force", action="store_true", help="replace FILE if it has other settings")
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
        help="folders, manifests (.jsonl .csv .tsv), Parquet files or hf:NAME:SPLIT; the domain "
        "speech is for the speech half, sound and music for the sound half, others for both",
    )
    group.add_argument(
        "--cache", type=Path, metavar="DIR", help="folder for decoded audio (default: not cached)"
    )
    group.add_argument(
        "--max-vectors",
        type=int,
        default=defaults.max_vectors,
        metavar="N",
        help="feature frames per half; of more a random share is kept (default %(default)s)",
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
        type=_layers,
        default=DEFAULT_LAYERS,
        metavar="N,N",
        help="layers of wav2vec2, hubert, wavlm to average, from 1 (default 6,7,8,9); "
        "of BEATs the last layer is used",
    )
    group.add_argument(
        "--normalize",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="normalize clips to mean 0 and variance 1 (default: as the checkpoint's "
        "preprocessor_config.json says)",
    )
    group.add_argument(
        "--widths",
        choices=WIDTHS,
        default=defaults.widths,
        help="for teachers of different width: fail, pad with zeros, or project the wider one "
        "by a seeded orthogonal matrix (default %(default)s)",
    )
    group.add_argument(
        "--spectral-width",
        type=int,
        default=defaults.spectral_width,
        metavar="P",
        help="dimension of spectral vectors (default %(default)s)",
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
        "--passes",
        type=int,
        default=defaults.passes,
        metavar="N",
        help="maximum number of k-means passes over all vectors (default %(default)s)",
    )
    group.add_argument("--seed", type=int, default=defaults.seed, help="default %(default)s")


def _layers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers like 6,7,8,9, got {text!r}") from None


def run(options: argparse.Namespace) -> int:
    """Run ``almtok codec prior``."""
    if options.describe is not None:
        from .prior import load_prior

        print(load_prior(options.describe).describe())
        return 0
    if options.out is None or not options.data:
        raise ValueError("expected --data and --out, or --describe")
    fields = PriorConfig.__dataclass_fields__
    config = PriorConfig(**{k: v for k, v in vars(options).items() if k in fields})
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
    print(f"prior: {options.out}")
    return 0
