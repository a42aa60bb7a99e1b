"""The part of an HTTP request that the layers below the dialects see."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from service.live.model import Pin


async def never() -> None:
    """Wait for ever: the client of work that goes on after its request has ended never disconnects."""
    await asyncio.Event().wait()


@dataclass(frozen=True, slots=True)
class Call:
    """The client's key, the asked model and configuration, the deadline, and how to notice a disconnect.

    Attributes:
        key: The API key; the server may not ask for any.
        model: The model that must answer; None for those of the language pair's route.
        pin: The live configuration that must answer, or a function that chooses it; None for the active ones.
        timeout_ms: Milliseconds that the client asks for, refused below 1; None for the server's default.
        disconnected: Returns once the client has disconnected. The request's body must have been read before.
    """

    key: str | None = None
    model: str | None = None
    pin: Pin | None = None
    timeout_ms: int | None = None
    disconnected: Callable[[], Awaitable[None]] = never
