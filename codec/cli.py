"""``almtok encode``, ``almtok decode`` and ``almtok codec plan``.

torch is imported when a command runs, so that ``almtok --help`` stays fast.
"""

import argparse
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.choices import add_codec, add_frames_per_query, add_json, add_out
from ..core.options import Command
from ..core.printing import print_result
from .refine_config import RefineConfig

if TYPE_CHECKING:
    from .config import ALMTokenizerConfig
    from .model import ALMTokenizer
    from .refine import CodeRefiner

PRESET_NAMES = ("tiny", "mini", "base", "paper")


def register(commands: Any) -> None:
    """Add ``encode`` and ``decode`` to the sub-parsers of ``almtok``."""
    parser = commands.add_parser(
        "encode",
        help="encode audio files to token files",
        description="Encode audio files; each gives one token file (.safetensors).",
        examples="almtok encode talk.wav music/ --out tokens/",
    )
    parser.group("input")
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="audio files or folders of them"
    )
    add_out(parser, "folder for the token files")
    add_json(parser, advanced=True)
    add_codec(parser)
    add_frames_per_query(parser)
    add_search(parser)
    parser.set_defaults(run=encode, lean=True)
    parser = commands.add_parser(
        "decode",
        help="decode token files to audio files",
        description="Decode token files of 'almtok encode' with the same codec.",
        examples="almtok decode tokens/ --out wavs/",
    )
    parser.group("input")
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE", help="token files or folders of them"
    )
    add_out(parser, "folder for the audio files")
    formats = ("wav", "flac", "ogg")
    parser.add_argument("--format", choices=formats, default="wav", help="audio format")
    add_json(parser, advanced=True)
    add_codec(parser)
    parser.set_defaults(run=decode, lean=True)


def register_plan(commands: Any) -> None:
    """Add ``plan`` to the sub-parsers of ``almtok codec``."""
    parser = commands.add_parser(
        "plan",
        help="print size, cost and bit rate of codec presets",
        description="Print parameters of each part, FLOPs per second of audio, tokens/s, bit rate.",
        examples="almtok codec plan base --frames-per-query 3 6 10",
    )
    text = f"presets ({', '.join(PRESET_NAMES)}) or checkpoint folders (default: all presets)"
    parser.add_argument("codecs", nargs="*", metavar="CODEC", help=text)
    add_frames_per_query(parser, nargs="+")
    add_json(parser)
    parser.set_defaults(run=plan)


def add_search(parser: Command) -> None:
    """Add ``--search``."""
    text = (
        f"refine the codes in STEPS steps ({RefineConfig.steps} if not given); slow; not for"
        " training data of language models"
    )
    steps = {"type": int, "nargs": "?", "const": RefineConfig.steps, "metavar": "STEPS"}
    parser.add_argument("--search", help=text, advanced=True, **steps)


def searches_of(options: argparse.Namespace) -> list[int | None]:
    """Steps of code refinement of each evaluation of an ALMTokenizer; None is without."""
    return [None] if options.search is None else [None, options.search]


def named_by_search(name: str, steps: int | None) -> str:
    """Name of a codec in tables, with its steps of code refinement."""
    return name if steps is None else f"{name} search {steps}"


def encode(options: argparse.Namespace) -> int:
    """Run ``almtok encode``."""
    from ..core.audio import AUDIO_SUFFIXES

    files = _collect(options.files, AUDIO_SUFFIXES)
    model = load_codec(options)
    w, refiner = options.frames_per_query, _refiner(options, model)
    settings = (model.fingerprint, model.checked_window(w), options.search)

    def write(file: Path, target: Path) -> None:
        if refiner is None:
            tokens = model.tokenize(file, frames_per_query=w)
        else:
            tokens = refiner.tokenize(file, w, progress=True)
        tokens.save(target)

    return _write_all(options, files, "token", ".safetensors", settings, write)


def decode(options: argparse.Namespace) -> int:
    """Run ``almtok decode``."""
    from ..core.audio import write_audio
    from .tokens import AudioTokens

    files = _collect(options.files, (".safetensors",))
    model = load_codec(options)

    def write(file: Path, target: Path) -> None:
        wav = model.detokenize(AudioTokens.load(file))  # [S]
        write_audio(target, wav.cpu(), model.sample_rate)

    return _write_all(options, files, "audio", f".{options.format}", model.fingerprint, write)


def _write_all(
    options: argparse.Namespace,
    files: list[Path],
    kind: str,
    suffix: str,
    settings: object,
    write: Callable[[Path, Path], None],
) -> int:
    """Write the missing output of each file; return 1 if a file failed.

    Outputs are logged with a hash of everything that they depend on. The error of a single file is
    raised.
    """
    from tqdm import tqdm

    from ..core.files import cut_name
    from ..core.results_log import JOURNAL, ResultsLog, key_of, stamp

    log = ResultsLog(options.out / JOURNAL)
    existing, failures, written = 0, {}, []
    for file in tqdm(files, desc=options.run.__name__, unit="file"):
        target = options.out / f"{cut_name(file.stem)}{suffix}"
        try:
            key = key_of(settings, str(file.resolve()), stamp(file))
            if not options.overwrite and target.exists() and log.get(target.name, key):
                existing += 1
            else:
                write(file, target)
                log.add(target.name, key, {"source": str(file)})
            written.append(target)
        except (ValueError, OSError) as error:
            if len(files) == 1:
                raise
            failures[str(file)] = str(error)
            tqdm.write(f"almtok: {file}: {error}", file=sys.stderr)
    details = [f"{existing} of them existed"] if existing else []
    details += [f"{len(failures)} of {len(files)} inputs failed"] if failures else []
    text = "; ".join([f"{len(written)} {kind} files in {options.out}", *details])
    print_result(options, text, {"files": written, "existing": existing, "failed": failures})
    return 1 if failures else 0


def plan(options: argparse.Namespace) -> int:
    """Run ``almtok codec plan``."""
    from .plan import format_plans, make_plan

    plans = [
        make_plan(
            _config(codec),
            name=codec if w is None else f"{codec} w={w}",
            frames_per_query=w,
        )
        for codec in options.codecs or PRESET_NAMES
        for w in options.frames_per_query or [None]
    ]
    print_result(options, format_plans(plans), plans)
    return 0


def _config(codec: str) -> "ALMTokenizerConfig":
    from .config import ALMTokenizerConfig

    if codec in PRESET_NAMES:
        return ALMTokenizerConfig.preset(codec)
    if not Path(codec).is_dir():
        raise ValueError(
            f"CODEC must be a preset ({', '.join(PRESET_NAMES)}) or a checkpoint folder,"
            f" got {codec!r} (the cost of a recipe: almtok run {codec} --plan)"
        )
    return ALMTokenizerConfig.from_pretrained(codec)


def load_codec(options: argparse.Namespace) -> "ALMTokenizer":
    """Load the codec of ``--checkpoint`` on ``--device``."""
    from ..core.loading import no_inner_bars
    from ..core.runtime import find_device
    from .model import ALMTokenizer

    with no_inner_bars():
        codec = ALMTokenizer.from_pretrained(_checkpoint(options)).eval()
    return codec.to(find_device(options.device))


def _refiner(options: argparse.Namespace, model: "ALMTokenizer") -> "CodeRefiner | None":
    if options.search is None:
        return None
    from .refine import CodeRefiner

    return CodeRefiner.of(_checkpoint(options), model, RefineConfig(steps=options.search))


def _checkpoint(options: argparse.Namespace) -> str:
    from .checkpoints import shipped

    return str(options.checkpoint or shipped() / "codec")


def _collect(paths: list[Path], suffixes: Collection[str]) -> list[Path]:
    """Return the files among the paths and the files inside the folders.

    Outputs are named after the stem, so two files with the same stem are an error.
    """
    from ..core.files import files_below

    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = files_below(path, suffixes)
            if not inside:
                raise ValueError(f"{path} has no file ending in {', '.join(sorted(suffixes))}")
            files += inside
        elif path.exists():
            files.append(path)
        else:
            raise FileNotFoundError(2, "No such file or directory", str(path))
    by_stem: dict[str, Path] = {}
    for file in files:
        other = by_stem.setdefault(file.stem, file)
        if other != file:
            raise ValueError(f"{other} and {file} would both be written as {file.stem!r}")
    return list(by_stem.values())
