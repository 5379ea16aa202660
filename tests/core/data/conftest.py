"""Small audio for the tests of this folder; 8 kHz keeps them fast."""

import io
import json

import numpy as np
import pytest
import soundfile

from almtok.core.data import DataConfig

RATE = 8000


def noise(seconds, seed=0, level=0.1, rate=RATE):
    return np.random.default_rng(seed).normal(0, level, round(seconds * rate)).astype(np.float32)


def encoded(wav, rate=RATE, container="FLAC"):
    buffer = io.BytesIO()
    soundfile.write(buffer, wav, rate, format=container)
    return buffer.getvalue()


class Maker:
    """Writes sources of every kind."""

    noise = staticmethod(noise)
    encoded = staticmethod(encoded)

    def folder(self, path, lengths, level=0.1):
        """Clips of the given lengths in seconds: 00.flac, 01.flac, ..."""
        path.mkdir(parents=True, exist_ok=True)
        for number, seconds in enumerate(lengths):
            wav = noise(seconds, number, level)
            soundfile.write(path / f"{number:02d}.flac", wav, RATE)
        return path

    def manifest(self, path, rows):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return path

    def parquet(self, path, count=3, first=0, row_group_size=2, **columns):
        import pyarrow
        import pyarrow.parquet

        audio = [
            {"bytes": encoded(noise(0.5 + 0.1 * n, n)), "path": f"{n}.flac"}
            for n in range(first, first + count)
        ]
        table = {"id": [f"p{n}" for n in range(first, first + count)], "audio": audio, **columns}
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.table(table), path, row_group_size=row_group_size)
        return path


@pytest.fixture
def make():
    return Maker()


@pytest.fixture
def config():
    return DataConfig(sample_rate=RATE, segment_seconds=0.5)
