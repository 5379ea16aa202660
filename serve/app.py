"""The FastAPI app of the server: its state, its routes, its errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from transformers.utils import logging

from .. import __version__
from ..tasks.pipelines.base import AudioLMPipeline
from .errors import add_error_handlers
from .limits import BodyLimit, require_key
from .monitor import Monitor
from .routes import (
    captions,
    codec,
    generations,
    health,
    models,
    speech,
    stream,
    transcriptions,
)
from .scheduler import Scheduler
from .settings import ServerSettings
from .state import ServerState

OPEN_ROUTES = (health,)  # without a key
ROUTES = (speech, transcriptions, generations, captions, codec, stream, models)


def load_pipeline(settings: ServerSettings) -> AudioLMPipeline:
    """Load the model and the adapters of a server.

    Raises:
        ValueError: for a folder without a checkpoint, or an adapter of another model.
    """
    logging.disable_progress_bar()
    pipeline = AudioLMPipeline.from_pretrained(
        settings.checkpoint, device=settings.device, dtype=settings.dtype
    )
    for name, folder in settings.adapters.items():
        pipeline.load_adapter(folder, name)
    return pipeline


def create_app(settings: ServerSettings, pipeline: AudioLMPipeline) -> FastAPI:
    """Make the app; its scheduler runs from the start to the end of its lifespan.

    Args:
        settings: of the server.
        pipeline: the model, with the adapters of the settings loaded.
    """
    scheduler = Scheduler(pipeline, max_batch=settings.max_batch, max_queue=settings.max_queue)
    state = ServerState(settings, pipeline, scheduler)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        scheduler.start()
        yield
        grace = 0.0 if state.draining else settings.grace_seconds  # or the process has waited
        state.draining = True
        await scheduler.stop(grace)
        state.close()

    app = FastAPI(title="almtok", version=__version__, lifespan=lifespan)
    app.state.server = state
    add_error_handlers(app)
    app.add_middleware(BodyLimit, state=state)
    app.add_middleware(Monitor, state=state)
    for module in OPEN_ROUTES:
        app.include_router(module.router)
    for module in ROUTES:
        app.include_router(module.router, dependencies=[Depends(require_key)])
    return app
