"""VLLMClient against a server of the interface of vLLM that runs transformers' generate.

A real vLLM was run by hand (docs/serving_engines.md): it is no dependency of the tests.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from transformers import AutoModelForCausalLM

from almtok.codec.tokens import AudioTokens
from almtok.lm.config import AudioLMConfig
from almtok.lm.export import PlainIds, export_plain
from almtok.lm.model import AudioLM
from almtok.lm.processor import AudioLMProcessor
from almtok.lm.prompt_builder import PromptOptions
from almtok.lm.sequences import build_sequence, collate
from almtok.lm.text.tokenizer import train_tokenizer

from ..codec.toy import noise, toy_codec

pytest.importorskip("fastapi")
from almtok.serve.vllm_client import VLLMClient  # noqa: E402

TEXT = "the cat sat on the mat"


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A folder with a flat model that knows one utterance by heart, and its tokens."""
    codec = toy_codec()
    config = AudioLMConfig(
        backbone=dict(
            model_type="llama", vocab_size=320, hidden_size=64, intermediate_size=128,
            num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            max_position_embeddings=512, eos_token_id=2,
        ),
        pattern="flat", codebook_size=codec.codebook_size, num_codebooks=3,
        codec_fingerprint=codec.fingerprint,
    )  # fmt: skip
    processor = AudioLMProcessor(train_tokenizer([TEXT] * 8, vocab_size=320), config, codec)
    torch.manual_seed(0)
    lm = AudioLM(config)
    tokens = codec.tokenize(0.5 * noise(1, 15_360)[0, 0])
    example = processor.prompt_builder.example
    examples = [
        example("tts", {"text": TEXT}, tokens, PromptOptions()),
        example("asr", {"audio": tokens}, TEXT, PromptOptions()),
    ]
    eos = processor.text_encoder.eos_id
    batch = collate([build_sequence(one, config, eos_id=eos) for one in examples], config)
    optimizer = torch.optim.Adam(lm.parameters(), lr=5e-3)
    lm.train()
    for _ in range(80):
        loss = lm(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    folder = tmp_path_factory.mktemp("flat")
    lm.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    export_plain(folder / "model", folder / "plain")
    return folder, tokens


class Engine:
    """The part of vLLM's HTTP interface that the client uses, with the exported model."""

    def __init__(self, folder):
        self.model = AutoModelForCausalLM.from_pretrained(folder)
        self.requests: list[dict] = []
        self.change = lambda ids: ids
        engine = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def _send(self, status, body):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                self._send(200, {"data": [{"id": "plain"}]})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                engine.requests.append(body)
                if body["model"] != "plain":
                    return self._send(404, {"error": {"message": "no such model"}})
                self._send(200, {"choices": [engine.complete(body)]})

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def complete(self, body):
        prompt = torch.tensor([body["prompt"]])
        out = self.model.generate(prompt, max_new_tokens=body["max_tokens"], do_sample=False)
        ids = out[0, prompt.shape[1] :].tolist()
        ends = self.model.generation_config.eos_token_id
        reason = "stop" if ids[-1] in ends else "length"
        return {"token_ids": self.change(ids), "finish_reason": reason}


@pytest.fixture(scope="module")
def engine(known):
    engine = Engine(known[0] / "plain")
    yield engine
    engine.server.shutdown()
    engine.server.server_close()


@pytest.fixture
def client(engine, known):
    engine.change = lambda ids: ids
    return VLLMClient(engine.url, known[0] / "model")


def test_speech_is_the_codes_that_were_learned(client, known, engine):
    made = client.generate("tts", text=TEXT, temperature=0.0, seed=3)
    assert isinstance(made, AudioTokens) and torch.equal(made.codes, known[1].codes)
    wav = client.processor.audio_tokenizer.detokenize(made)
    assert torch.equal(wav, client.processor.audio_tokenizer.detokenize(known[1]))
    body = engine.requests[-1]
    assert body["seed"] == 3 and body["return_token_ids"] and body["model"] == "plain"


def test_speech_is_recognized(client, known):
    assert client.generate("asr", audio=known[1], temperature=0.0) == TEXT


def test_an_unfinished_frame_is_left_out_and_told(client, known, caplog):
    made = client.generate("tts", text=TEXT, max_tokens=7)
    assert torch.equal(made.codes, known[1].codes[:, :2])
    assert "did not end within 7 tokens" in caplog.text


def test_ids_out_of_turn_are_refused(client, engine):
    engine.change = lambda ids: [ids[1], *ids[1:]]
    with pytest.raises(ValueError, match="generated id 0 must be a code of codebook 1"):
        client.generate("tts", text=TEXT)
    engine.change = lambda ids: ids[-1:]
    with pytest.raises(ValueError, match="no frame of codes"):
        client.generate("tts", text=TEXT)


def test_codes_in_a_text_are_refused(client, engine, known):
    first = PlainIds(client.processor.config).first(1)
    engine.change = lambda ids: [first, *ids]
    with pytest.raises(ValueError, match=f"ids must be of the text, got {first}"):
        client.generate("asr", audio=known[1])


def test_errors_of_the_server_are_told(client, engine, known):
    client.model = "other"
    with pytest.raises(RuntimeError, match="answers 404.*no such model"):
        client.generate("tts", text=TEXT)
    client.model, engine.change = "plain", lambda ids: None
    with pytest.raises(RuntimeError, match="does not return token_ids"):
        client.generate("tts", text=TEXT)
    with pytest.raises(RuntimeError, match="does not answer"):
        VLLMClient("http://127.0.0.1:9", known[0] / "model")


def test_audio_has_the_rate_of_the_tokens_of_its_prompt(client, engine, known):
    three = client.processor.audio_input.from_codes(known[1].codes[:, :3], 3)
    engine.change = lambda ids: [client.ids.first(1 + k) for k in range(3)]
    made = client.generate("continuation", audio=three, max_tokens=3)
    assert made.frames_per_query == 3
