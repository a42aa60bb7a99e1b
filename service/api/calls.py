"""The X-Sub3-* headers of a translation's reply."""

from dataclasses import fields

from service.translation.cost import Cost, Memory, StageTimings

CONFIG_HEADER = "X-Sub3-Config"
MODEL_HEADER = "X-Sub3-Model"
# made once: of a request's 2.3 ms beside the engine, on a core whose caches the engine has just filled, each counts
_TIMING_HEADERS = {field.name: f"X-Sub3-{field.name.title()}-Ms" for field in fields(StageTimings)}
_MEMORY_HEADERS = {field.name: f"X-Sub3-{field.name.title().replace('_', '-')}" for field in fields(Memory)}


def cost_headers(cost: Cost) -> dict[str, str]:
    """Return the cost of a request as headers; where several models answered, their identities are lists."""
    models = list(cost.weights)
    headers = {
        MODEL_HEADER: ", ".join(model.name for model in models),
        CONFIG_HEADER: ", ".join(model.config for model in models),
        "X-Sub3-Version": ", ".join(model.version for model in models),
        "X-Sub3-Bits-Per-Weight": ", ".join(repr(model.bits_per_weight) for model in models),
    }
    for record, names in ((cost.latency_ms, _TIMING_HEADERS), (cost.memory, _MEMORY_HEADERS)):
        headers.update({header: repr(getattr(record, name)) for name, header in names.items()})
    return headers
