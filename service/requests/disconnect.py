"""Work that stops when its client has gone."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request
from starlette.exceptions import HTTPException

T = TypeVar("T")
CLIENT_CLOSED_REQUEST = 499  # nobody reads it; it is counted


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`; cancel it when the client disconnects. The request's body must have been read.

    Raises:
        HTTPException: 499, the client went.
    """
    # in this task, as asyncio.timeout does it: another one for the work would cost each request its start and end
    task = asyncio.current_task()
    assert task is not None
    cancelled_before = task.cancelling()
    has_left = is_over = False

    def leave(leaving: asyncio.Task[None]) -> None:
        nonlocal has_left
        if not leaving.cancelled() and not is_over:
            has_left = True
            task.cancel()

    leaving = asyncio.ensure_future(_disconnected(request))
    leaving.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if not has_left or task.uncancel() > cancelled_before:
            raise
        raise HTTPException(CLIENT_CLOSED_REQUEST, "The client closed the connection.") from None
    finally:
        is_over = True
        leaving.cancel()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
