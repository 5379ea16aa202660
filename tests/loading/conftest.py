"""A toy checkpoint, and copies of it to damage."""

import shutil
from pathlib import Path

import pytest

from almtok.lm.model import AudioLM
from almtok.lm.processor import AudioLMProcessor
from almtok.lm.text.tokenizer import tokenizer_fingerprint, train_tokenizer
from almtok.tasks import AudioLMPipeline

from ..codec.toy import toy_codec
from ..lm.toy import toy_config


@pytest.fixture(scope="session")
def saved(tmp_path_factory) -> Path:
    """A folder with `lm/` and `codec/`."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    codec = toy_codec()
    tokenizer = train_tokenizer(["the cat sat on the mat", "dogs ran"], vocab_size=300)
    backbone = {**toy_config().to_dict()["backbone"], "vocab_size": len(tokenizer)}
    config = toy_config(
        backbone=backbone,
        codebook_size=64,
        codec_fingerprint=codec.fingerprint,
        tokenizer_fingerprint=tokenizer_fingerprint(tokenizer),
    )
    pipeline = AudioLMPipeline(AudioLM(config), AudioLMProcessor(tokenizer, config, codec))
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(saved, tmp_path / "model"))
