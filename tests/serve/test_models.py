"""Models, voices, health, and a model with adapters and a watermark."""

from pathlib import Path

import numpy as np
import pytest

httpx = pytest.importorskip("httpx")
pytest.importorskip("fastapi")

VOICE = Path(__file__).resolve().parents[1] / "codec" / "fixtures" / "kathleen_a0119.flac"
SPEECH = {"model": "mini", "input": "Hi.", "voice": "default", "response_format": "pcm"}
QUIET = "def quiet(waveform, rate):\n    assert rate == 24000\n    return waveform * 0\n"
SHORT = "def short(waveform, rate):\n    return waveform[1:]\n"


def test_models_are_those_of_the_client_of_openai(server):
    openai = pytest.importorskip("openai")
    client = openai.OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0)
    (model,) = client.models.list().data
    assert (model.id, model.object, model.owned_by) == ("mini", "model", "almtok")
    assert client.models.retrieve("mini") == model


def test_voices_health_and_ready(server):
    voices = httpx.get(f"{server.url}/v1/audio/voices", headers=server.headers).json()
    assert [voice["id"] for voice in voices["data"]] == ["default"]
    assert httpx.get(f"{server.url}/health").json() == {"status": "ok"}
    assert httpx.get(f"{server.url}/ready").json() == {"status": "ready"}


def test_other_names_of_a_model(serving):
    with serving(model_names=["mine", "tts-1"]) as server:
        found = httpx.get(f"{server.url}/v1/models", headers=server.headers).json()["data"]
        assert [(model["id"], model["parent"]) for model in found] == [
            ("mine", None), ("tts-1", "mine"),
        ]  # fmt: skip
        for name, status in (("mine", 200), ("tts-1", 200), ("mini", 404)):
            body = {**SPEECH, "model": name}
            url = f"{server.url}/v1/audio/speech"
            found = httpx.post(url, json=body, headers=server.headers, timeout=300)
            assert found.status_code == status


def test_named_voices_are_listed_and_checked(served_pipeline, serving, monkeypatch):
    monkeypatch.setattr(served_pipeline.lm.config, "voices", ["joe", "eve"])
    with serving() as server:
        found = httpx.get(f"{server.url}/v1/audio/voices", headers=server.headers).json()["data"]
        assert [voice["id"] for voice in found] == ["joe", "eve"]
        url, body = f"{server.url}/v1/audio/speech", {**SPEECH, "voice": "ann"}
        found = httpx.post(url, json=body, headers=server.headers)
        assert found.status_code == 400
        assert "voice must be one of joe, eve, got 'ann'" in found.json()["error"]["message"]


def save_new_adapter(folder):
    """An adapter of the shipped model, of random weights."""
    import torch

    from almtok import shipped
    from almtok.lm.lora import LoraSettings, add_lora, save_adapter
    from almtok.tasks.pipelines.base import AudioLMPipeline

    lm = AudioLMPipeline.from_pretrained(shipped(), device="cpu", dtype="float32").lm
    torch.manual_seed(0)
    add_lora(lm, LoraSettings(rank=2))
    with torch.no_grad():
        for parameter in lm.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return save_adapter(lm, folder)


def test_adapters_are_models_of_their_own(tmp_path):
    from almtok.serve.app import load_pipeline
    from almtok.serve.settings import ServerSettings

    from .serving import serving

    adapters = {"joe": save_new_adapter(tmp_path / "joe")}
    pipeline = load_pipeline(ServerSettings(adapters=adapters, device="cpu", dtype="float32"))
    with serving(pipeline, adapters=adapters) as server:
        found = httpx.get(f"{server.url}/v1/models", headers=server.headers).json()["data"]
        assert [(model["id"], model["parent"]) for model in found] == [
            ("mini", None), ("joe", "mini"),
        ]  # fmt: skip

        def say(**fields) -> bytes:
            found = httpx.post(
                f"{server.url}/v1/audio/speech", json={**SPEECH, **fields},
                headers=server.headers, timeout=300,
            )  # fmt: skip
            assert found.status_code == 200, found.text
            return found.content

        assert say(model="joe") == say(adapter="joe") != say()
        _check_words_by_adapter(server, pipeline, "joe")


def _check_words_by_adapter(server, pipeline, name):
    """Text and times of a transcript are those of the pipeline with the adapter."""
    from almtok.tasks.pipelines.speech_recognition import SpeechRecognizer

    form = {"model": "mini", "response_format": "verbose_json", "timestamp_granularities[]": "word"}
    found = httpx.post(
        f"{server.url}/v1/audio/transcriptions", data={**form, "adapter": name},
        files={"file": ("a.flac", VOICE.read_bytes())}, headers=server.headers, timeout=300,
    ).json()  # fmt: skip
    expected = SpeechRecognizer(pipeline).transcribe(VOICE, timestamps=True, adapter=name)
    assert found["text"] == expected.text
    confidences = [word["confidence"] for word in found["words"]]
    assert confidences == pytest.approx([word.confidence for word in expected.words], abs=1e-3)


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
def test_a_watermark_marks_the_whole_waveform(serving, tmp_path, stream_format):
    file = tmp_path / "mark.py"
    file.write_text(QUIET)
    with serving(watermark=f"{file}:quiet") as server:
        body = {**SPEECH, "response_format": "wav", "stream_format": stream_format}
        url = f"{server.url}/v1/audio/speech"
        found = httpx.post(url, json=body, headers=server.headers, timeout=300)
        assert found.status_code == 200
        if stream_format == "audio":
            sound = np.frombuffer(found.content[100:], "<i2")
            assert len(sound) > 1000 and not sound.any()


def test_audio_is_not_sent_without_its_mark(serving, tmp_path):
    file = tmp_path / "mark.py"
    file.write_text(SHORT)
    with serving(watermark=f"{file}:short") as server:
        url = f"{server.url}/v1/audio/speech"
        found = httpx.post(url, json=SPEECH, headers=server.headers, timeout=300)
        assert found.status_code == 500
        assert found.json()["error"] == {
            "message": "internal error", "type": "server_error", "param": None, "code": None,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("place", "said"),
    [("mark", "must be FILE.py:FUNCTION"), ("none.py:f", "there is no such file")],
)
def test_a_watermark_that_is_not_there_is_refused(serving, place, said):
    with pytest.raises(ValueError, match=said), serving(watermark=place):
        pass
