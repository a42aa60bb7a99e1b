"""/admin: which planes each model serves, and swapping them live. The routes exist only where a token is set."""

import asyncio
import hmac
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from models.format import Allocation, ModelDirectory, UnavailableConfiguration
from service import configurations, schemas
from service.api.json_route import JsonRoute
from service.api.native import configuration_infos
from service.configurations import Choice
from service.errors import documented, status_of
from service.metrics import Metrics
from service.registry import Registry

_log = logging.getLogger("sub3.admin")


def router(token: str, registry: Registry, metrics: Metrics) -> APIRouter:
    """The routes, each behind `Authorization: Bearer <token>`."""
    # The dependency states the scheme in the OpenAPI; the route class checks the token, before any body is read.
    scheme = HTTPBearer(auto_error=False)
    routes = APIRouter(prefix="/admin", route_class=_guarded(token), dependencies=[Depends(scheme)])

    @routes.get(
        "/models/{name}", responses=documented(401, 404, 422, 503), summary="What a model serves, block by block"
    )
    async def model(name: str) -> schemas.AdminModelReply:
        found = registry.find(name)
        active = found.active
        return schemas.AdminModelReply(
            name=name,
            active=active.facts,
            model_bytes=active.model_bytes,
            blocks=_blocks(found.directory, active.allocation),
            configurations=configuration_infos(found),
        )

    @routes.put(
        "/models/{name}/config",
        responses=documented(400, 401, 404, 409, 413, 415, 422, 503),
        summary="Serve another configuration; requests in flight finish on the old one",
    )
    async def swap(name: str, body: schemas.ConfigRequest) -> schemas.ConfigReply:
        directory = registry.find(name).directory
        try:
            # a swap that has begun ends, whether or not the client waits for it
            swapped = await asyncio.to_thread(
                registry.change, name, lambda files, desired: desired.activate(_choose(files, body))
            )
        except UnavailableConfiguration:
            metrics.swapped("refused")
            raise
        except Exception:
            metrics.swapped("failed")
            raise
        metrics.swapped("ok")
        after = swapped.answers
        quality = configurations.quality(directory, after.facts.config)
        return schemas.ConfigReply(
            before=swapped.answered.facts,
            after=after.facts,
            bytes_before=swapped.answered.model_bytes,
            bytes_after=after.model_bytes,
            blocks=_blocks(directory, after.allocation),
            milliseconds=swapped.milliseconds,
            quality={data: dict(figures) for data, figures in quality.items()},
            warning=configurations.warning(directory, after.facts.config),
        )

    return routes


def _choose(directory: ModelDirectory, body: schemas.ConfigRequest) -> Choice:
    if body.config is not None:
        return configurations.by_name(directory, body.config)
    if body.planes is not None:
        return configurations.by_planes(directory, body.planes)
    assert body.memory_budget_bytes is not None  # the schema saw to it
    return configurations.by_budget(directory, body.memory_budget_bytes)


def _blocks(directory: ModelDirectory, allocation: Allocation) -> list[schemas.BlockInfo]:
    return [
        schemas.BlockInfo(
            block=name,
            planes=whole.planes,
            bytes=whole.bytes,
            layers=[schemas.LayerInfo(layer=n, planes=part.planes, bytes=part.bytes) for n, part in layers.items()],
        )
        for name, (whole, layers) in configurations.blocks(directory, allocation).items()
    ]


def _guarded(token: str) -> type[JsonRoute]:
    """A route class that answers 401 without the token, and logs every call."""
    expected = token.encode()

    class AdminRoute(JsonRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                status = 499  # cancelled: nobody is left to answer
                try:
                    scheme, _, given = request.headers.get("authorization", "").partition(" ")
                    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), expected):
                        sentence = "Send the header Authorization: Bearer with the value of SUB3_ADMIN_TOKEN."
                        raise HTTPException(401, sentence, {"WWW-Authenticate": "Bearer"})
                    response = await handler(request)
                    status = response.status_code
                    return response
                except Exception as error:
                    status = status_of(error)
                    raise
                finally:
                    client = request.client.host if request.client else "unknown"
                    _log.info("admin %s %r from %s: %d", request.method, request.url.path, client, status)

            return guarded

    return AdminRoute
