"""Utterances of a WebSocket: text that arrives in pieces and is spoken, speech that is heard.

Shapes: `S` samples, `K` codebooks, `Q` frames of codes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import numpy as np
import torch

from ..core.audio import Waveform
from ..core.pcm import pcm
from ..lm.text.normalize import NothingToSay
from ..lm.text.sentences import split_sentences
from ..tasks.pipelines.options import GenerationOptions
from ..tasks.pipelines.speech_job import SpeechJob
from ..tasks.pipelines.text_to_speech import TextToSpeech
from .errors import ApiError
from .recognition import transcribe
from .speaking import Speaking
from .state import ServerState
from .uploads import too_long

Send = Callable[[bytes | dict[str, Any]], Awaitable[None]]  # binary frame, or JSON


class SpokenUtterance:
    """Text that is spoken while it arrives, sentence by sentence.

    The last sentence waits for the next one, or for the end: it may go on.
    """

    def __init__(
        self,
        state: ServerState,
        send: Send,
        *,
        voice: str | None,
        seed: int,
        adapter: str | None,
        options: GenerationOptions,
    ) -> None:
        self.state, self.send, self.options = state, send, options
        self.voice, self.seed, self.adapter = voice, seed, adapter
        self.ended = False
        self._tts = TextToSpeech(state.pipeline, options)
        self._job: SpeechJob | None = None
        self._rest, self._chars = "", 0  # text that waits, and the length of all text
        self._changed = asyncio.Event()

    async def add(self, text: str, *, end: bool = False) -> None:
        """Add text; the end of the utterance comes with the last one.

        Raises:
            ValueError: for a text that cannot be spoken.
        """
        self._chars += len(text)
        most = self.state.settings.max_text_chars
        if self._chars > most:
            message = f"text must have at most {most} characters, got {self._chars}"
            raise ApiError(400, message, param="text", code="string_above_max_length")
        ready, self._rest = self._rest + text, ""
        if not end:
            ready, self._rest = _settled(ready)
        try:
            if ready.strip() or (end and self._job is None):
                await self._take(ready)
        except NothingToSay:
            if end and self._job is None:
                raise
        self.ended = end
        self._changed.set()

    async def speak(self) -> int:
        """Send the audio of all pieces until the end of the utterance; return its samples."""
        done, samples = 0, 0
        while True:
            if self._job is not None and done < len(self._job.pieces):
                async with aclosing(self._waveforms(done)) as waveforms:
                    async for waveform in waveforms:
                        samples += len(waveform)
                        await self.send(pcm(waveform))
                done = len(self._job.parts)
            elif self.ended:
                return samples
            else:
                self._changed.clear()
                await self._changed.wait()

    async def _take(self, text: str) -> None:
        """Make pieces of text."""
        if self._job is None:
            self._job = await self.state.prepared(
                self._tts.job, text, voice=self.voice, seed=self.seed, adapter=self.adapter
            )
        else:
            self._job.pieces += await self.state.prepared(self._tts.split, text, self.voice)

    async def _waveforms(self, first: int) -> AsyncGenerator[Waveform]:
        assert self._job is not None
        speaking, watermark = Speaking(self.state, self._job, self.options), self.state.watermark
        async with aclosing(speaking.chunks(first)) as chunks:
            if watermark is None:
                async for chunk in chunks:
                    yield chunk
            else:  # which needs whole pieces
                whole = np.concatenate([chunk async for chunk in chunks])
                yield await asyncio.to_thread(watermark, whole, self.state.pipeline.sample_rate)


class HeardUtterance:
    """Audio of a microphone: its codes while it arrives, its text at the end."""

    def __init__(
        self,
        state: ServerState,
        send: Send,
        *,
        seed: int,
        adapter: str | None,
        options: GenerationOptions,
        codes: bool,
    ) -> None:
        self.state, self.send, self.options, self.codes = state, send, options, codes
        self.seed, self.adapter = seed, adapter
        self._encoder = state.pipeline.codec.stream_encoder(options.frames_per_query)
        self._audio, self._frames = bytearray(), 0

    async def push(self, data: bytes) -> None:
        """Take PCM, 16 bits, mono, at the rate of the model; send the codes of full windows.

        Raises:
            ApiError: for half a sample, or more audio than the server allows.
        """
        if len(data) % 2:
            raise ApiError(400, f"a frame of PCM must have whole samples, got {len(data)} bytes")
        settings, rate = self.state.settings, self.state.pipeline.sample_rate
        size = len(self._audio) + len(data)
        if size > min(settings.max_body_bytes, 2 * settings.max_audio_seconds * rate):
            most = min(settings.max_body_bytes / (2 * rate), settings.max_audio_seconds)
            raise too_long(most, "audio")
        self._audio += data
        if self.codes and data:
            samples = torch.from_numpy(_floats(data))
            await self._send_codes(await self.state.with_codec(self._encoder.push, samples))

    async def finish(self) -> None:
        """Send the last codes and the text.

        Raises:
            ApiError: if there is no audio.
        """
        if not self._audio:
            raise ApiError(400, "no audio was sent between listen and finish")
        if self.codes:
            await self._send_codes(await self.state.with_codec(self._encoder.finish))
        async with asyncio.timeout(self.state.settings.request_timeout):
            found = await transcribe(
                self.state, _floats(bytes(self._audio)), options=self.options, seed=self.seed,
                adapter=self.adapter,
            )  # fmt: skip
        await self.send(
            {
                "type": "text",
                "text": found.text,
                "duration": found.duration,
                "confidence": found.confidence,
            }
        )

    async def _send_codes(self, codes: torch.Tensor) -> None:
        """Send codes `[1, K, Q]`, if there are any."""
        if codes.shape[-1]:
            await self.send({"type": "codes", "start": self._frames, "codes": codes[0].tolist()})
            self._frames += codes.shape[-1]


def _settled(text: str) -> tuple[str, str]:
    """Cut a text before its last sentence, which may go on."""
    sentences = split_sentences(text)
    if len(sentences) < 2:
        return "", text
    cut = text.rindex(sentences[-1])
    return text[:cut], text[cut:]


def _floats(data: bytes) -> Waveform:
    """Samples `[S]` of 16-bit PCM."""
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)
