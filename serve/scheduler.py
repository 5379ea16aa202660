"""Scheduler: one model, many requests; a worker thread generates, coroutines wait for results.

submit -> queue -> worker thread: batch -steps-> chunks and rows -> jobs of the event loop
"""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections import deque
from dataclasses import dataclass

from ..lm.generation.output import GeneratedRow
from ..lm.generation.prompts import read_prompts
from ..lm.generation.streaming import stream
from ..tasks.pipelines.base import AudioLMPipeline
from .job import AudioChunk, GenerationRequest, Job, JobCancelled, QueueFull

__all__ = ["AudioChunk", "GenerationRequest", "Job", "JobCancelled", "QueueFull", "Scheduler"]

_USUAL_SECONDS = 2.0  # of a request, before the first one is finished


@dataclass
class SchedulerStats:
    """Counts since the start; `queued` and `running` are of this moment."""

    queued: int = 0
    running: int = 0
    steps: int = 0
    rows_done: int = 0
    rows_failed: int = 0
    rows_cancelled: int = 0
    audio_seconds: float = 0.0  # of finished rows


class Scheduler:
    """One model, many requests.

    The result of a request is its result alone at the same seed, whatever else is generated.

    Example:
        >>> scheduler = Scheduler(pipeline)  # doctest: +SKIP
        >>> scheduler.start()  # doctest: +SKIP
        >>> job = scheduler.submit(request)  # doctest: +SKIP
        >>> async for chunk in job.chunks():  # doctest: +SKIP
        ...     player.write(chunk.waveform)
    """

    def __init__(self, pipeline: AudioLMPipeline, *, max_batch: int = 16, max_queue: int = 64):
        """Make a scheduler; it runs after :meth:`start`.

        Args:
            pipeline: the model, its processor and its codec.
            max_batch: most rows that are generated together.
            max_queue: most requests that wait for a place in the batch.
        """
        for name, value in (("max_batch", max_batch), ("max_queue", max_queue)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.pipeline, self.max_batch, self.max_queue = pipeline, max_batch, max_queue
        self._stats = SchedulerStats()
        self._waiting: deque[Job] = deque()
        self._running: list[Job] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._usual_seconds = _USUAL_SECONDS
        self._thread = threading.Thread(target=self._work, name="almtok-scheduler", daemon=True)

    def start(self) -> None:
        """Start the worker thread."""
        self._thread.start()

    async def stop(self, timeout: float) -> None:
        """Refuse new requests; cancel those that are not done after `timeout` seconds."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join, timeout)
        with self._changed:
            left = [*self._waiting, *self._running]
        for job in left:
            job.cancel()
        await asyncio.to_thread(self._thread.join)

    def submit(self, request: GenerationRequest) -> Job:
        """Queue a request.

        Raises:
            QueueFull: if `max_queue` requests wait.
            ValueError: for a request that cannot be generated.
            RuntimeError: if the scheduler stops.
        """
        read_prompts(request.input_ids, request.attention_mask, self.pipeline.lm.config)
        with self._changed:
            if self._stopping:
                raise RuntimeError("the scheduler is stopping")
            waiting = len(self._waiting)
            if waiting >= self.max_queue:
                raise QueueFull(waiting, self._usual_seconds * (1 + waiting / self.max_batch))
            job = Job(request, self._cancel)
            self._waiting.append(job)
            self._changed.notify()
        return job

    @property
    def stats(self) -> SchedulerStats:
        """Counts of this moment."""
        with self._changed:
            return dataclasses.replace(
                self._stats, queued=len(self._waiting), running=len(self._running)
            )

    # ------------------------------------------------------------------ worker thread

    def _cancel(self, job: Job) -> None:
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                self._stats.rows_cancelled += 1
                job.put_error(JobCancelled("the request was cancelled"))

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if not self._waiting:
                    return
                job = self._waiting.popleft()
                self._running.append(job)
            self._finish(job, time.perf_counter())

    def _finish(self, job: Job, start: float) -> None:
        """Run a job to its end and hand its result over."""
        error: BaseException | None = None
        try:
            row = self._run(job)
        except Exception as problem:  # of this job only
            error = problem
        with self._changed:
            self._running.remove(job)
            if isinstance(error, JobCancelled):
                self._stats.rows_cancelled += 1
            elif error is not None:
                self._stats.rows_failed += 1
            else:
                self._stats.rows_done += 1
                self._stats.steps += row.steps
                seconds = time.perf_counter() - start
                self._usual_seconds += (seconds - self._usual_seconds) / 8
        job.put_result(row) if error is None else job.put_error(error)

    def _run(self, job: Job) -> GeneratedRow:
        request, lm = job.request, self.pipeline.lm
        settings = {
            field.name: getattr(request.settings, field.name)
            for field in dataclasses.fields(request.settings)
        }
        (kind, *_) = (
            p.kind for p in read_prompts(request.input_ids, request.attention_mask, lm.config)
        )
        if kind == "text":
            generation = lm.generate(request.input_ids, request.attention_mask, **settings)
            row: GeneratedRow = generation[0]
            return row
        chunks = stream(
            lm,
            self.pipeline.codec,
            request.input_ids,
            request.attention_mask,
            chunk_frames=request.chunk_frames,
            **settings,
        )
        for chunk in chunks:
            if job.cancelled:
                raise JobCancelled("the request was cancelled")
            if chunk.codes.shape[1]:
                waveform = chunk.waveform.flatten().float().cpu().numpy()
                job.put_chunk(AudioChunk(waveform, chunk.codes, chunk.start))
        assert chunk.result is not None
        return chunk.result
