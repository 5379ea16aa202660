"""A request to generate one row, and the job that a scheduler makes of it.

Shapes: `V` views of a recording (1 without beam search), `L` rows of a prompt, `K` codebooks, `Q`
frames of codes, `S` samples.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from ..lm.generation.output import GeneratedRow
from ..lm.generation.prompt_batch import PromptBatch
from ..lm.generation.settings import GenerationSettings

CHUNK_FRAMES = 4


class QueueFull(Exception):
    """Too many requests wait; `retry_after` is an estimate of the seconds until there is room."""

    def __init__(self, waiting: int, retry_after: float):
        super().__init__(f"{waiting} requests wait already: try again in {retry_after:.0f} s")
        self.retry_after = retry_after


class JobCancelled(Exception):
    """The job was cancelled, by its owner or because the scheduler stopped."""


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """One row to generate.

    Example:
        >>> arguments = pipeline.prompt("tts", [{"text": "hello"}])  # doctest: +SKIP
        >>> GenerationRequest.of(arguments, seed=3)  # doctest: +SKIP
    """

    input_ids: Tensor  # [V, L, 1+K]
    settings: GenerationSettings  # for one row
    attention_mask: Tensor | None = None  # [V, L], 0 at padding
    chunk_frames: int = CHUNK_FRAMES  # most frames of a chunk of audio; the first chunk has one

    @property
    def options(self) -> dict[str, Any]:
        """The settings as options of `AudioLM.generate`."""
        settings = self.settings
        return {field.name: getattr(settings, field.name) for field in fields(settings)}

    @classmethod
    def of(
        cls,
        arguments: Mapping[str, Any],
        *,
        seed: int = 0,
        adapter: str | None = None,
        chunk_frames: int = CHUNK_FRAMES,
    ) -> GenerationRequest:
        """Make a request of the arguments of `AudioLM.generate` for one row.

        Args:
            arguments: as of `AudioLMPipeline.prompt` for one prompt.
            seed: of sampling.
            adapter: name of a loaded adapter; None: the active one.
            chunk_frames: most frames of codes in a chunk of audio; more of them take less
                computing, fewer less delay.

        Raises:
            ValueError: for options that cannot be.
        """
        options = {k: v for k, v in arguments.items() if k not in ("input_ids", "attention_mask")}
        settings = GenerationSettings(**{**options, "seed": seed, "adapter_names": adapter})
        if chunk_frames < 1:
            raise ValueError(f"chunk_frames must be at least 1, got {chunk_frames}")
        return cls(
            input_ids=arguments["input_ids"],
            attention_mask=arguments.get("attention_mask"),
            settings=settings,
            chunk_frames=chunk_frames,
        )


@dataclass(frozen=True)
class AudioChunk:
    """A chunk of the audio of a job, without the prefix that its prompt gave."""

    waveform: npt.NDArray[np.float32]  # [S]
    codes: Tensor  # [K, Q] int64
    start: int  # index of its first frame


class Job:
    """A submitted request. Its methods are for coroutines of the event loop of `submit`.

    A scheduler calls the methods whose names begin with `put`, in any thread.
    """

    def __init__(self, request: GenerationRequest, on_cancel: Callable[[Job], None]):
        self.request = request
        self.cancelled = False
        # Checked; None for a beam search, and when the job is running.
        self.prompts: PromptBatch | None = None
        self.prefix_frames = 0  # of the audio that its prompt gives
        self.started = 0.0  # time.monotonic
        self._loop = asyncio.get_running_loop()
        self._on_cancel = on_cancel
        self._chunks: asyncio.Queue[AudioChunk | None] = asyncio.Queue()
        self._result: asyncio.Future[GeneratedRow] = self._loop.create_future()
        # A job that nobody waits for may fail without a warning of asyncio.
        self._result.add_done_callback(lambda future: future.cancelled() or future.exception())

    async def chunks(self) -> AsyncIterator[AudioChunk]:
        """Yield the audio as it is made; texts have none. To be iterated once.

        Raises:
            JobCancelled: if the job is cancelled.
            Exception: what made the job fail.
        """
        while (chunk := await self._chunks.get()) is not None:
            yield chunk
        await self.result()

    async def result(self) -> GeneratedRow:
        """Wait for the whole row: codes or text ids.

        Raises:
            JobCancelled: if the job is cancelled.
            Exception: what made the job fail.
        """
        return await asyncio.shield(self._result)

    def cancel(self) -> None:
        """End the job: its place in the batch is free at the next step. No effect if it is done."""
        if not self._result.done():
            self.cancelled = True
            self._on_cancel(self)

    def put_chunk(self, chunk: AudioChunk) -> None:
        """Hand over audio."""
        self._call(self._chunks.put_nowait, chunk)

    def put_result(self, row: GeneratedRow) -> None:
        """End the job with its row."""
        self._call(self._end, row, None)

    def put_error(self, error: BaseException) -> None:
        """End the job with an error."""
        self._call(self._end, None, error)

    def _end(self, row: GeneratedRow | None, error: BaseException | None) -> None:
        if self._result.done():
            return
        if error is not None:
            self._result.set_exception(error)
        else:
            assert row is not None
            self._result.set_result(row)
        self._chunks.put_nowait(None)

    def _call(self, function: Callable[..., object], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:  # the loop is closed: nobody waits
            pass
