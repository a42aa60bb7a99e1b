"""OpenTelemetry traces: a span for each request. Off, and not even imported, unless an OTEL_* endpoint is set."""

import os
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from service.observability.request_context import RequestContext
from service.translation.cost import StageTimings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class TracingUnavailable(Exception):
    """The environment asks for traces, and the packages aren't installed."""


def from_environment() -> "Tracing | None":
    """Traces to the OTLP/HTTP endpoint of the environment; None where there is none, or OTEL_SDK_DISABLED is true.

    The other OTEL_* variables (service name, resource, sampler, headers, batches) are read by the SDK.

    Raises:
        TracingUnavailable: the SDK isn't installed.
    """
    wanted = any(os.environ.get(variable) for variable in _ENDPOINTS)
    if not wanted or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise TracingUnavailable(
            "An OTEL_* endpoint is set; install the exporter: pip install 'sub3[otel]', or unset it."
        ) from None
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    provider = TracerProvider(resource=Resource.create({} if named else {"service.name": "sub3"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


class Tracing:
    """Makes spans; they are sent by a thread of the provider's."""

    def __init__(self, provider: "TracerProvider") -> None:
        """Over a provider of the SDK."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("sub3")
        self._propagator = TraceContextTextMapPropagator()
        self._kind = SpanKind.SERVER

    def record(
        self, method: str, route: str, status: int, started_ns: int, headers: Headers, context: RequestContext
    ) -> None:
        """A span from `started_ns`, a Unix time, until now; the child of what `traceparent` names.

        Its events are the stages. Their lengths are measured; their places are not: they are laid end to end.
        """
        parent = self._propagator.extract(headers)
        attributes: dict[str, str | int | float] = {
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "sub3.request_id": context.id,
            "sub3.texts": context.texts,
            "sub3.characters": context.characters,
        }
        if context.cost is not None:
            model = context.cost.model  # of several, the first
            attributes |= {
                "sub3.model": model.name,
                "sub3.config": model.config,
                "sub3.version": model.version,
                "sub3.bits_per_weight": model.bits_per_weight,
            }
        span = self._tracer.start_span(f"{method} {route}", parent, self._kind, attributes, start_time=started_ns)
        if context.cost is not None:
            at_ns = started_ns
            for stage, milliseconds in stages(context.cost.latency_ms).items():
                at_ns += round(1e6 * milliseconds)
                span.add_event(stage, {"ms": milliseconds}, timestamp=at_ns)
        if status >= 500:
            from opentelemetry.trace import StatusCode

            span.set_status(StatusCode.ERROR)
        span.end()

    def close(self) -> None:
        """Send what waits; blocks for as long as the collector takes, or its time-out."""
        self._provider.shutdown()


def stages(timings: StageTimings) -> dict[str, float]:
    """Milliseconds of each stage, in their order, without the total."""
    return {name: getattr(timings, name) for name in StageTimings.__slots__ if name != "total"}
