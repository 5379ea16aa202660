"""Small corpora of real audio files, a toy codec, and folders of tokens made by it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from almtok.codec.config import ALMTokenizerConfig
from almtok.codec.model import ALMTokenizer
from almtok.core.data.entries import AudioEntry
from almtok.lm.data import TokenizeConfig
from almtok.lm.data.shards import EncodedClip, ShardInfo, write_shard

RATE = 24_000


def noise(seconds: float, seed: int = 0, level: float = 0.1, rate: int = RATE) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, level, round(seconds * rate)).astype(np.float32)


class Maker:
    """Writes corpora and shards."""

    noise = staticmethod(noise)

    def wav(self, path: Path, seconds: float = 0.5, seed: int = 0, rate: int = RATE) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise(seconds, seed, rate=rate), rate)
        return path

    def corpus(self, folder: Path, count: int = 10) -> Path:
        """A folder with a manifest: speech of two speakers and two splits, of many lengths."""
        rows = []
        for n in range(count):
            self.wav(folder / f"{n:02d}.wav", 0.3 + 0.17 * (n * 7 % count), n)
            rows.append(
                dict(
                    audio=f"{n:02d}.wav", id=f"r{n:02d}", text=f"words of row {n}",
                    speaker=f"s{n % 2}", language="en", domain="speech",
                    split="dev" if n % 5 == 4 else "train",
                )
            )  # fmt: skip
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "manifest.jsonl").write_text(lines, encoding="utf-8")
        return folder

    def shards(
        self,
        folder: Path,
        rows: list[dict[str, Any]],
        per_shard: int = 4,
        fingerprint: str = "aaaa",
        size: int = 16,
        books: int = 3,
        w: int = 6,
        loudness: float | None = None,
    ) -> Path:
        """Shards of random codes, without a codec; a row may say frames and any label."""
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(len(rows))
        for number, first in enumerate(range(0, len(rows), per_shard)):
            encoded = []
            for place, row in enumerate(rows[first : first + per_shard], start=first):
                labels = {"domain": "speech", "id": f"r{place}", **row}
                frames = labels.pop("frames", 5)
                codes = labels.pop("codes", rng.integers(size, size=(books, frames)))
                split = labels.pop("split", "train")
                samples = labels.pop("samples", frames * w * 320)
                entry = AudioEntry(path="", split=split, **labels)
                encoded.append(EncodedClip(place, entry, samples, codes.astype(np.uint16)))
            info = ShardInfo(
                plan="p", number=number, first=first, last=first + len(encoded),
                fingerprint=fingerprint, sample_rate=RATE, num_codebooks=books, codebook_size=size,
                loudness_dbfs=loudness,
            )  # fmt: skip
            write_shard(folder, info, encoded, w)
        return folder


@pytest.fixture(scope="session")
def make() -> Maker:
    return Maker()


@pytest.fixture(scope="session")
def codec() -> ALMTokenizer:
    """An untrained codec whose codes differ from sound to sound."""
    torch.manual_seed(0)
    config = ALMTokenizerConfig.preset(
        "tiny", conv_channels=[1, 8, 16, 16, 24], hidden_size=32, encoder_layers=2,
        decoder_layers=1, num_attention_heads=2, attention_window=48, codebook_size=16,
        codebook_dim=8, prior_dim=12, patch_transformer_layers=1, layer_scale=0.5,
    )  # fmt: skip
    codec = ALMTokenizer(config)
    with torch.no_grad():
        codec.encoder.output.weight.mul_(4)
        wav = torch.from_numpy(np.stack([noise(6.0, seed, 0.1) for seed in range(4)]))[:, None]
        queries = codec.encoder(codec.patchify(wav), 6)
        codec.quantizer.initialize(queries.reshape(-1, config.hidden_size))
    return codec.eval()


@pytest.fixture(scope="session")
def checkpoint(codec: ALMTokenizer, tmp_path_factory: Any) -> Path:
    folder: Path = tmp_path_factory.mktemp("codec")
    codec.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def config() -> TokenizeConfig:
    """Small shards, batches and buffers, so that a small corpus has several of each."""
    return TokenizeConfig(rows_per_shard=3, batch_seconds=1.5, buffer_seconds=2.0)


@pytest.fixture(scope="session")
def corpus(make: Maker, tmp_path_factory: Any) -> Path:
    return make.corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def tokens(
    corpus: Path, codec: ALMTokenizer, config: TokenizeConfig, tmp_path_factory: Any
) -> Path:
    """The corpus, tokenized without interruption by one process."""
    from almtok.lm.data import tokenize_corpus

    folder: Path = tmp_path_factory.mktemp("tokens")
    tokenize_corpus([corpus], codec, folder, config, progress=False)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every shard's bytes."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.parquet"))}


def replaced(config: TokenizeConfig, **values: Any) -> TokenizeConfig:
    return dataclasses.replace(config, **values)
