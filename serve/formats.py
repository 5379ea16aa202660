"""Audio files as bytes, in the formats of OpenAI, marked as synthetic.

Shapes: `S` samples.
"""

from __future__ import annotations

import asyncio
import io
import shutil
import subprocess

import numpy as np
import soundfile

from .. import __version__
from ..core.audio import Waveform
from ..core.pcm import pcm, wav_header
from .errors import ApiError
from .state import ServerState

MEDIA_TYPES = {
    "mp3": "audio/mpeg", "opus": "audio/ogg", "aac": "audio/aac", "flac": "audio/flac",
    "wav": "audio/wav", "pcm": "audio/pcm",
}  # fmt: skip
STREAMED = ("wav", "pcm")  # can be sent while they are made
COMMENT = f"synthetic audio, made by almtok {__version__}"
SYNTHETIC_HEADERS = {"X-Synthetic-Audio": f"almtok/{__version__}"}
_CONTAINERS = {
    "mp3": ("MP3", "MPEG_LAYER_III"), "opus": ("OGG", "OPUS"), "flac": ("FLAC", "PCM_16"),
}  # fmt: skip
# libsndfile 1.2 overflows its stack if a long signal is written in one call to a lossy format.
_WRITE_SAMPLES = 4096


def check_format(name: str) -> None:
    """Check that a format can be written.

    Raises:
        ApiError: 400 for another name, or aac without ffmpeg.
    """
    if name not in MEDIA_TYPES:
        message = f"response_format must be one of {', '.join(MEDIA_TYPES)}, got {name!r}"
        raise ApiError(400, message, param="response_format")
    if name == "aac" and shutil.which("ffmpeg") is None:
        message = "response_format aac needs ffmpeg, which this server does not have"
        raise ApiError(400, message, param="response_format")


async def encode_audio(state: ServerState, waveform: Waveform, name: str) -> bytes:
    """Make the bytes of an audio file in another thread, with the server's watermark.

    Args:
        state: of the server.
        waveform: `[S]`, float32, at the rate of the model.
        name: a format that :func:`check_format` accepts.
    """
    return await asyncio.to_thread(_encode, state, waveform, name)


def _encode(state: ServerState, waveform: Waveform, name: str) -> bytes:
    rate = state.pipeline.sample_rate
    if state.watermark is not None:
        waveform = state.watermark(waveform, rate)
    if name == "pcm":
        return pcm(waveform)
    if name == "wav":
        return wav_header(rate, len(waveform), COMMENT) + pcm(waveform)
    if name == "aac":
        return _aac(waveform, rate)
    return _soundfile(waveform, rate, *_CONTAINERS[name])


def _soundfile(waveform: Waveform, rate: int, container: str, subtype: str) -> bytes:
    data = io.BytesIO()
    with soundfile.SoundFile(data, "w", rate, 1, subtype=subtype, format=container) as file:
        file.comment = COMMENT
        for first in range(0, len(waveform), _WRITE_SAMPLES):
            file.write(np.clip(waveform[first : first + _WRITE_SAMPLES], -1.0, 1.0))
    return data.getvalue()


def _aac(waveform: Waveform, rate: int) -> bytes:
    """AAC in ADTS, by ffmpeg; the comment is in an ID3 tag before it."""
    command = (
        f"ffmpeg -v error -f s16le -ar {rate} -ac 1 -i pipe:0 -c:a aac -f adts -write_id3v2 1"
    ).split()
    done = subprocess.run(
        [*command, "-metadata", f"comment={COMMENT}", "pipe:1"],
        input=pcm(waveform), capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"ffmpeg failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout
