"""Speaking: one request for speech, part by part through the scheduler.

SpeechJob -prompt of a part-> Scheduler -chunks-> waveforms [S], while they are made
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import numpy as np

from ..core.audio import Waveform
from ..tasks.pipelines.arguments import PREFIX
from ..tasks.pipelines.options import GenerationOptions
from ..tasks.pipelines.speech_job import SpeechJob
from .state import ServerState


class Speaking:
    """The speech of one text.

    Attributes:
        input_tokens: rows of the prompts of its parts.
        output_tokens: codes that were generated.
    """

    def __init__(self, state: ServerState, job: SpeechJob, options: GenerationOptions) -> None:
        self.state, self.job, self.options = state, job, options
        self.input_tokens, self.output_tokens = 0, 0
        self._start = time.perf_counter()
        self._deadline = self._start + state.settings.request_timeout

    async def chunks(self, first: int = 0) -> AsyncGenerator[Waveform, None]:
        """Yield waveforms `[S]` while they are made; to be iterated once, and closed.

        Pieces that are added to the job meanwhile are spoken, too. Closing it frees the row of the
        part that is being generated.

        Args:
            first: number of the first piece to speak.

        Raises:
            QueueFull: before the first waveform, if the queue is full.
            TimeoutError: if the request takes longer than the server allows.
        """
        silent, number = True, first
        while number < len(self.job.pieces):
            async with aclosing(self._part(number)) as part:
                async for waveform in part:
                    if silent:
                        self.state.metrics.first_sound(time.perf_counter() - self._start)
                        silent = False
                    yield waveform
            number += 1

    async def whole(self) -> Waveform:
        """The waveform `[S]` of the whole text."""
        async with aclosing(self.chunks()) as chunks:
            return np.concatenate([waveform async for waveform in chunks])

    @property
    def usage(self) -> dict[str, int]:
        """Counts of tokens in the form of OpenAI."""
        total = self.input_tokens + self.output_tokens
        return {
            "input_tokens": self.input_tokens, "output_tokens": self.output_tokens,
            "total_tokens": total,
        }  # fmt: skip

    async def _part(self, number: int) -> AsyncGenerator[Waveform, None]:
        pipeline = self.state.pipeline
        fields = self.job.fields(pipeline, number)
        arguments = await self.state.prepared(
            pipeline.prompt, "tts", [fields], options=self.options
        )
        self.input_tokens += int(arguments["attention_mask"].sum())
        job = await self.state.submit(
            arguments,
            seed=self.job.seed_of(number),
            adapter=self.job.adapter,
            admitted=number > 0,
        )
        try:
            async with aclosing(job.chunks()) as chunks:  # type: ignore[type-var]
                while True:
                    left = self._deadline - time.perf_counter()
                    try:
                        chunk = await asyncio.wait_for(anext(chunks), left)
                    except StopAsyncIteration:
                        break
                    self.output_tokens += chunk.codes.numel()
                    yield chunk.waveform
            row = await job.result()
        finally:
            job.cancel()
        prefixed = fields.get(PREFIX) is not None
        self.job.add(number, pipeline.to_output(row, 0.0, without_prefix=prefixed))
