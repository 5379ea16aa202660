"""WebSocket `/v1/audio/stream`: speech while its text arrives, codes and text of a microphone.

Messages are JSON objects with a `type`; audio is binary: PCM of 16 bits, mono, little-endian, at
the rate of the model. Both directions are described in docs/serving_routes.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ...tasks.pipelines.options import GenerationOptions
from ..errors import ApiError, to_api_error
from ..formats import SYNTHETIC_HEADERS
from ..state import ServerState, State
from ..utterance import HeardUtterance, SpokenUtterance
from .models import DEFAULT_VOICE, voice_names
from .speech import voice_of

router = APIRouter(tags=["stream"])
_TICK_SECONDS = 0.25  # between looks at the clock and at a server that stops
_MAX_FRAME_BYTES = 1 << 20
_TOO_BIG, _GOING_AWAY = 1009, 1001  # close codes


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Speak(_Message):
    """Text to speak; of one utterance the first message chooses voice, seed and adapter."""

    type: Literal["speak"]
    text: str
    voice: str = DEFAULT_VOICE
    seed: int = Field(0, ge=0, lt=2**31)
    guidance_scale: float | None = Field(None, ge=0, le=20)
    adapter: str | None = None
    flush: bool = False


class Flush(_Message):
    """Speak what is left: the text of the utterance is complete."""

    type: Literal["flush"]


class Cancel(_Message):
    """End the speech at once."""

    type: Literal["cancel"]


class Listen(_Message):
    """Audio of a microphone follows."""

    type: Literal["listen"]
    codes: bool = True
    language: str | None = None
    frames_per_query: int | None = Field(None, ge=1, le=10_000)
    seed: int = Field(0, ge=0, lt=2**31)
    adapter: str | None = None


class Finish(_Message):
    """The audio of the microphone is complete."""

    type: Literal["finish"]


_MESSAGES: TypeAdapter[Speak | Flush | Cancel | Listen | Finish] = TypeAdapter(
    Annotated[Speak | Flush | Cancel | Listen | Finish, Field(discriminator="type")]
)


@router.websocket("/v1/audio/stream")
async def stream(websocket: WebSocket, state: State) -> None:
    """Speak and listen until the client leaves."""
    _check_origin(websocket, state)
    headers = [(key.lower().encode(), value.encode()) for key, value in SYNTHETIC_HEADERS.items()]
    await websocket.accept(headers=headers)
    await Session(websocket, state).run()


class Session:
    """One connection: at most one utterance is spoken, and one is heard, at a time."""

    def __init__(self, websocket: WebSocket, state: ServerState) -> None:
        self.websocket, self.state = websocket, state
        self._spoken: SpokenUtterance | None = None
        self._heard: HeardUtterance | None = None
        self._speaking: asyncio.Task[None] | None = None
        self._hearing: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Handle messages until the client leaves, is silent for too long, or the server stops."""
        try:
            await self.send(
                {
                    "type": "ready",
                    "sample_rate": self.state.pipeline.sample_rate,
                    "voices": voice_names(self.state),
                }
            )
            await self._receive()
        except WebSocketDisconnect:
            pass
        finally:
            tasks = [task for task in (self._speaking, self._hearing) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def send(self, content: bytes | dict[str, Any]) -> None:
        """Send a frame: audio, or JSON."""
        if isinstance(content, bytes):
            await self.websocket.send_bytes(content)
        else:
            await self.websocket.send_json(content)

    async def _receive(self) -> None:
        heard = time.monotonic()
        receiving = asyncio.ensure_future(self.websocket.receive())
        try:
            while True:
                await asyncio.wait({receiving}, timeout=_TICK_SECONDS)
                if receiving.done():
                    message, heard = receiving.result(), time.monotonic()
                    if message["type"] == "websocket.disconnect":
                        return
                    receiving = asyncio.ensure_future(self.websocket.receive())
                    if not await self._handle(message):
                        return
                elif self._busy:
                    heard = time.monotonic()
                elif self.state.draining:
                    await self.websocket.close(_GOING_AWAY, "the server stops")
                    return
                elif time.monotonic() - heard > self.state.settings.request_timeout:
                    await self.websocket.close(_GOING_AWAY, "no message came for too long")
                    return
        finally:
            receiving.cancel()

    @property
    def _busy(self) -> bool:
        return any(t is not None and not t.done() for t in (self._speaking, self._hearing))

    async def _handle(self, message: Mapping[str, Any]) -> bool:
        """Handle one frame; return whether the connection goes on."""
        data = message.get("bytes")
        text = message.get("text")
        size = len(data if data is not None else text or "")
        if size > _MAX_FRAME_BYTES:
            await self._error(
                ApiError(413, f"a frame must be at most {_MAX_FRAME_BYTES} bytes, got {size}")
            )
            await self.websocket.close(_TOO_BIG)
            return False
        try:
            if data is not None:
                await self._audio(data)
            else:
                await self._command(_parse(text or ""))
        except WebSocketDisconnect:
            raise
        except Exception as error:
            await self._error(error)
        return True

    async def _command(self, message: Speak | Flush | Cancel | Listen | Finish) -> None:
        if isinstance(message, Speak):
            await self._speak(message)
        elif isinstance(message, Flush):
            await self._add("", end=True)
        elif isinstance(message, Cancel):
            await self._cancel()
            await self.send({"type": "cancelled"})
        elif isinstance(message, Listen):
            self._listen(message)
        else:
            self._finish()

    # ------------------------------------------------------------------ speaking

    async def _speak(self, message: Speak) -> None:
        if self._spoken is not None and self._spoken.ended:
            raise ApiError(409, "the last utterance is not done: wait for done, or send cancel")
        if self._spoken is None:
            state = self.state
            state.check_task("tts")
            state.check_adapter(message.adapter)
            self._spoken = SpokenUtterance(
                state, self.send, voice=voice_of(state, message.voice), seed=message.seed,
                adapter=message.adapter,
                options=GenerationOptions(guidance_scale=message.guidance_scale),
            )  # fmt: skip
            self._speaking = asyncio.create_task(self._told(partial(self._say, self._spoken)))
        await self._add(message.text, end=message.flush)

    async def _add(self, text: str, *, end: bool) -> None:
        if self._spoken is None:
            raise ApiError(400, "nothing is to be spoken: send speak before flush")
        try:
            await self._spoken.add(text, end=end)
        except Exception:
            await self._cancel()
            raise

    async def _say(self, utterance: SpokenUtterance) -> None:
        try:
            samples = await utterance.speak()
        finally:
            self._spoken = None
        seconds = samples / self.state.pipeline.sample_rate
        await self.send({"type": "done", "samples": samples, "seconds": seconds})

    async def _cancel(self) -> None:
        if self._speaking is not None:
            self._speaking.cancel()
            await asyncio.gather(self._speaking, return_exceptions=True)
        self._spoken = self._speaking = None

    # ------------------------------------------------------------------ listening

    def _listen(self, message: Listen) -> None:
        if self._heard is not None:
            raise ApiError(409, "the server listens already: send finish first")
        state = self.state
        state.check_task("asr")
        state.check_adapter(message.adapter)
        state.pipeline.text_encoder.check_language(message.language)
        self._heard = HeardUtterance(
            state, self.send, seed=message.seed, adapter=message.adapter, codes=message.codes,
            options=GenerationOptions(
                language=message.language or None, frames_per_query=message.frames_per_query
            ),
        )  # fmt: skip

    async def _audio(self, data: bytes) -> None:
        if self._heard is None:
            raise ApiError(400, "audio came without listen")
        try:
            await self._heard.push(data)
        except Exception:
            self._heard = None
            raise

    def _finish(self) -> None:
        if self._heard is None:
            raise ApiError(400, "the server does not listen: send listen before finish")
        if self._hearing is not None and not self._hearing.done():
            raise ApiError(409, "the last recording has no text yet: wait for it")
        utterance, self._heard = self._heard, None
        self._hearing = asyncio.create_task(self._told(utterance.finish))

    # ------------------------------------------------------------------ errors

    async def _told(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do work whose errors the client is told."""
        with contextlib.suppress(WebSocketDisconnect):
            try:
                await work()
            except WebSocketDisconnect:
                raise
            except Exception as error:
                await self._error(error)

    async def _error(self, error: Exception) -> None:
        await self.send({"type": "error", **to_api_error(error).content})


def _parse(text: str) -> Speak | Flush | Cancel | Listen | Finish:
    try:
        return _MESSAGES.validate_json(text)
    except ValidationError as error:
        # A place begins with the type of the message.
        problems = [{**problem, "loc": problem["loc"][1:]} for problem in error.errors()]
        raise RequestValidationError(problems) from error


def _check_origin(websocket: WebSocket, state: ServerState) -> None:
    """Refuse pages of other sites, which a browser lets connect: without a key they are strangers.

    Raises:
        ApiError: 403 for the page of another host.
    """
    origin = websocket.headers.get("origin")
    if state.settings.api_key is not None or origin is None:
        return
    if urlsplit(origin).netloc != websocket.headers.get("host"):
        raise ApiError(403, "pages of other sites may not use a server without a key")
