"""ServerState: what the routes of one server share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any, ParamSpec, TypeVar

from fastapi import Depends
from starlette.requests import HTTPConnection

from ..lm.adapter_rows import BASE
from ..tasks.pipelines.base import AudioLMPipeline
from .errors import ApiError
from .job import CHUNK_FRAMES
from .metrics import Metrics
from .scheduler import GenerationRequest, Job, QueueFull, Scheduler
from .settings import ServerSettings
from .watermark import Watermark

P = ParamSpec("P")
T = TypeVar("T")
_POLL_SECONDS = 0.05  # while a further part of an admitted request waits for room


class ServerState:
    """The model and the scheduler of one server, its settings and its metrics.

    Attributes:
        settings: of the server.
        pipeline: the model.
        scheduler: runs the requests.
        metrics: for Prometheus.
        watermark: marks made audio; None: no mark.
        draining: whether the server stops: new requests are refused.
        active: number of requests that are being answered.
    """

    def __init__(
        self, settings: ServerSettings, pipeline: AudioLMPipeline, scheduler: Scheduler
    ) -> None:
        self.settings, self.pipeline, self.scheduler = settings, pipeline, scheduler
        self.metrics = Metrics(scheduler)
        self.watermark = None if settings.watermark is None else Watermark(settings.watermark)
        self.draining = False
        self.active = 0
        self._preparing = ThreadPoolExecutor(1, thread_name_prefix="almtok-prepare")
        self._coding = ThreadPoolExecutor(1, thread_name_prefix="almtok-codec")

    async def prepared(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function that computes, one at a time, without blocking the event loop.

        For reading texts and audio, which is not safe in several threads.
        """
        call = partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._preparing, call)

    async def with_codec(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """As :meth:`prepared`, in a thread for long work of the codec and files of audio.

        The texts of other requests do not wait for it.
        """
        call = partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._coding, call)

    async def submit(
        self,
        arguments: Mapping[str, Any],
        *,
        seed: int = 0,
        adapter: str | None = None,
        chunk_frames: int = CHUNK_FRAMES,
        admitted: bool = False,
    ) -> Job:
        """Give one prompt to the scheduler; the caller cancels the job if it does not end it.

        Args:
            arguments: of `AudioLM.generate`, as of `AudioLMPipeline.prompt` for one row.
            seed: of sampling.
            adapter: name of a loaded adapter; None: the base model.
            chunk_frames: frames of codes in a chunk of audio.
            admitted: the prompt is a further part of a running request: wait for room in the queue.

        Raises:
            QueueFull: if the queue is full.
        """
        request = GenerationRequest.of(
            arguments, seed=seed, adapter=self.adapter_of_rows(adapter), chunk_frames=chunk_frames
        )
        while True:
            try:
                return self.scheduler.submit(request)
            except QueueFull:
                if not admitted:
                    raise
            await asyncio.sleep(_POLL_SECONDS)

    def adapter_of_rows(self, adapter: str | None) -> str | None:
        """The name for rows of the model; None is its active adapter, the last that was loaded."""
        return adapter or (BASE if self.settings.adapters else None)

    def check_model(self, name: str) -> str | None:
        """The adapter that a model name means; None: the base model.

        Raises:
            ApiError: 404 for a name that is neither of the model nor of an adapter.
        """
        if name in self.settings.names:
            return None
        if name in self.settings.adapters:
            return name
        known = ", ".join([*self.settings.names, *self.settings.adapters])
        raise ApiError(
            404, f"model must be one of {known}, got {name!r}", param="model",
            code="model_not_found",
        )  # fmt: skip

    def adapter_of(self, model: str | None, adapter: str | None) -> str | None:
        """The adapter of a request, by its fields `model` and `adapter`; None: the base model.

        Raises:
            ApiError: for a name that is not known.
        """
        named = None if model is None else self.check_model(model)
        self.check_adapter(adapter)
        return adapter or named

    def check_adapter(self, name: str | None) -> None:
        """Check the name of an adapter.

        Raises:
            ApiError: 400 for a name of no loaded adapter.
        """
        if name is not None and name not in self.settings.adapters:
            known = ", ".join(self.settings.adapters) or "none"
            message = f"adapter must be one of: {known}; got {name!r}"
            raise ApiError(400, message, param="adapter", code="adapter_not_found")

    def check_task(self, name: str) -> None:
        """Check that the model knows a task.

        Raises:
            ApiError: 404 if it does not.
        """
        if name not in self.pipeline.lm.config.tasks:
            raise ApiError(404, f"this model does not know the task {name}", code="task_not_found")

    def close(self) -> None:
        """Release the threads that prepare requests."""
        for threads in (self._preparing, self._coding):
            threads.shutdown(wait=False, cancel_futures=True)


def state_of(connection: HTTPConnection) -> ServerState:
    """The state of the server that got a request."""
    state: ServerState = connection.app.state.server
    return state


State = Annotated[ServerState, Depends(state_of)]
