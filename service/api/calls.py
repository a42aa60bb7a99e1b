"""The X-Sub3-* headers: those of a request as a `Call`, and those of a reply from its cost."""

from dataclasses import fields
from functools import partial

from fastapi import Request

from service.live.model import Pin
from service.requests.call import Call
from service.translation.cost import Cost, Memory, StageTimings

CONFIG_HEADER = "X-Sub3-Config"  # of requests and replies
MODEL_HEADER = "X-Sub3-Model"  # of both too
TIMEOUT_HEADER = "X-Request-Timeout-Ms"
# made once: of a request's 2.3 ms beside the engine, on a core whose caches the engine has just filled, each counts
_TIMING_HEADERS = {field.name: f"X-Sub3-{field.name.title()}-Ms" for field in fields(StageTimings)}
_MEMORY_HEADERS = {field.name: f"X-Sub3-{field.name.title().replace('_', '-')}" for field in fields(Memory)}


def call_of(request: Request, key: str | None, *, model: str | None = None, pin: Pin | None = None) -> Call:
    """Return the call of a request: all but its texts and options.

    Args:
        request: its body must be read before the client's disconnecting can be noticed.
        key: the API key, which each dialect carries in its own way.
        model: the model that the body names; without it the header X-Sub3-Model does.
        pin: the configuration that the body names or implies; without it the header X-Sub3-Config does.
    """
    headers = request.headers
    return Call(
        key=key,
        model=model or headers.get(MODEL_HEADER),
        pin=pin or headers.get(CONFIG_HEADER),
        timeout_ms=_timeout_ms(headers.get(TIMEOUT_HEADER)),
        disconnected=partial(_disconnected, request),
    )


def cost_headers(cost: Cost) -> dict[str, str]:
    """Return the cost of a request as headers; where several models answered, their identities are lists.

    Where nothing was translated, no model answered.
    """
    headers = {}
    if models := list(cost.weights):
        headers = {
            MODEL_HEADER: ", ".join(model.name for model in models),
            CONFIG_HEADER: ", ".join(model.config for model in models),
            "X-Sub3-Version": ", ".join(model.version for model in models),
            "X-Sub3-Bits-Per-Weight": ", ".join(repr(model.bits_per_weight) for model in models),
        }
    for record, names in ((cost.latency_ms, _TIMING_HEADERS), (cost.memory, _MEMORY_HEADERS)):
        headers.update({header: repr(getattr(record, name)) for name, header in names.items()})
    return headers


def _timeout_ms(header: str | None) -> int | None:
    """Return the milliseconds of a header; 0, which is refused with other limits, for what is not a whole number."""
    if header is None:
        return None
    return int(header[:10]) if header.isascii() and header.isdecimal() else 0


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
