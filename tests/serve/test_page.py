"""What docs/serving.md tells its readers to type works."""

import re
import shlex
import shutil
import subprocess

import pytest
import soundfile

from almtok.core.audio import read_audio

pytest.importorskip("fastapi")

USUAL = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def open_server(serving):
    """As the page has it: without a key."""
    with serving(api_key=None) as running:
        yield running


@pytest.fixture
def page(root, open_server):
    text = (root / "docs/serving.md").read_text()
    assert text.count(USUAL) >= 2
    return text.replace(USUAL, open_server.url)


def test_the_client_of_the_page(page, tmp_path, monkeypatch):
    pytest.importorskip("openai")
    monkeypatch.chdir(tmp_path)
    # The second one is for vLLM: see test_vllm_client.py.
    code, _ = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    exec(compile(code, "docs/serving.md", "exec"), {})
    pcm, _ = soundfile.read("morning.pcm", channels=1, samplerate=24_000, format="RAW",
                            subtype="PCM_16")  # fmt: skip
    # Two seeds: a few words each.
    assert all(0.3 < len(wav) / 24_000 < 5 for wav in (pcm, read_audio("morning.wav")))


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
def test_the_curl_of_the_page(page, tmp_path):
    (command,) = re.findall(r"^curl .*\\\n.*$", page, re.MULTILINE)
    words = shlex.split(command.replace("\\\n", " "))
    subprocess.run([*words, "-sSf"], check=True, cwd=tmp_path)
    assert len(read_audio(tmp_path / "morning.mp3")) > 7200


def test_every_field_and_option_of_the_page_exists(page):
    from almtok.__main__ import build_parser
    from almtok.serve.routes.speech import SpeechRequest

    section = page.split("## Fields of a request for speech")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE)) == set(SpeechRequest.model_fields)
    with pytest.raises(SystemExit):
        build_parser("serve").parse_args(["serve", "--no-such-option"])
    for flag in set(re.findall(r"`(--[a-z-]+)", page)):
        words = {"--allow-public": [], "--adapters": ["a=b"], "--model-names": ["a"]}
        build_parser("serve").parse_args(["serve", flag, *words.get(flag, ["1"])])


def test_every_route_of_the_page_exists(page, open_server):
    section = page.split("## Routes")[1].split("\n## ")[0]
    named = set(re.findall(r"`(?:GET |POST )?(/[\w/{}.]+)`", section)) - {"/docs", "/openapi.json"}
    httpx = pytest.importorskip("httpx")
    paths = set(httpx.get(f"{open_server.url}/openapi.json").json()["paths"])
    assert named == paths
