"""/admin: what each model serves, and changing that live. The routes exist only where a token is set."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPBearer
from pydantic import SecretStr

from models.format.directory import ModelDirectory
from models.format.schema import Allocation
from service.api import schemas
from service.api.admin_guard import guarded
from service.api.errors import documented
from service.api.native import configuration_infos, pair_infos
from service.live import configurations
from service.live.configurations import Choice
from service.live.desired import Desired
from service.live.history import Event, History, What
from service.live.registry import Change, Model, Move, Policy, Registry
from service.live.swaps import Installed, Swaps
from service.observability.metrics import METRICS_TYPE, Metrics, process_rss_bytes

BEAT_S = 15.0  # of silence, after which a stream of events says that it is still there
RETRY_MS = 1000


def router(
    tokens: Mapping[str, SecretStr], registry: Registry, swaps: Swaps, history: History, metrics: Metrics
) -> APIRouter:
    """The routes, each behind `Authorization: Bearer <one of the tokens>`."""
    # The dependency states the scheme in the OpenAPI; the route class checks the token, before any body is read.
    scheme = HTTPBearer(auto_error=False)
    routes = APIRouter(prefix="/admin", route_class=guarded(tokens), dependencies=[Depends(scheme)])
    refusals = documented(401, 404, 409, 422, 503, 507)

    async def change(
        request: Request,
        name: str,
        what: What,
        evolve: Callable[[ModelDirectory, Desired], Desired],
        policy: Policy = "availability",
    ) -> schemas.ConfigReply:
        model = registry.find(name)
        # a change that has begun ends, whether or not the client waits for it
        done = await asyncio.to_thread(swaps.change, name, request.state.admin, what, evolve, policy)
        return _reply(model, done, _live(registry, model), swaps.saved(name))

    @routes.get("/models", responses=documented(401), summary="The model directories, and which of them are served")
    async def installed() -> schemas.InstalledReply:
        models = await asyncio.to_thread(swaps.installed)
        return schemas.InstalledReply(
            models=[_installed(entry, swaps) for entry in models],
            pairs=pair_infos(registry),
            memory=_memory(registry),
        )

    @routes.put(
        "/models/{name}",
        responses=refusals,
        summary="Serve a model directory of the server's folder; its languages are there when this is answered",
    )
    async def add(
        name: str, request: Request, config: Annotated[str | None, Query(min_length=1, max_length=200)] = None
    ) -> schemas.ModelMove:
        move = await asyncio.to_thread(swaps.add, name, request.state.admin, config)
        return _moved(name, move, registry, swaps)

    @routes.delete(
        "/models/{name}", responses=refusals, summary="Serve a model no longer; requests in flight finish on it"
    )
    async def remove(name: str, request: Request) -> schemas.ModelMove:
        move = await asyncio.to_thread(swaps.remove, name, request.state.admin)
        return _moved(name, move, registry, swaps)

    @routes.get(
        "/models/{name}", responses=documented(401, 404, 422, 503), summary="What a model serves, and how it came to it"
    )
    async def model(name: str) -> schemas.AdminModelReply:
        found = registry.find(name)
        active = found.active
        return schemas.AdminModelReply(
            name=name,
            active=active.facts,
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
        summary="Serve another configuration, or give it a share; requests in flight finish on the old one",
    )
    async def swap(name: str, body: schemas.ConfigRequest, request: Request) -> schemas.ConfigReply:
        percent = body.canary_percent
        if percent is None:
            return await change(
                request, name, "swap", lambda files, now: now.activate(choose(files, body)), body.policy
            )
        return await change(
            request, name, "canary", lambda files, now: now.try_out(choose(files, body), percent), body.policy
        )

    @routes.post(
        "/models/{name}/config/preview",
        responses=documented(400, 401, 404, 413, 415, 422),
        summary="What such a change would make live; nothing changes",
    )
    async def preview(name: str, body: schemas.ConfigRequest) -> schemas.ConfigPreview:
        return await asyncio.to_thread(_preview, registry.find(name).directory, body)

    @routes.post("/models/{name}/promote", responses=refusals, summary="The canary becomes the active configuration")
    async def promote(name: str, request: Request) -> schemas.ConfigReply:
        return await change(request, name, "promote", lambda _, now: now.promote())

    @routes.post("/models/{name}/rollback", responses=refusals, summary="The canary ends")
    async def rollback(name: str, request: Request) -> schemas.ConfigReply:
        return await change(request, name, "rollback", lambda _, now: now.roll_back())

    @routes.put(
        "/models/{name}/configs/{config}",
        responses=refusals,
        summary="Have a configuration live beside the active one, for requests that pin it",
    )
    async def load(name: str, config: str, request: Request) -> schemas.ConfigReply:
        return await change(request, name, "load", lambda files, now: now.load(configurations.by_name(files, config)))

    @routes.delete("/models/{name}/configs/{config}", responses=refusals, summary="Have it live no longer")
    async def unload(name: str, config: str, request: Request) -> schemas.ConfigReply:
        return await change(request, name, "unload", lambda _, now: now.unload(config))

    @routes.get(
        "/models/{name}/events",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {}}}, **documented(401, 404, 422, 429)},
        summary="The history as it happens, as server-sent events; Last-Event-ID replays what was missed",
    )
    async def events(name: str, last_event_id: Annotated[int | None, Header(ge=0)] = None) -> StreamingResponse:
        registry.find(name)
        stream = history.follow(name, last_event_id, BEAT_S)
        history.check_room()
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_server_sent(stream), media_type="text/event-stream", headers=headers)

    @routes.get(
        "/metrics",
        response_class=Response,
        responses=documented(401),
        summary="What /metrics says of this process, for the page: a proxy may keep the other one to itself",
    )
    async def prometheus() -> Response:
        return Response(metrics.render(), media_type=METRICS_TYPE, headers={"Cache-Control": "no-store"})

    return routes


async def _server_sent(events: AsyncIterator[Event | None]) -> AsyncIterator[bytes]:
    async for event in events:
        if event is None:
            yield b"retry: %d\n\n" % RETRY_MS  # to the client's parser this is no event
        else:
            yield b"id: %d\nevent: %s\ndata: %s\n\n" % (event.id, event.what.encode(), orjson.dumps(asdict(event)))


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
    active = move.active.config if move else model.active.facts.config if model else None
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
    quality = configurations.quality(model.directory, after.facts.config)
    return schemas.ConfigReply(
        result="unchanged" if done.unchanged else "ok",
        live=live,
        saved=saved,
        rss_bytes_before=done.rss_before,
        rss_bytes_after=done.rss_after,
        before=done.answered.facts,
        after=after.facts,
        bytes_before=done.answered.model_bytes,
        bytes_after=after.model_bytes,
        blocks=_blocks(model.directory, after.allocation),
        milliseconds=done.milliseconds,
        quality={data: dict(figures) for data, figures in quality.items()},
        warning=configurations.warning(model.directory, after.facts.config),
    )


def _live(registry: Registry, model: Model) -> list[schemas.LiveInfo]:
    wanted = model.wanted
    roles = {wanted.active.name: "active"} | ({wanted.canary.name: "canary"} if wanted.canary else {})
    return [
        schemas.LiveInfo.model_validate(
            {
                "config": translator.facts.config,
                "role": roles.get(translator.facts.config, "loaded"),
                "bits_per_weight": translator.facts.bits_per_weight,
                "model_bytes": translator.model_bytes,
            }
        )
        for translator in registry.translators(model)
    ]


def choose(directory: ModelDirectory, body: schemas.ConfigRequest) -> Choice:
    """The configuration that a body asks for. Raises UnavailableConfiguration."""
    if body.config is not None:
        return configurations.by_name(directory, body.config)
    if body.planes is not None:
        return configurations.by_planes(directory, body.planes)
    assert body.memory_budget_bytes is not None  # the schema saw to it
    return configurations.by_budget(directory, body.memory_budget_bytes)


def _preview(directory: ModelDirectory, body: schemas.ConfigRequest) -> schemas.ConfigPreview:
    choice = choose(directory, body)
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
