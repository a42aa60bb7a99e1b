"""What is told of a request by the access log and the trace: one record, which fills while the request is served.

It holds no text, no key, no address and no query string, so that neither log nor trace can leak one.
"""

from contextvars import ContextVar
from dataclasses import dataclass

from service.translation.cost import Cost


@dataclass(slots=True)
class RequestContext:
    """`id` is the request's; `key` is the name of its API key; `cost` is None unless it was translated."""

    id: str
    key: str | None = None
    texts: int = 0
    characters: int = 0
    cost: Cost | None = None


_current: ContextVar[RequestContext] = ContextVar("context")


def begin(request_id: str) -> RequestContext:
    """New context for what the current task serves."""
    context = RequestContext(request_id)
    _current.set(context)
    return context


def current() -> RequestContext:
    """The context of the request that the current task serves; nobody reads them outside of one."""
    return _current.get(None) or RequestContext("")
