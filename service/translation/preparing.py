"""Work on long texts, in one thread beside the event loop."""

import asyncio
import contextvars
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# Up to here texts are worked on on the event loop: 0.1 ms, and 15 ms where the vocabulary has no word of a text of
# placeholders. A thread and back takes 0.1 to 0.3.
CHARACTERS_ON_THE_LOOP = 300

# One thread: more would only take turns at the interpreter's lock, away from the event loop and the engine's threads.
_thread = ThreadPoolExecutor(1, "prepare")


_CHARACTERS_A_TURN = 2000  # about 50 ms where the vocabulary has no word of them


def turns(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the texts in stretches, each of which is one call for `prepared`: others' long texts come between them."""
    begin = size = 0
    for end, text in enumerate(texts):
        if begin < end and size + len(text) > _CHARACTERS_A_TURN:
            yield texts[begin:end]
            begin, size = end, 0
        size += len(text)
    if begin < len(texts):
        yield texts[begin:]


def place_of(characters: int) -> Executor | None:
    """Return where texts of so many characters are worked on: None for the event loop, otherwise the thread."""
    return None if characters <= CHARACTERS_ON_THE_LOOP else _thread


async def prepared(characters: int, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Call a function: here, or in the thread where texts of so many characters would hold the event loop up.

    Args:
        characters: of the texts that it works on.
        work: what to call, with the context variables of the caller.
        arguments: for it.
        named: for it, too.
    """
    place = place_of(characters)
    if place is None:
        return work(*arguments, **named)
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(place, lambda: context.run(work, *arguments, **named))
