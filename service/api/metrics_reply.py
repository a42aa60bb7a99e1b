"""The reply to a scrape."""

from typing import Any

from fastapi import Request, Response

from service.observability.metrics import OPEN_METRICS_TYPE, Metrics

# of a route that scrapers ask
METRICS_REPLY: dict[str, Any] = {
    "content": {kind: {"schema": {"type": "string"}} for kind in ("text/plain", OPEN_METRICS_TYPE)}
}


def metrics_reply(metrics: Metrics, request: Request) -> Response:
    """Return the metrics in the format that the scraper takes."""
    text, media_type = metrics.render(request.headers.get("accept", ""))
    return Response(text, media_type=media_type, headers={"Cache-Control": "no-store", "Vary": "Accept"})
