"""Server-sent events: their encoding, and a translation as a stream of sentences that ends with `done` or `error`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from service.api import schemas
from service.api.errors import code_of, sentence_of
from service.translation.results import OnSentence, TranslatedSentence

_EVENT = {  # the schema of a stream is that of one event
    "type": "object",
    "required": ["event", "data"],
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
}
EVENT_STREAM: dict[str, Any] = {"content": {"text/event-stream": {"schema": _EVENT}}}
STREAM_RESPONSE: dict[str, Any] = {
    "description": "Events, each `event: NAME` and one line `data: JSON`: `sentence` (SentenceEvent) for each sentence "
    "as soon as it is ready, those of a text in order; then `done` (TranslateReply: the whole texts and what they "
    "cost), or `error` (Error) if the translation failed after its first sentence.",
    "content": {
        "text/event-stream": {
            "schema": {
                **_EVENT,
                "properties": {"event": {"enum": ["sentence", "done", "error"]}, "data": {"type": "string"}},
            }
        }
    },
}


def encode(name: str, data: bytes, id: int | None = None) -> bytes:
    """Encode one server-sent event.

    Args:
        name: Type of the event.
        data: One line of JSON.
        id: What a client sends as Last-Event-ID when it connects again.
    """
    head = b"" if id is None else b"id: %d\n" % id
    return b"%sevent: %s\ndata: %s\n\n" % (head, name.encode(), data)


class EventStream(StreamingResponse):
    """A stream that does not watch for a disconnect: the dispatcher does, and two watchers would race."""

    media_type = "text/event-stream"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the whole stream."""
        await self.stream_response(send)


class Events:
    """The events of one translation, which runs while `lines` is read and is cancelled when reading stops."""

    def __init__(self, work: Callable[[OnSentence], Awaitable[bytes]]) -> None:
        """Start the translation.

        Args:
            work: Runs it, and returns the reply in JSON; its argument is called with each translated sentence.
        """
        self._sentences: asyncio.Queue[TranslatedSentence | None] = asyncio.Queue()  # None after the last
        self._work = asyncio.ensure_future(work(self._sentences.put_nowait))
        self._work.add_done_callback(lambda _: self._sentences.put_nowait(None))
        self._first: TranslatedSentence | None = None

    async def wait_for_first(self) -> None:
        """Wait for the first sentence, or for the end if there is none.

        If the translation fails before its first sentence, its own exception is raised here, so that the reply can
        still have a status.
        """
        try:
            self._first = await self._sentences.get()
        except asyncio.CancelledError:
            await self._cancel()
            raise
        if self._first is None:
            self._work.result()

    async def lines(self) -> AsyncIterator[bytes]:
        """Yield the encoded events; call `wait_for_first` before."""
        try:
            sentence = self._first
            while sentence is not None:
                yield encode("sentence", _sentence_event(sentence).model_dump_json().encode())
                sentence = await self._sentences.get()
            yield self._end()
        finally:
            await self._cancel()

    def _end(self) -> bytes:
        try:
            return encode("done", self._work.result())
        except Exception as error:
            refusal = schemas.Error(error=sentence_of(error), code=code_of(error))
            return encode("error", refusal.model_dump_json(exclude_none=True).encode())

    async def _cancel(self) -> None:
        """Cancel the translation unless it has ended, and wait until it has left the engine."""
        self._work.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self._work


def _sentence_event(sentence: TranslatedSentence) -> schemas.SentenceEvent:
    return schemas.SentenceEvent(
        text=sentence.text,
        sentence=sentence.sentence,
        source=sentence.source,
        translation=sentence.best.text,
        score=sentence.best.score,
    )
