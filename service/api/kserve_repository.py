"""Triton's model repository over the configurations of our models.

The versions of a model are its configurations. A live one, which requests may pin, is READY; one that is being loaded
is LOADING; the others are UNAVAILABLE. A model directory that is not served has one entry without a version.

`load` loads a model, or, with the name of a configuration in `parameters.config`, that configuration beside the active
one. `unload` unloads a configuration, or, without a name, the model; the only model is refused. Triton's clients send
a configuration as a JSON document in a string, which may only contain a name. Files, addresses and other settings are
refused: only what is in the server's folder can be loaded.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import SecretStr

from models.format.schema import ModelError, UnavailableConfiguration
from service.api import kserve_schemas as schemas
from service.api.admin_guard import BEARER, TRITON_KEY, guarded
from service.api.dialect import Dialect
from service.api.errors import documented
from service.api.kserve_bodies import parsed
from service.api.openapi import json_body
from service.api.routes import Routes
from service.live import configurations
from service.live.desired import CanaryConflict
from service.live.model import Model, UnknownModel
from service.live.registry import LastModel, Registry
from service.live.swaps import Installed, Swaps

_TAKEN = "a configuration's name"
DIALECT = Dialect(
    paths=re.compile("/v2/repository/"),
    refusals={
        UnknownModel: (400, "{}"),
        UnavailableConfiguration: (400, "{}"),
        ModelError: (400, "{}"),
        CanaryConflict: (400, "{}"),
        LastModel: (400, "{} To unload one of its configurations, name that in parameters.config."),
    },
)


def router(tokens: Mapping[str, SecretStr], registry: Registry, swaps: Swaps) -> APIRouter:
    """Return the routes, behind the token as /admin is.

    Args:
        tokens: Name of the administrator -> token.
        registry: The live models.
        swaps: Changes what is served.
    """
    routes = Routes(
        prefix="/v2/repository", tags=["KServe"], route_class=guarded(tokens), dependencies=[BEARER, TRITON_KEY]
    )
    refusals = documented(400, 401, 409, 413, 422, 503, 507)

    @routes.post(
        "/index",
        responses=documented(400, 401, 413),
        openapi_extra=json_body(schemas.RepositoryIndex),
        summary="List models and their configurations",
    )
    async def list_repository(request: Request) -> list[schemas.RepositoryEntry]:
        wanted = parsed(await request.body(), schemas.RepositoryIndex, _TAKEN)
        entries = []
        for installed in await asyncio.to_thread(swaps.installed):
            model = registry.models.get(installed.name)
            entries += [_unserved(installed)] if model is None else _entries(registry, model)
        return [entry for entry in entries if entry.state == "READY" or not wanted.ready]

    @routes.post(
        "/models/{model}/load",
        response_class=Response,
        responses=refusals,
        openapi_extra=json_body(schemas.RepositoryLoad),
        summary="Load a model or one of its configurations",
    )
    async def load(model: str, request: Request) -> Response:
        config = parsed(await request.body(), schemas.RepositoryLoad, _TAKEN).parameters.config
        if model not in registry.models:
            await asyncio.to_thread(swaps.add, model, request.state.admin)
        if config is not None:
            await asyncio.to_thread(
                swaps.change,
                model,
                request.state.admin,
                "load",
                lambda files, now: now.load(configurations.by_name(files, config)),
            )
        return Response()

    @routes.post(
        "/models/{model}/unload",
        response_class=Response,
        responses=refusals,
        openapi_extra=json_body(schemas.RepositoryUnload),
        summary="Unload a model or one of its configurations",
    )
    async def unload(model: str, request: Request) -> Response:
        config = parsed(await request.body(), schemas.RepositoryUnload, _TAKEN).parameters.config
        registry.find(model)
        if config is None:
            await asyncio.to_thread(swaps.remove, model, request.state.admin)
        else:
            await asyncio.to_thread(
                swaps.change, model, request.state.admin, "unload", lambda _, now: now.unload(config)
            )
        return Response()

    return routes


def _unserved(installed: Installed) -> schemas.RepositoryEntry:
    loading = installed.state == "loading"
    return schemas.RepositoryEntry(
        name=installed.name,
        version="",
        state="LOADING" if loading else "UNAVAILABLE",
        reason="" if loading else installed.reason or "unloaded",
    )


def _entries(registry: Registry, model: Model) -> list[schemas.RepositoryEntry]:
    """Return every configuration of a model, including live ones that its directory does not name."""
    live = [translator.identity.config for translator in model.translators()]
    entries = []
    for name in dict.fromkeys([*model.directory.config.configurations, *live, *model.loading]):
        state: Literal["READY", "LOADING", "UNAVAILABLE"] = "UNAVAILABLE"
        reason = "unloaded"
        if name in live:
            state, reason = "READY", ""
        elif name in model.loading:
            state, reason = "LOADING", ""
        elif configuration := model.directory.config.configurations.get(name):
            reason = configurations.unavailable(model.directory, configuration) or reason
        entries.append(
            schemas.RepositoryEntry(name=model.directory.config.name, version=name, state=state, reason=reason)
        )
    return entries
