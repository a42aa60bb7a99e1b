"""A transport that sends a reply's head and body in one write.

uvicorn writes them apart. A process that is killed between the two has begun a reply, so nginx can't ask another
replica for it (1 of 1,126 requests when replicas were killed under load).
"""

import asyncio
from typing import Any


class PairedWrites:
    """A transport of asyncio whose first write waits for a second until the event loop's next turn."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """`loop`: the transport's."""
        self._transport, self._loop = transport, loop
        self._kept = b""

    def write(self, data: bytes) -> None:
        """Keep the bytes, or send them behind those that are kept: never more than one write is held back."""
        if self._kept:
            data, self._kept = self._kept + data, b""
            self._transport.write(data)
        elif data:
            self._kept = bytes(data)
            self._loop.call_soon(self._flush)

    def write_eof(self) -> None:
        """Say that nothing more comes."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Close once everything is sent."""
        self._flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        """The rest is the transport's own."""
        return getattr(self._transport, name)

    def _flush(self) -> None:
        if self._kept:
            data, self._kept = self._kept, b""
            self._transport.write(data)
