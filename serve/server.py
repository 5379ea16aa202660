"""The process of `almtok serve`: uvicorn, and a stop that lets running requests end."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from types import FrameType

import uvicorn

from .app import create_app, load_pipeline
from .settings import ServerSettings
from .state import ServerState

logger = logging.getLogger(__name__)
_POLL_SECONDS = 0.05


class Server(uvicorn.Server):
    """A server of uvicorn that refuses new requests after a signal and ends the running ones."""

    def __init__(self, config: uvicorn.Config, state: ServerState) -> None:
        super().__init__(config)
        self.state = state
        self._signals = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to stop; a second signal ends running requests."""
        self._signals += 1
        self.state.draining = True
        if self._signals > 1:
            self.should_exit = self.force_exit = True

    async def stop_when_drained(self) -> None:
        """Wait for a signal, then for running requests, and let the server end."""
        while not self.state.draining:
            await asyncio.sleep(_POLL_SECONDS)
        grace = self.state.settings.grace_seconds
        logger.info("stopping: %d running requests have %g s", self.state.active, grace)
        deadline = time.monotonic() + grace
        while self.state.active and time.monotonic() < deadline:
            await asyncio.sleep(_POLL_SECONDS)
        self.should_exit = True


def serve(settings: ServerSettings) -> int:
    """Load the model and answer requests until SIGINT or SIGTERM.

    Raises:
        ValueError: for a checkpoint, an adapter or a watermark that cannot be loaded.
        OSError: if the address cannot be listened on.
    """
    with _listening(settings) as listener:
        start = time.perf_counter()
        app = create_app(settings, load_pipeline(settings))
        logger.info("loaded %s in %.1f s", settings.names[0], time.perf_counter() - start)
        config = uvicorn.Config(
            app, log_config=None, access_log=False, timeout_graceful_shutdown=1, lifespan="on"
        )
        server = Server(config, app.state.server)
        asyncio.run(_run(server, listener))
    return 0


async def _run(server: Server, listener: socket.socket) -> None:
    host, port, *_ = listener.getsockname()
    shown = f"[{host}]" if ":" in host else host
    logger.info("listening on http://%s:%d", shown, port)
    stopping = asyncio.create_task(server.stop_when_drained())
    await server.serve([listener])
    stopping.cancel()
    logger.info("stopped")


def _listening(settings: ServerSettings) -> socket.socket:
    """A socket that listens; before the model is loaded, so that a taken port is told at once."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        place = f"{settings.host}:{settings.port}"
        raise OSError(f"cannot listen on {place}: {error.strerror or error}") from error
