"""Audio of requests: read in memory, never from a place that the request names.

Shapes: `S` samples.
"""

from __future__ import annotations

from fastapi import UploadFile

from ..core.audio import AudioError, Waveform, max_samples, read_audio
from .errors import ApiError
from .state import ServerState

# Decoded samples for each second of the longest audio: files of higher rates are refused earlier.
_HIGHEST_RATE = 192_000


async def read_upload(state: ServerState, file: UploadFile, name: str = "file") -> Waveform:
    """Decode an uploaded audio file to samples `[S]` at the rate of the model.

    Args:
        state: of the server.
        file: of the form.
        name: its field in the form.

    Raises:
        ApiError: 400 for a file that is empty, damaged or not audio; 413 for audio that is longer
            than `max_audio_seconds` of the settings.
    """
    data = await file.read()
    most = state.settings.max_audio_seconds
    try:
        return await state.with_codec(_decode, data, state.pipeline.sample_rate, most)
    except AudioError as error:
        if error.reason == "too_long":
            raise too_long(most, name) from error
        raise ApiError(
            400, f"{name} is not audio that can be used: {error.detail}", param=name,
            code="invalid_audio",
        ) from error  # fmt: skip


def too_long(most: float, name: str = "file") -> ApiError:
    """The error of audio of more than `most` seconds."""
    return ApiError(413, f"{name} must be at most {most:g} s long", param=name, code="too_long")


def _decode(data: bytes, rate: int, most: float) -> Waveform:
    with max_samples(int(most * _HIGHEST_RATE)):
        # A second more than allowed, so that one that is too long is told from one that is not.
        wav = read_audio(data, rate, seconds=most + 1)
    if len(wav) > most * rate:
        raise AudioError("too_long", f"more than {most:g} s")
    return wav
