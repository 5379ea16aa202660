"""The study of a voice: every recording is held out once, and what is done is not done again."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from almtok.codec.checkpoints import shipped
from almtok.codec.model import ALMTokenizer
from almtok.lm.config import AudioLMConfig
from almtok.lm.model import AudioLM
from almtok.lm.processor import AudioLMProcessor
from almtok.lm.text.tokenizer import train_tokenizer
from almtok.recipes.lora_voice import study

CLIP = Path(__file__).parents[1] / "codec/fixtures/kathleen_a0119.flac"


@pytest.fixture
def base(tmp_path):
    """An untrained language model with the codec that comes with almtok."""
    torch.manual_seed(0)
    codec = ALMTokenizer.from_pretrained(str(shipped() / "codec"))
    config = AudioLMConfig.preset(
        "tiny", codebook_size=2048, codec_fingerprint=codec.fingerprint, loudness_dbfs=-20.0
    )
    tokenizer = train_tokenizer(["one two three"] * 4, vocab_size=300)
    place = tmp_path / "base/model"
    AudioLM(config).save_pretrained(place)
    AudioLMProcessor(tokenizer, config, codec).save_pretrained(place)
    return place.parent


@pytest.mark.slow
def test_a_voice_is_learned_from_the_other_recordings(base, tmp_path, monkeypatch, capsys):
    rows = []
    for name, text in (("a", "one two"), ("b", "three two")):
        shutil.copy(CLIP, tmp_path / f"{name}.flac")
        rows.append({"id": name, "audio": f"{name}.flac", "text": text, "speaker": "she"})
    (tmp_path / "clips.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = ["--base", str(base), "--voice", f"speech={tmp_path / 'clips.jsonl'}", "--text", "one",
             "--out", str(tmp_path / "out"), "--steps", "5"]  # fmt: skip
    study.main(given)
    facts = json.loads((tmp_path / "out/she/a/fold.json").read_text())
    # The other recording is the same one here, so that it must be learned.
    assert all(
        after < before for before, after in zip(facts["before"], facts["after"], strict=True)
    )
    assert 150 < facts["pitch"] < 250
    row = (tmp_path / "out/table.md").read_text().splitlines()[-1]
    assert row.startswith("| she | 2 |")

    def never(*_):
        raise AssertionError("what is done is not done again")

    monkeypatch.setattr(study, "train_lm", never)
    study.main(given)
