"""Scheduler: one model, many requests; a worker thread generates, coroutines wait for results.

    submit -> queue -> worker thread: batch -steps-> chunks and rows -> jobs of the event loop

A request joins the running batch at the next step. Its prompt is read before; the rows of the batch
wait meanwhile, so that only prompts of about :data:`PROMPT_ROWS` rows in total are read at one
step. Beam searches have no steps in common with others: a second thread runs them one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
import time
from collections import deque
from dataclasses import dataclass

from ..lm.generation.generate import prompt_batch
from ..lm.generation.output import GeneratedRow
from ..lm.generation.streaming import check_codec
from ..lm.inference import evaluating
from ..tasks.pipelines.base import AudioLMPipeline
from .job import AudioChunk, GenerationRequest, Job, JobCancelled, QueueFull
from .job_batch import JobBatch

__all__ = ["AudioChunk", "GenerationRequest", "Job", "JobCancelled", "QueueFull", "Scheduler"]

PROMPT_ROWS = 512  # most rows of prompts that are read at a step, but at least one prompt
_USUAL_SECONDS = 2.0  # of a request, before the first one is finished


@dataclass
class SchedulerStats:
    """Counts since the start; `queued` and `running` are of this moment."""

    queued: int = 0
    running: int = 0
    steps: int = 0  # of the batch
    rows_done: int = 0
    rows_failed: int = 0
    rows_cancelled: int = 0
    audio_frames: int = 0  # of codes, of finished rows


class Scheduler:
    """One model, many requests.

    The result of a request is its result alone at the same seed, whatever else is generated. An
    error in a request, and NaN in its logits, fail this request; another error in a step of the
    batch fails the rows in it.

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

        Raises:
            ValueError: for numbers below 1, or a codec that is not that of the model.
        """
        for name, value in (("max_batch", max_batch), ("max_queue", max_queue)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        check_codec(pipeline.lm, pipeline.codec)
        self.pipeline, self.max_batch, self.max_queue = pipeline, max_batch, max_queue
        self._stats = SchedulerStats()
        self._waiting: deque[Job] = deque()
        self._running: set[Job] = set()
        self._changed = threading.Condition()  # of all above; notified for both threads
        self._stopping = False
        self._batch = JobBatch(pipeline)  # of its thread
        self._usual_seconds = _USUAL_SECONDS
        self._threads = [
            threading.Thread(target=work, name=f"almtok-{name}", daemon=True)
            for name, work in (("batch", self._run_batch), ("search", self._run_searches))
        ]

    def start(self) -> None:
        """Start the worker threads."""
        for thread in self._threads:
            thread.start()

    async def stop(self, timeout: float) -> None:
        """Refuse new requests; cancel those that are not done after `timeout` seconds.

        Returns when the threads have ended; a beam search is not interrupted.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        end = time.monotonic() + timeout
        for thread in self._threads:
            if thread.ident is not None:
                await asyncio.to_thread(thread.join, max(0.0, end - time.monotonic()))
        with self._changed:
            left = [*self._waiting, *self._running]
        for job in left:
            job.cancel()
        for thread in self._threads:
            if thread.ident is not None:
                await asyncio.to_thread(thread.join)

    def submit(self, request: GenerationRequest) -> Job:
        """Queue a request; in the event loop that waits for its job.

        Raises:
            QueueFull: if `max_queue` requests wait.
            ValueError: for a request that cannot be generated.
            RuntimeError: if the scheduler stops.
        """
        job = Job(request, self._cancel)
        if request.settings.compile:
            raise ValueError("compile must be False for a batch that requests join")
        if request.settings.beam is None:
            job.prompts = prompt_batch(
                self.pipeline.lm, request.input_ids, request.attention_mask, **request.options
            )
            if len(job.prompts.prompts) != 1:
                raise ValueError(f"a request must be one prompt, got {len(job.prompts.prompts)}")
            (prompt,) = job.prompts.prompts
            job.prefix_frames = len(prompt.prefix) // prompt.stride
        with self._changed:
            if self._stopping:
                raise RuntimeError("the scheduler is stopping")
            waiting = len(self._waiting)
            if waiting >= self.max_queue:
                raise QueueFull(waiting, self._usual_seconds * (1 + waiting / self.max_batch))
            self._waiting.append(job)
            self._changed.notify_all()
        return job

    @property
    def stats(self) -> SchedulerStats:
        """Counts of this moment."""
        with self._changed:
            return dataclasses.replace(
                self._stats, queued=len(self._waiting), running=len(self._running)
            )

    # ------------------------------------------------------------------ jobs

    def _cancel(self, job: Job) -> None:
        """Called by a job when it is cancelled; a running one ends at the next step."""
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                self._end(job, JobCancelled("the request was cancelled"))

    def _take(self, job: Job) -> None:
        self._waiting.remove(job)
        self._running.add(job)
        job.started = time.monotonic()

    def _end(self, job: Job, result: GeneratedRow | BaseException) -> None:
        """End a job with its row or an error."""
        with self._changed:
            self._running.discard(job)
            if isinstance(result, JobCancelled):
                self._stats.rows_cancelled += 1
            elif isinstance(result, BaseException):
                self._stats.rows_failed += 1
            else:
                self._stats.rows_done += 1
                if result.codes is not None:
                    self._stats.audio_frames += result.codes.shape[1] - result.prefix
                seconds = time.monotonic() - job.started
                self._usual_seconds += (seconds - self._usual_seconds) / 8
        if isinstance(result, BaseException):
            job.put_error(result)
        else:
            job.put_result(result)

    # ------------------------------------------------------------------ thread of the batch

    def _run_batch(self) -> None:
        with evaluating(self.pipeline.lm):
            while True:
                with self._changed:
                    self._changed.wait_for(self._has_work)
                    batch = self._batch
                    if not batch.jobs and not self._next():
                        return
                    joining = self._joining(self.max_batch - len(batch.jobs))
                with contextlib.suppress(Exception):  # of one of them, which is found by itself
                    batch.read(joining)
                for job in joining:
                    try:
                        batch.join(job)
                    except Exception as error:  # of this request
                        self._end(job, error)
                for job in batch.drop_cancelled():
                    self._end(job, JobCancelled("the request was cancelled"))
                ended: dict[Job, GeneratedRow | BaseException] = {}
                try:
                    ended |= batch.step()
                except Exception as error:  # of the batch, whose state is unknown
                    ended |= dict.fromkeys(batch.jobs.values(), error)
                    self._batch = JobBatch(self.pipeline)
                with self._changed:
                    self._stats.steps += 1
                for job, result in ended.items():
                    self._end(job, result)

    def _has_work(self) -> bool:
        return bool(self._batch.jobs) or self._stopping or self._next()

    def _next(self) -> bool:
        return any(job.prompts is not None for job in self._waiting)

    def _joining(self, places: int) -> list[Job]:
        """Take the jobs from the queue that join at this step."""
        joining: list[Job] = []
        rows = 0
        for job in [job for job in self._waiting if job.prompts is not None][:places]:
            assert job.prompts is not None
            rows += job.prompts.num_positions
            if joining and rows > PROMPT_ROWS:
                break
            self._take(job)
            joining.append(job)
        return joining

    # ------------------------------------------------------------------ thread of beam searches

    def _run_searches(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._searches())
                if not self._searches():
                    return
                job = self._searches()[0]
                self._take(job)
            try:
                request = job.request
                ids, mask = request.input_ids, request.attention_mask
                (row,) = self.pipeline.lm.generate(ids, mask, **request.options)
                self._end(job, JobCancelled("cancelled") if job.cancelled else row)
            except Exception as error:  # of this request
                self._end(job, error)

    def _searches(self) -> list[Job]:
        return [job for job in self._waiting if job.prompts is None]
