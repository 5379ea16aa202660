"""The page with the shipped model, its server and a browser: one of each for a module."""

import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Served:
    """A running page."""

    address: str
    answers: Path


@pytest.fixture(scope="module")
def pipeline():
    from almtok import shipped
    from almtok.tasks.pipelines.base import AudioLMPipeline

    return AudioLMPipeline.from_pretrained(shipped(), device="cpu")


@pytest.fixture(scope="module")
def serve(pipeline, tmp_path_factory):
    """Serve a page of a pipeline; closed after the module."""
    pytest.importorskip("gradio")
    from almtok.serve.ui.answers import AnswerFile
    from almtok.serve.ui.compare import ListeningTest
    from almtok.serve.ui.page import build_page, launch
    from almtok.serve.ui.streams import SpeechStreams

    pages = []

    def run(served=pipeline, items=None) -> Served:
        answers = tmp_path_factory.mktemp("answers") / "answers.jsonl"
        streams = SpeechStreams(served.sample_rate)
        test = ListeningTest(items, AnswerFile(answers))
        page = build_page(served, test, streams, "mini")
        pages.append(page)
        return Served(launch(page, streams, host="127.0.0.1", port=free_port()), answers)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("uploads")))
        yield run
        for page in pages:
            page.close(verbose=False)


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium with a microphone that beeps."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("there is no program chromium")
    flags = ["--no-sandbox", "--use-fake-device-for-media-stream",
             "--use-fake-ui-for-media-stream"]  # fmt: skip
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        browser.close()


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]
