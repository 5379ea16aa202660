"""``almtok ui``. Gradio and torch are imported when the command runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ...codec.checkpoints import DEFAULT
from ...core.choices import AUTO, DTYPES, add_device

UI = """
almtok ui
almtok ui runs/mine --port 8000
almtok ui --compare clips/ --answers answers.jsonl
"""
NOTES = """
The page works without a network. --host 0.0.0.0 lets other machines of the network in; there are no
accounts. Uploaded files lie in a temporary folder, which is deleted when the server stops.

A folder of --compare has a subfolder per system with files of the same names; the subfolder
'reference' holds the originals. Every answer is a line of the file of --answers.
"""


def register(commands: Any) -> None:
    """Add ``ui`` to the sub-parsers of ``almtok``."""
    parser = commands.add_parser(
        "ui",
        help="open a page for a browser: speak, transcribe, compare codecs",
        description="Serve a page to try a model in a browser, and to run listening tests.",
        examples=UI,
        notes=NOTES,
    )
    parser.group("model")
    add = parser.add_argument
    text = "run folder or folder with lm/ and codec/ (default: the model of almtok)"
    add("checkpoint", nargs="?", default=str(DEFAULT), metavar="CHECKPOINT", help=text)
    add_device(parser)
    add("--dtype", default=AUTO, choices=DTYPES, help="weights of the LM", advanced=True)
    parser.group("server")
    add("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on")
    add("--port", default=7860, help="port to listen on")
    text = "make a public link through a server of Gradio (needs a network)"
    add("--share", action="store_true", help=text)
    parser.group("listening test")
    text = "folder with a subfolder per system, for the tab Compare"
    add("--compare", type=Path, metavar="FOLDER", help=text)
    text = "file for the answers (default: listening_answers.jsonl)"
    add("--answers", type=Path, default=None, metavar="FILE", help=text)
    parser.set_defaults(run=run, lean=True)


def run(options: argparse.Namespace) -> int:
    """Serve the page until the process is interrupted."""
    from .page import serve

    return serve(options)
