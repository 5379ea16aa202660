"""``almtok codec prior``: build or describe a semantic prior."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.choices import SOURCES, add_data, add_device, add_json, add_seed
from ...core.options import given_fields
from ...core.printing import print_result
from .config import DEFAULT_CHECKPOINTS, DEFAULT_LAYERS, WIDTHS, PriorConfig

if TYPE_CHECKING:
    from .prior import Prior

DESCRIPTION = """\
Make the semantic prior: the fixed first codebook of the codec. Half of its entries are k-means
centroids of a speech teacher's features, half of a sound teacher's (the paper: wav2vec 2.0 and
BEATs), computed on your audio. 'almtok codec train --prior FILE' reads it. The same command resumes
a stopped run.
"""
EXAMPLES = """
almtok codec prior --data speech=voices/ sound=noises/ music=songs/ --out prior.safetensors
almtok codec prior --teacher-speech wav2vec2 --teacher-sound beats:BEATs_iter3.pt \\
    --data speech=hf:openslr/librispeech_asr:train --data sound=audioset/ --out prior.safetensors
almtok codec prior --describe prior.safetensors
"""
NOTES = f"""
teachers:
  spectral              smoothed spectra; no download, minutes for hours of audio on one core
  wav2vec2[:CHECKPOINT] hub id or folder (default: {DEFAULT_CHECKPOINTS["wav2vec2"]})
  hubert[:CHECKPOINT]   default: {DEFAULT_CHECKPOINTS["hubert"]}
  wavlm[:CHECKPOINT]    default: {DEFAULT_CHECKPOINTS["wavlm"]}
  whisper[:CHECKPOINT]  Whisper's encoder, default: {DEFAULT_CHECKPOINTS["whisper"]}
  beats:FILE            official BEATs checkpoint (.pt), or a safetensors copy of it
  phonemes:FILE         phoneme classifier of 'almtok codec phonemes'

{SOURCES}"""


def register(commands: Any) -> None:
    """Add ``prior`` to the sub-parsers of ``almtok codec``."""
    parser = commands.add_parser(
        "prior",
        help="cluster teacher features to the semantic prior (the first codebook)",
        description=DESCRIPTION,
        examples=EXAMPLES,
        notes=NOTES,
    )
    add = parser.add_argument
    add_data(parser, required=False)
    add("--describe", type=Path, metavar="FILE", help="print what a prior file contains")
    parser.group("output")
    add("--out", type=Path, metavar="FILE", help="prior to write (.safetensors)")
    text = "replace a FILE that was made with other options"
    add("--overwrite", action="store_true", help=text)
    text = "folder that keeps decoded audio (default: none)"
    add("--cache", type=Path, metavar="DIR", help=text, advanced=True)
    parser.group("teachers")
    teacher = "spectral, wav2vec2, hubert, wavlm, whisper, beats:FILE, phonemes:FILE"
    parser.add_fields(
        PriorConfig,
        {"teacher_speech": teacher, "teacher_sound": "teacher of the sound half, likewise"},
    )
    text = (
        "layers of wav2vec2, hubert, wavlm, whisper to average, from 1 (default:"
        f" {','.join(map(str, DEFAULT_LAYERS))}; whisper: that at two thirds of the depth)"
    )
    add("--layers", type=_numbers, metavar="N,N", help=text, advanced=True)
    text = "teachers of different width: fail, pad with zeros, project the wider"
    add("--widths", choices=WIDTHS, default=PriorConfig.widths, help=text, advanced=True)
    parser.add_fields(PriorConfig, {"spectral_width": "width of spectral features"}, advanced=True)
    add_device(parser)
    parser.group("clustering")
    parser.add_fields(PriorConfig, {"codebook_size": "entries of the first codebook"})
    text = "entries of the speech half (default: half of the codebook)"
    parser.add_fields(PriorConfig, {"num_speech": text}, advanced=True)
    texts = {"max_vectors": "feature frames per half; more are subsampled"}
    parser.add_fields(PriorConfig, texts, advanced=True)
    add_seed(parser)
    add_json(parser, advanced=True)
    parser.set_defaults(run=run)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers like 6,7,8,9, got {text!r}") from None


def run(options: argparse.Namespace) -> int:
    """Run ``almtok codec prior``."""
    if options.describe is not None:
        from .prior import load_prior

        prior = load_prior(options.describe)
        print_result(options, prior.describe(), _facts(options.describe, prior))
        return 0
    if options.out is None or not options.data:
        raise ValueError("expected --data and --out, or --describe")
    config = PriorConfig(**given_fields(options, PriorConfig))
    from ...core.data import AudioCorpus, DataConfig
    from .build import build_prior

    corpus = AudioCorpus.scan(options.data, DataConfig(), options.cache)
    prior = build_prior(config, corpus, options.out, device=options.device, force=options.overwrite)
    print_result(options, f"{prior.describe()}\nprior: {options.out}", _facts(options.out, prior))
    return 0


def _facts(file: Any, prior: Prior) -> dict[str, Any]:
    """What ``--json`` says of a prior."""
    names = ("codebook_size", "dim", "num_speech", "metadata")
    return {"file": file, **{name: getattr(prior, name) for name in names}}
