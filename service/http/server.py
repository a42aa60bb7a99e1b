"""uvicorn with graceful shutdown: no accepted request is dropped."""

import os
import signal
import socket
import time
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from service.http.protocol import protocol
from service.settings import Settings

_CLOSE = (b"connection", b"close")


class Server(uvicorn.Server):
    """Shuts down in order: not ready, keep serving for the drain delay, stop accepting, finish requests in flight."""

    def __init__(self, app: FastAPI, settings: Settings, **options: Any) -> None:
        """Configure uvicorn for an app.

        Args:
            app: Made by `create_app`.
            settings: Address, limits and shutdown times.
            options: Further options of `uvicorn.Config`.
        """
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            http=protocol(settings),
            ws="none",
            access_log=False,  # it would write query strings, which may hold keys and texts
            log_config=None,
            server_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=settings.trusted_proxies,
            timeout_graceful_shutdown=settings.shutdown_seconds,
            **options,
        )
        super().__init__(config)
        self._registry, self._history = app.state.registry, app.state.history
        self._drain_s = settings.drain_seconds
        self._ends_at: float | None = None  # time.monotonic() at which the drain delay ends

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, and say where, which it leaves out for sockets that it is given."""
        await super().startup(sockets)
        if sockets and self.started:
            self._log_started_message(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin the shutdown on the first signal, for SIGINT without the delay; exit at once on the second."""
        if self._ends_at is not None:
            os._exit(128 + sig)  # not the signal's default action: the first process of a container has none
        self._close_keep_alive_connections()
        self._registry.drain()
        self._ends_at = time.monotonic() + (0.0 if sig == signal.SIGINT else self._drain_s)

    async def on_tick(self, counter: int) -> bool:
        """Return whether to stop serving; uvicorn calls this ten times a second."""
        over = await super().on_tick(counter)
        if self._ends_at is None:
            return over
        self._close_keep_alive_connections()  # again: uvicorn resets its default headers every second
        self._history.close()  # streams of events would not end by themselves
        return over or time.monotonic() >= self._ends_at

    def _close_keep_alive_connections(self) -> None:
        """Have each connection closed after its next reply, so that none is idle when the server stops."""
        if _CLOSE not in self.server_state.default_headers:
            self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
