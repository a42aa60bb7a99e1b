"""OpenTelemetry traces, a span for each request. The SDK is imported only if an OTEL_* endpoint is set."""

import os
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from models import __version__
from service.observability.request_context import RequestContext
from service.translation.cost import STAGES

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class TracingUnavailable(Exception):
    """The environment asks for traces, but the packages are not installed."""


def from_environment() -> "Tracing | None":
    """Return traces to the OTLP/HTTP endpoint of the environment; None if there is none or OTEL_SDK_DISABLED is true.

    The SDK reads the other OTEL_* variables (service name, resource, sampler, headers, batches).

    Raises:
        TracingUnavailable: the SDK is not installed.
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
    own = {"service.name": "sub3", "service.version": __version__}  # the environment's own go first
    given = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    named = {name for name in own if name in given} | ({"service.name"} if "OTEL_SERVICE_NAME" in os.environ else set())
    resource = Resource.create({name: value for name, value in own.items() if name not in named})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


class Tracing:
    """Makes spans, which a thread of the provider sends."""

    def __init__(self, provider: "TracerProvider") -> None:
        """Take a tracer from a provider of the SDK."""
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("sub3")
        self._propagator = TraceContextTextMapPropagator()
        self._kind = SpanKind.SERVER

    def record(
        self, method: str, route: str, status: int, started_ns: int, headers: Headers, context: RequestContext
    ) -> None:
        """Record a span until now; it is the child of the span that the header `traceparent` names.

        Its events are the stages. Their lengths are measured; their places are not: they are laid end to end.

        Args:
            method: of the request.
            route: its template.
            status: of the response.
            started_ns: Unix time.
            headers: of the request.
            context: the request's.
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
            for stage in STAGES:
                milliseconds = getattr(context.cost.latency_ms, stage)
                at_ns += round(1e6 * milliseconds)
                span.add_event(stage, {"ms": milliseconds}, timestamp=at_ns)
        if status >= 500:
            from opentelemetry.trace import StatusCode

            span.set_status(StatusCode.ERROR)
        span.end()

    def close(self) -> None:
        """Send the remaining spans; this blocks for as long as the collector takes, or its time-out."""
        self._provider.shutdown()
