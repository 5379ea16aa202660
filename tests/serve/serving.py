"""A server of uvicorn in a thread of this process, on a free port of the loopback."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn

from almtok.serve.app import create_app
from almtok.serve.settings import ServerSettings
from almtok.serve.state import ServerState

from ..pace import wait_until

KEY = "a key of tests"


@dataclass
class RunningServer:
    """A server that answers.

    Attributes:
        url: without a path.
        key: bearer token.
        state: of its app.
    """

    url: str
    key: str
    state: ServerState

    @property
    def port(self) -> int:
        """Of the loopback."""
        return int(self.url.rpartition(":")[2])

    @property
    def headers(self) -> dict[str, str]:
        """Of a request with the key."""
        return {"Authorization": f"Bearer {self.key}"}

    def is_idle(self) -> bool:
        """Whether no row waits or is generated."""
        stats = self.state.scheduler.stats
        return not stats.queued and not stats.running


@contextlib.contextmanager
def serving(pipeline: Any, **settings: Any) -> Iterator[RunningServer]:
    """Serve a loaded pipeline with these settings, until the end of the block."""
    chosen = ServerSettings(**{"api_key": KEY, "grace_seconds": 0.0, **settings})
    app = create_app(chosen, pipeline)
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        try:
            wait_until(lambda: server.started or not thread.is_alive())
            assert server.started
            yield RunningServer(f"http://127.0.0.1:{port}", KEY, app.state.server)
        finally:
            server.should_exit = True
            thread.join()
