"""Small copies of public corpora: the columns, nesting, configurations and splits of the hub's.

What is left untested of a recipe is the download. Columns are from dataset cards and from code that
uses them.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from transformers import LlamaConfig, LlamaForCausalLM

from almtok.lm.text.tokenizer import train_tokenizer

Row = dict[str, Any]
WORDS = ("one two three", "four five", "six seven eight nine", "ten eleven twelve")


def audio(number: int, rate: int, kind: str = "FLAC", seconds: float = 0.8) -> Row:
    """An Audio value: encoded bytes and the name that they had."""
    rng = np.random.default_rng(number)
    t = np.arange(int(seconds * rate)) / rate
    wav = 0.2 * np.sin(2 * np.pi * (150 + 20 * number) * t) + 0.02 * rng.standard_normal(len(t))
    file = io.BytesIO()
    soundfile.write(file, wav, rate, format=kind)
    return {"bytes": file.getvalue(), "path": f"{number}.{kind.lower()}"}


def save_text_model(folder: Path) -> Path:
    """Save a small text model without a pad token, as LLaMA 3.2 is one."""
    tokenizer = train_tokenizer(["one two three"], vocab_size=300)
    tokenizer.pad_token = None
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def text(number: int) -> str:
    return WORDS[number % len(WORDS)]


def ljspeech(n: int) -> Row:
    return {
        "id": f"LJ001-{n:04d}", "audio": audio(n, 22_050, "WAV"), "file": f"LJ001-{n:04d}.wav",
        "text": text(n).upper(), "normalized_text": text(n),
    }  # fmt: skip


def libritts(n: int) -> Row:
    return {
        "audio": audio(n, 24_000, "WAV"), "text_normalized": text(n),
        "text_original": f"{text(n)}!",
        "speaker_id": str(100 + n % 2), "path": f"/x/{n}.wav", "chapter_id": "7", "id": f"{n}_7",
    }  # fmt: skip


def librispeech(n: int) -> Row:
    return {
        "file": f"{n}.flac", "audio": audio(n, 16_000), "text": text(n).upper(),
        "speaker_id": 100 + n % 2, "chapter_id": 7, "id": f"{n}-7-0000",
    }  # fmt: skip


def mls_english(n: int) -> Row:
    return {
        "audio": audio(n, 16_000), "original_path": f"http://x/{n}.mp3", "begin_time": 0.5,
        "end_time": 1.3, "transcript": text(n), "audio_duration": 0.8, "speaker_id": str(n % 2),
        "book_id": "9",
    }  # fmt: skip


def commonvoice(n: int) -> Row:
    return {
        "client_id": f"c{n % 2}", "path": f"{n}.mp3", "audio": audio(n, 48_000, "MP3"),
        "sentence": text(n), "up_votes": 2, "down_votes": 0, "age": "", "gender": "",
        "accent": "", "locale": "en", "segment": "",
    }  # fmt: skip


def vctk(n: int) -> Row:
    return {
        "speaker_id": f"p{n % 2}", "audio": audio(n, 48_000), "file": f"p{n}_mic1.flac",
        "text": text(n), "text_id": f"{n:03d}", "age": "23", "gender": "F", "accent": "English",
        "region": "", "comment": "",
    }  # fmt: skip


def audioset(n: int) -> Row:
    return {
        "video_id": f"v{n}", "audio": audio(n, 48_000), "labels": ["/m/1", "/m/2"],
        "human_labels": ["Speech", f"Engine {n}"],
    }  # fmt: skip


def audiocaps(n: int) -> Row:
    return {
        "audiocap_id": n, "youtube_id": f"y{n}", "start_time": 30, "caption": f"a {text(n)} sound",
        "audio": audio(n, 48_000, "WAV"),
    }  # fmt: skip


def clotho(n: int) -> Row:
    return {
        "index": str(n), "datasetname": "Clotho", "audio": audio(n, 44_100, "WAV"),
        "audio_len": 0.8, "text": f"{text(n)}. {text(n + 1)}", "raw_text": [],
    }  # fmt: skip


def esc50(n: int) -> Row:
    return {
        "filename": f"1-{n}-A-0.wav", "fold": 1 + n % 5, "target": n % 50, "category": "sea_waves",
        "esc10": False, "src_file": n, "take": "A", "audio": audio(n, 44_100, "WAV"),
    }  # fmt: skip


def musiccaps(n: int) -> Row:
    return {
        "audio": audio(n, 44_100, "WAV"), "youtube_id": f"y{n}", "start_time": 0, "end_time": 10,
        "aspect_list": "['slow', 'sad']", "caption": f"a {text(n)} tune",
    }  # fmt: skip


def fma(n: int) -> Row:
    return {
        "audio": audio(n, 44_100, "MP3"), "title": f"song {n}", "url": "http://x", "artist": "a",
        "composer": "", "lyricist": "", "publisher": "", "genres": [1, 2],
    }  # fmt: skip


# The splits of each dataset on the hub, by configuration (None: it has only one).
LAYOUTS: dict[str, tuple[Callable[[int], Row], dict[str | None, tuple[str, ...]]]] = {
    "MikhailT/lj-speech": (ljspeech, {None: ("full",)}),
    "mythicinfinity/libritts": (
        libritts, {"clean": ("dev.clean", "test.clean", "train.clean.100", "train.clean.360")}
    ),
    "openslr/librispeech_asr": (
        librispeech,
        {"clean": ("train.100", "train.360", "validation", "test"),
         "other": ("train.500", "validation", "test")},
    ),
    "fixie-ai/common_voice_17_0": (commonvoice, {"en": ("train", "validation", "test")}),
    "parler-tts/mls_eng": (mls_english, {None: ("train", "dev", "test")}),
    "sanchit-gandhi/vctk": (vctk, {None: ("train",)}),
    "agkphysics/AudioSet": (
        audioset, {"balanced": ("train", "test"), "unbalanced": ("train", "test")}
    ),
    "OpenSound/AudioCaps": (audiocaps, {None: ("train", "validation", "test")}),
    "CLAPv2/Clotho": (clotho, {None: ("train", "validation", "test")}),
    "ashraq/esc50": (esc50, {None: ("train",)}),
    "mahendra0203/musiccaps_processed_full": (musiccaps, {None: ("train",)}),
    "benjamin-paine/free-music-archive-large": (fma, {None: ("train",)}),
}  # fmt: skip


def write_dataset(name: str, folder: Path) -> Path:
    """Write a small copy of a hub dataset: Parquet by configuration and split, and its card."""
    import datasets

    make, configs = LAYOUTS[name]
    rows = 100 if configs == {None: ("train",)} else 20  # recipes divide those by percents
    home = folder / name
    lines = ["---", "configs:"]
    first = 0
    for config, splits in configs.items():
        lines += [f"- config_name: {config or 'default'}", "  data_files:"]
        for split in splits:
            values = [make(first + n) for n in range(rows)]
            first += rows
            table = {key: [value[key] for value in values] for key in values[0]}
            data = datasets.Dataset.from_dict(table).cast_column(
                "audio", datasets.Audio(decode=False)
            )
            path = home / (config or "data") / split / "0000.parquet"
            path.parent.mkdir(parents=True)
            data.to_parquet(str(path))
            lines += [f"  - split: {split}", f"    path: {path.relative_to(home)}"]
    (home / "README.md").write_text("\n".join([*lines, "---", ""]))
    return home


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small copy of every dataset, at the path that its id is."""
    folder = tmp_path_factory.mktemp("hub")
    for name in LAYOUTS:
        write_dataset(name, folder)
    return folder


@pytest.fixture
def at_the_hub(
    hub: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Ids of the hub are folders here, and nothing of it is kept."""
    import datasets

    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.chdir(hub)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(cache))  # of processes
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
