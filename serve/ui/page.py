"""The page: its tabs, its server and what keeps it to this machine."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import tempfile
import threading
from pathlib import Path

# Read by Gradio when it is imported: no statistics, no look for newer versions.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import gradio as gr  # noqa: E402

from ...core.loading import no_inner_bars  # noqa: E402
from ...tasks.pipelines.base import AudioLMPipeline  # noqa: E402
from .answers import AnswerFile  # noqa: E402
from .clone import add_clone_tab  # noqa: E402
from .codec import add_codec_tab  # noqa: E402
from .compare import ListeningTest, add_compare_tab  # noqa: E402
from .limits import MAX_UPLOAD_BYTES, MAX_WAITING  # noqa: E402
from .listening_items import common_rate, items_of_folder  # noqa: E402
from .sounds import add_sounds_tab  # noqa: E402
from .speak import add_speak_tab  # noqa: E402
from .streams import SpeechStreams  # noqa: E402
from .style import CSS, HEAD, theme  # noqa: E402
from .transcribe import add_transcribe_tab  # noqa: E402

_ANSWERS = Path("listening_answers.jsonl")
_KEEP_SECONDS = 3600  # of uploaded and generated files


def build_page(
    pipeline: AudioLMPipeline, test: ListeningTest, streams: SpeechStreams, name: str
) -> gr.Blocks:
    """Build the tabs.

    Args:
        pipeline: the model of all tabs.
        test: of the tab Compare.
        streams: of the tab Speak; their route must be served, too.
        name: of the model, for the heading.
    """
    keep = (_KEEP_SECONDS, _KEEP_SECONDS)
    with gr.Blocks(title="almtok", analytics_enabled=False, delete_cache=keep) as page:
        gr.Markdown(f"# almtok\nModel: `{name}`")
        with gr.Tabs():
            with gr.Tab("Speak"):
                add_speak_tab(pipeline, streams)
            with gr.Tab("Clone"):
                add_clone_tab(pipeline)
            with gr.Tab("Transcribe"):
                add_transcribe_tab(pipeline)
            with gr.Tab("Sound and Music"):
                add_sounds_tab(pipeline)
            with gr.Tab("Codec"):
                add_codec_tab(pipeline.codec)
            with gr.Tab("Compare"):
                add_compare_tab(pipeline.codec, test)
    page.queue(max_size=MAX_WAITING, default_concurrency_limit=1, api_open=False)
    return page


def launch(
    page: gr.Blocks, streams: SpeechStreams, *, host: str, port: int, share: bool = False
) -> str:
    """Start the server in a thread; return its address.

    Raises:
        OSError: the port is in use or may not be used.
    """
    _check_port(host, port)
    _, address, _ = page.launch(
        server_name=host, server_port=port, share=share, prevent_thread_lock=True, quiet=True,
        theme=theme(), css=CSS, head=HEAD, footer_links=[], run_history=False,
        max_file_size=MAX_UPLOAD_BYTES, enable_monitoring=False, ssr_mode=False, pwa=False,
        mcp_server=False, app_kwargs={"routes": [streams.route()]},
    )  # fmt: skip
    return page.share_url or address


def serve(options: argparse.Namespace) -> int:
    """Run ``almtok ui`` until it is interrupted."""
    with tempfile.TemporaryDirectory(prefix="almtok-ui-") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder
        _check_port(options.host, options.port)
        test = _listening_test(options)
        with no_inner_bars():
            pipeline = AudioLMPipeline.from_pretrained(
                options.checkpoint, device=options.device, dtype=options.dtype
            )
        streams = SpeechStreams(pipeline.sample_rate)
        page = build_page(pipeline, test, streams, Path(options.checkpoint).resolve().name)
        address = launch(page, streams, host=options.host, port=options.port, share=options.share)
        print(f"almtok ui: {address} (Ctrl+C stops it)", flush=True)
        # SIGTERM ends the block above, too: it deletes the folder.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            threading.Event().wait()
        finally:
            page.close(verbose=False)
    return 0


def _listening_test(options: argparse.Namespace) -> ListeningTest:
    items = None
    if options.compare is not None:
        items = items_of_folder(options.compare, common_rate(options.compare))
    return ListeningTest(items, AnswerFile(options.answers or _ANSWERS))


def _check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except (OSError, OverflowError) as error:
            raise OSError(f"cannot listen on {host}, port {port}: {error}") from error
