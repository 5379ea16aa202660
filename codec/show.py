"""``almtok show``: what a codec makes of an audio file or a token file, as a page or a picture.

torch is imported when the command runs.
"""

import argparse
from pathlib import Path
from typing import Any

from ..core.choices import add_codec, add_frames_per_query, add_json
from ..core.printing import print_result

FORMATS = (".html", ".png")
DESCRIPTION = """\
Show what the codec makes of a recording, as a page with players (.html) or a picture (.png):
waveform, spectrograms of original and reconstruction and their difference, the codes, how clearly
each code was the nearest, and what each query attends to. Of tokens: codes and reconstruction.
"""
EXAMPLES = """
almtok show talk.wav
almtok show talk.wav --start 30 --seconds 5 --out talk.png
almtok show tokens/talk.safetensors --out talk.html
"""


def register(commands: Any) -> None:
    """Add ``show`` to the sub-parsers of ``almtok``."""
    parser = commands.add_parser(
        "show",
        help="show what a codec makes of a recording: spectrograms, codes, attention",
        description=DESCRIPTION,
        examples=EXAMPLES,
    )
    parser.group("input")
    text = "audio file, or token file of 'almtok encode' (.safetensors)"
    parser.add_argument("file", type=Path, metavar="FILE", help=text)
    parser.add_argument("--start", default=0.0, metavar="S", help="start of the excerpt in seconds")
    parser.add_argument("--seconds", default=10.0, metavar="S", help="length of the excerpt")
    text = "JSON with words and their times, such as of a forced alignment"
    parser.add_argument("--words", type=Path, metavar="FILE", help=text)
    parser.group("output")
    text = "page (.html) or picture (.png) (default: NAME.html in the current folder)"
    parser.add_argument("--out", type=Path, metavar="FILE", help=text)
    add_json(parser, advanced=True)
    add_codec(parser)
    add_frames_per_query(parser, advanced=True)
    parser.set_defaults(run=run, lean=True)


def run(options: argparse.Namespace) -> int:
    """Run ``almtok show``."""
    if not options.file.exists():
        raise FileNotFoundError(2, "No such file or directory", str(options.file))
    if options.file.is_dir():
        raise ValueError(f"expected an audio or token file, got the folder {options.file}")
    out = options.out or Path(f"{options.file.stem}.html")
    if out.suffix.lower() not in FORMATS:
        raise ValueError(f"--out must end in {' or '.join(FORMATS)}, got {out}")
    is_tokens = options.file.suffix == ".safetensors"
    if is_tokens and options.frames_per_query is not None:
        raise ValueError("--frames-per-query must not be given for tokens, which have their own")

    from ..core.files import write_bytes
    from .cli import load_codec
    from .inspection import inspect_audio, inspect_tokens
    from .show_words import read_words
    from .tokens import AudioTokens

    words = [] if options.words is None else read_words(options.words)
    codec = load_codec(options)
    part = (options.start, options.seconds)
    if is_tokens:
        found = inspect_tokens(codec, AudioTokens.load(options.file), *part)
    else:
        found = inspect_audio(codec, options.file, *part, options.frames_per_query)
    title = options.file.name
    if out.suffix.lower() == ".png":
        from .show_figure import figure

        data = figure(found, title, words)
    else:
        from .show_page import page

        data = page(found, title, f"codec {codec.fingerprint}", words).encode()
    write_bytes(out, data)
    text = f"{found.start:.2f} to {found.start + found.seconds:.2f} s of {options.file}: {out}"
    value = {"file": options.file, "start": found.start, "seconds": found.seconds, "picture": out}
    print_result(options, text, value)
    return 0
