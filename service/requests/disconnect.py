"""Work that is cancelled when its client disconnects."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from service.requests.call import Call

T = TypeVar("T")


class ClientClosed(Exception):
    """The client disconnected before its reply was ready; nobody reads the sentence, but it is logged and counted."""

    def __init__(self) -> None:
        """Build the sentence."""
        super().__init__("The client closed the connection.")


async def while_connected(call: Call, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`; cancel it when the client disconnects.

    Raises:
        ClientClosed: the client disconnected.
    """
    # in this task, as asyncio.timeout does it: another one for the work would cost each request its start and end
    task = asyncio.current_task()
    assert task is not None
    cancelled_before = task.cancelling()
    has_left = is_over = False

    def leave(leaving: asyncio.Future[None]) -> None:
        nonlocal has_left
        if not leaving.cancelled() and not is_over:
            has_left = True
            task.cancel()

    leaving = asyncio.ensure_future(call.disconnected())
    leaving.add_done_callback(leave)
    try:
        return await work
    except asyncio.CancelledError:
        if not has_left or task.uncancel() > cancelled_before:
            raise
        raise ClientClosed from None
    finally:
        is_over = True
        leaving.cancel()
