"""A few places for many, in turns between their owners."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class Turns:
    """Places of which an owner may hold all but one, so that another finds one soon."""

    def __init__(self, places: int) -> None:
        """Start with all places free; of a single one anybody may hold it."""
        self._free, self._most = places, max(places - 1, 1)
        self._held: Counter[Hashable] = Counter()
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}  # whose turn it is, first

    @asynccontextmanager
    async def place(self, owner: Hashable) -> AsyncIterator[None]:
        """Hold a place for the block, in the owner's turn."""
        ticket: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(ticket)
        self._hand_out()
        try:
            await ticket
            yield
        finally:
            if ticket.done() and not ticket.cancelled():
                self._free += 1
                self._held[owner] -= 1
                self._held = +self._held
            self._hand_out()

    def _hand_out(self) -> None:
        for owner, queue in list(self._waiting.items()):
            while queue and queue[0].cancelled():
                queue.popleft()
            if queue and self._free and self._held[owner] < self._most:
                queue.popleft().set_result(None)
                self._free -= 1
                self._held[owner] += 1
                self._waiting[owner] = self._waiting.pop(owner)  # behind the others
            if not queue:
                del self._waiting[owner]
