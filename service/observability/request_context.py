"""Per-request context for the access log and the trace, filled in while the request is handled.

It holds no text, no key, no address and no query string, so that neither log nor trace can leak any of them.
"""

from contextvars import ContextVar
from dataclasses import dataclass

from service.translation.cost import Cost


@dataclass(slots=True)
class RequestContext:
    """`id` is the request's id; `key` is the name of its API key; `cost` is None unless something was translated."""

    id: str
    key: str | None = None
    texts: int = 0
    characters: int = 0
    cost: Cost | None = None


_current: ContextVar[RequestContext] = ContextVar("context")


def begin(request_id: str) -> RequestContext:
    """Make a new context for the request that the current task handles."""
    context = RequestContext(request_id)
    _current.set(context)
    return context


def current() -> RequestContext:
    """Return the context of the request that the current task handles; outside of a request, one that nobody reads."""
    return _current.get(None) or RequestContext("")
