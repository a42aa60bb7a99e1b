"""A transport that sends the head and the body of a reply in one write.

uvicorn writes them separately. If the process is killed between the two, the reply has begun and nginx cannot retry
the request on another replica (1 of 1,126 requests when replicas were killed under load).
"""

import asyncio
from typing import Any


class PairedWrites:
    """An asyncio transport that holds a write back until the next write or the event loop's next iteration."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Wrap a transport of the loop."""
        self._transport, self._loop = transport, loop
        self._held = b""

    def write(self, data: bytes) -> None:
        """Hold the bytes back, or send them together with those held back: at most one write waits."""
        if self._held:
            data, self._held = self._held + data, b""
            self._transport.write(data)
        elif data:
            self._held = bytes(data)
            self._loop.call_soon(self._flush)

    def write_eof(self) -> None:
        """Send what was held back and close the sending side."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Send what was held back and close."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        """Delegate everything else to the transport."""
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._held:
            data, self._held = self._held, b""
            self._transport.write(data)
