"""What is told of a request by the access log and the trace: one record, which fills while the request is served.

It holds no text, no key, no address and no query string, so that neither log nor trace can leak one.
"""

from contextvars import ContextVar
from dataclasses import dataclass

from service.observability.metrics import Cost


@dataclass(slots=True)
class Facts:
    """`id` is the request's; `key` is the name of its API key; `cost` is None unless it was translated."""

    id: str
    key: str | None = None
    texts: int = 0
    characters: int = 0
    cost: Cost | None = None


_current: ContextVar[Facts] = ContextVar("facts")


def begin(request_id: str) -> Facts:
    """New facts for what the current task serves."""
    facts = Facts(request_id)
    _current.set(facts)
    return facts


def current() -> Facts:
    """The facts of the request that the current task serves; nobody reads them outside of one."""
    return _current.get(None) or Facts("")
