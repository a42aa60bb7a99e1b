"""uvicorn with an end that loses no request."""

import os
import signal
import time
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from service.http.protocol import protocol
from service.settings import Settings

_CLOSE = (b"connection", b"close")


class Server(uvicorn.Server):
    """Ends in order: not ready, serve on for the drain delay, accept no more, finish what is in flight."""

    def __init__(self, app: FastAPI, settings: Settings, **options: Any) -> None:
        """`options`: more of uvicorn's."""
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            http=protocol(settings),
            ws="none",
            access_log=False,  # it would write query strings, which may hold keys and texts: observer.py has ours
            log_config=None,
            server_header=False,
            h11_max_incomplete_event_size=settings.max_header_bytes,
            timeout_graceful_shutdown=settings.shutdown_seconds,
            **options,
        )
        super().__init__(config)
        self._registry, self._history = app.state.registry, app.state.history
        self._drain_s = settings.drain_seconds
        self._ends_at: float | None = None  # of time.monotonic

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal begins the end (SIGINT, from a terminal, without the delay); the second one is the end."""
        if self._ends_at is not None:
            os._exit(128 + sig)  # not the signal's default action: the first process of a container has none
        self._send_away()
        self._registry.drain()
        self._ends_at = time.monotonic() + (self._drain_s if sig == signal.SIGTERM else 0.0)

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; true ends the serving."""
        over = await super().on_tick(counter)
        if self._ends_at is None:
            return over
        self._send_away()  # once more: uvicorn has the headers of its own replaced every second
        self._history.close()  # streams of events would go on for ever
        return over or time.monotonic() >= self._ends_at

    def _send_away(self) -> None:
        """A client that goes on asking is sent away between two requests, so that the end meets no idle connection."""
        if _CLOSE not in self.server_state.default_headers:
            self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
