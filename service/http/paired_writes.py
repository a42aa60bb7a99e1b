"""A transport that sends the head and the body of a reply in one write.

uvicorn writes them separately. If the process is killed between the two, the reply has begun and nginx cannot retry
the request on another replica (1 of 1,126 requests when replicas were killed under load).
"""

import asyncio
from collections.abc import Callable
from typing import Any


class PairedWrites:
    """An asyncio transport that holds a write back until the next write or the event loop's next iteration."""

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        written: Callable[[], None],
        lingers: Callable[[], bool],
    ) -> None:
        """Wrap a transport.

        Args:
            transport: What is written to.
            loop: Its event loop.
            written: Called after each write.
            lingers: Called before it is closed; returns whether only the sending side is closed now.
        """
        self._transport, self._loop, self._written, self._lingers = transport, loop, written, lingers
        self._held = b""
        self.written_bytes = 0

    def write(self, data: bytes) -> None:
        """Hold the bytes back, or send them together with those held back: at most one write waits."""
        if self._held:
            data, self._held = self._held + data, b""
            self._pass_on(data)
        elif data:
            self._held = bytes(data)
            self._loop.call_soon(self._flush)

    def write_eof(self) -> None:
        """Send what was held back and close the sending side."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Send what was held back and close, unless the owner has a reason to read on."""
        self._flush()
        if self._lingers():
            self._transport.write_eof()
        else:
            self._transport.close()

    def __getattr__(self, name: str) -> Any:
        """Delegate everything else to the transport."""
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._held:
            data, self._held = self._held, b""
            self._pass_on(data)

    def _pass_on(self, data: bytes) -> None:
        self.written_bytes += len(data)
        self._transport.write(data)
        self._written()
