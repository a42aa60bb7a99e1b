"""The /admin routes: what each model serves, and changing that live. They exist only if a token is set."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict
from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import SecretStr

from models.format.directory import ModelDirectory
from models.format.schema import Allocation
from service.api import admin_schemas as schemas
from service.api.admin_guard import BEARER, guarded
from service.api.errors import documented
from service.api.events import EVENT_STREAM, encode
from service.api.metrics_reply import METRICS_REPLY, metrics_reply
from service.api.native import configuration_infos, pair_infos
from service.api.routes import Routes
from service.live import configurations
from service.live.desired import Desired
from service.live.history import Event, History, What
from service.live.model import Model
from service.live.registry import Change, Move, Policy, Registry
from service.live.swaps import Installed, Swaps
from service.observability.metrics import Metrics
from service.process import process_rss_bytes

BEAT_S = 15.0  # seconds without an event, after which a stream sends a keep-alive
RETRY_MS = 1000  # how long a client waits before it connects again


def router(
    tokens: Mapping[str, SecretStr], registry: Registry, swaps: Swaps, history: History, metrics: Metrics
) -> APIRouter:
    """Return the routes, each behind `Authorization: Bearer TOKEN`.

    Args:
        tokens: Name of the administrator -> token.
        registry: The live models.
        swaps: Changes what is served.
        history: The events of each model.
        metrics: Rendered for the page.
    """
    routes = Routes(prefix="/admin", tags=["Administration"], route_class=guarded(tokens), dependencies=[BEARER])
    refusals = documented(401, 404, 409, 422, 503, 507)

    async def change(
        request: Request,
        name: str,
        what: What,
        evolve: Callable[[ModelDirectory, Desired], Desired],
        policy: Policy = "availability",
    ) -> schemas.ConfigReply:
        model = registry.find(name)
        # in a thread: a change that has started is finished even if the client disconnects
        done = await asyncio.to_thread(swaps.change, name, request.state.admin, what, evolve, policy)
        return _reply(model, done, _live(registry, model), swaps.saved(name))

    @routes.get("/models", responses=documented(401), summary="List model directories and which of them are served")
    async def list_models() -> schemas.InstalledReply:
        models = await asyncio.to_thread(swaps.installed)
        return schemas.InstalledReply(
            models=[_installed(entry, swaps) for entry in models],
            pairs=pair_infos(registry),
            memory=_memory(registry),
        )

    @routes.put(
        "/models/{name}",
        responses=refusals,
        summary="Load a model from the server's folder; its language pairs are served when this returns",
    )
    async def load_model(
        name: str, request: Request, config: Annotated[str | None, Query(min_length=1, max_length=200)] = None
    ) -> schemas.ModelMove:
        move = await asyncio.to_thread(swaps.add, name, request.state.admin, config)
        return _moved(name, move, registry, swaps)

    @routes.delete("/models/{name}", responses=refusals, summary="Unload a model; in-flight requests finish")
    async def unload_model(name: str, request: Request) -> schemas.ModelMove:
        move = await asyncio.to_thread(swaps.remove, name, request.state.admin)
        return _moved(name, move, registry, swaps)

    @routes.get(
        "/models/{name}",
        responses=documented(401, 404, 422, 503),
        summary="Get what a model serves, its configurations and its history",
    )
    async def get_model(name: str) -> schemas.AdminModelReply:
        found = registry.find(name)
        active = found.active
        return schemas.AdminModelReply(
            name=name,
            active=active.identity,
            model_bytes=active.model_bytes,
            blocks=_blocks(found.directory, active.allocation),
            live=_live(registry, found),
            canary=found.canary.report() if found.canary else None,
            memory=_memory(registry),
            saved=swaps.saved(name),
            history=history.of(name),
            configurations=configuration_infos(found),
        )

    @routes.put(
        "/models/{name}/config",
        responses=refusals | documented(400, 413, 415),
        summary="Switch the active configuration or start a canary; in-flight requests finish on the old one",
    )
    async def swap_configuration(name: str, body: schemas.ConfigRequest, request: Request) -> schemas.ConfigReply:
        percent = body.canary_percent
        if percent is None:
            return await change(
                request,
                name,
                "swap",
                lambda files, now: now.activate(configurations.choose(files, body.choice)),
                body.policy,
            )
        return await change(
            request,
            name,
            "canary",
            lambda files, now: now.try_out(configurations.choose(files, body.choice), percent),
            body.policy,
        )

    @routes.post(
        "/models/{name}/config/preview",
        responses=documented(400, 401, 404, 413, 415, 422),
        summary="Preview a change of configuration",
    )
    async def preview_configuration(name: str, body: schemas.ConfigRequest) -> schemas.ConfigPreview:
        return await asyncio.to_thread(_preview, registry.find(name).directory, body)

    @routes.post("/models/{name}/promote", responses=refusals, summary="Promote the canary to the active configuration")
    async def promote_canary(name: str, request: Request) -> schemas.ConfigReply:
        return await change(request, name, "promote", lambda _, now: now.promote())

    @routes.post("/models/{name}/rollback", responses=refusals, summary="Roll back the canary")
    async def roll_back_canary(name: str, request: Request) -> schemas.ConfigReply:
        return await change(request, name, "rollback", lambda _, now: now.roll_back())

    @routes.put(
        "/models/{name}/configs/{config}",
        responses=refusals,
        summary="Load a configuration beside the active one, for requests that pin it",
    )
    async def load_configuration(name: str, config: str, request: Request) -> schemas.ConfigReply:
        return await change(request, name, "load", lambda files, now: now.load(configurations.by_name(files, config)))

    @routes.delete("/models/{name}/configs/{config}", responses=refusals, summary="Unload a configuration")
    async def unload_configuration(name: str, config: str, request: Request) -> schemas.ConfigReply:
        return await change(request, name, "unload", lambda _, now: now.unload(config))

    @routes.get(
        "/models/{name}/events",
        response_class=StreamingResponse,
        responses={200: EVENT_STREAM, **documented(401, 404, 422, 429)},
        summary="Stream the history of a model (SSE); Last-Event-ID replays missed events",
    )
    async def follow_model(name: str, last_event_id: Annotated[int | None, Header(ge=0)] = None) -> StreamingResponse:
        registry.find(name)
        stream = history.follow(name, last_event_id, BEAT_S)
        history.check_room()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_server_sent(stream), media_type="text/event-stream", headers=headers)

    @routes.get(
        "/metrics",
        response_class=Response,
        responses={**documented(401), 200: METRICS_REPLY},
        summary="Get Prometheus metrics of this process; unlike /metrics, a proxy passes it on to the page",
    )
    async def get_metrics(request: Request) -> Response:
        return metrics_reply(metrics, request)

    return routes


async def _server_sent(events: AsyncIterator[Event | None]) -> AsyncIterator[bytes]:
    async for event in events:
        if event is None:
            yield b"retry: %d\n\n" % RETRY_MS  # a client's parser makes no event of it
        else:
            yield encode(event.what, orjson.dumps(asdict(event)), event.id)


def _installed(entry: Installed, swaps: Swaps) -> schemas.InstalledModel:
    return schemas.InstalledModel(
        name=entry.name,
        state=entry.state,
        reason=entry.reason,
        source_languages=list(entry.config.source_languages) if entry.config else [],
        target_languages=list(entry.config.target_languages) if entry.config else [],
        active=entry.active or None,
        saved=swaps.saved(entry.name),
    )


def _moved(name: str, move: Move | None, registry: Registry, swaps: Swaps) -> schemas.ModelMove:
    rss_bytes = process_rss_bytes()
    model = registry.models.get(name)
    active = move.active.config if move else model.active.identity.config if model else None
    return schemas.ModelMove(
        name=name,
        result="ok" if move else "unchanged",
        active=active,
        milliseconds=move.milliseconds if move else 0.0,
        pairs=pair_infos(registry),
        saved=swaps.saved(name),
        rss_bytes_before=move.rss_before if move else rss_bytes,
        rss_bytes_after=move.rss_after if move else rss_bytes,
    )


def _memory(registry: Registry) -> schemas.MemoryInfo:
    return schemas.MemoryInfo(process_rss_bytes=process_rss_bytes(), limit_bytes=registry.memory_limit_bytes)


def _reply(model: Model, done: Change, live: list[schemas.LiveInfo], saved: bool) -> schemas.ConfigReply:
    after = done.answers
    quality = configurations.quality(model.directory, after.identity.config)
    return schemas.ConfigReply(
        result="unchanged" if done.unchanged else "ok",
        live=live,
        saved=saved,
        rss_bytes_before=done.rss_before,
        rss_bytes_after=done.rss_after,
        before=done.answered.identity,
        after=after.identity,
        bytes_before=done.answered.model_bytes,
        bytes_after=after.model_bytes,
        blocks=_blocks(model.directory, after.allocation),
        milliseconds=done.milliseconds,
        quality={data: dict(figures) for data, figures in quality.items()},
        warning=configurations.warning(model.directory, after.identity.config),
    )


def _live(registry: Registry, model: Model) -> list[schemas.LiveInfo]:
    wanted = model.wanted
    roles = {wanted.active.name: "active"} | ({wanted.canary.name: "canary"} if wanted.canary else {})
    return [
        schemas.LiveInfo.model_validate(
            {
                "config": translator.identity.config,
                "role": roles.get(translator.identity.config, "loaded"),
                "bits_per_weight": translator.identity.bits_per_weight,
                "model_bytes": translator.model_bytes,
            }
        )
        for translator in model.translators()
    ]


def _preview(directory: ModelDirectory, body: schemas.ConfigRequest) -> schemas.ConfigPreview:
    choice = configurations.choose(directory, body.choice)
    quality = configurations.quality(directory, choice.name)
    return schemas.ConfigPreview(
        config=choice.name,
        bits_per_weight=round(directory.bits_per_weight(choice.allocation), 4),
        bytes=directory.model_bytes(choice.allocation),
        blocks=_blocks(directory, choice.allocation),
        quality={data: dict(figures) for data, figures in quality.items()},
        warning=configurations.warning(directory, choice.name),
    )


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
