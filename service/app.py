"""The composition root: the whole service on one screen."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

from service.accounts.glossaries import Glossaries
from service.accounts.keys import Keys
from service.api import (
    admin,
    azure,
    deepl,
    deepl_glossaries,
    deepl_languages,
    document,
    errors,
    google,
    kserve,
    kserve_repository,
    libretranslate,
    native,
    page,
)
from service.api import native_files as files_api
from service.api import native_glossaries as glossaries_api
from service.api.body_limit import BodyLimit
from service.api.cross_origin import CrossOrigin
from service.api.dialect import Dialect
from service.api.head_of_get import HeadOfGet
from service.api.key_first import KeyFirst
from service.api.same_origin import SameOrigin
from service.live.configurations import by_name
from service.live.folder import open_models
from service.live.history import History
from service.live.memory import limit_bytes
from service.live.registry import Registry
from service.live.swaps import Swaps
from service.observability.metrics import Metrics
from service.observability.middleware import AccessLog
from service.observability.tracing import from_environment
from service.requests.dispatch import Dispatcher
from service.requests.file_jobs import FileJobs
from service.settings import Settings
from service.stores.opening import open_glossaries, open_keys, open_state
from service.translation.scheduler import Limits, Scheduler


def create_app(settings: Settings) -> FastAPI:
    """Build an app over the settings' models; a process may have several.

    Raises:
        ModelError: every directory is bad. They are opened here, so that bad ones never get as far as a port.
        UnavailableConfiguration: no directory has such a configuration.
        TracingUnavailable: an OTEL_* endpoint is set, but the SDK isn't installed.
        StoreUnavailable: the file of API keys can't be opened, or REDIS_URL is not an address.
    """
    folder, directories = open_models(settings)
    asked = settings.configuration
    if len(directories) == 1 or (asked and all(asked not in found.config.configurations for found in directories)):
        by_name(directories[0], asked or directories[0].config.default_configuration)
    registry = Registry(
        directories,
        settings.max_batch_tokens,
        settings.swap_wait_seconds,
        limit_bytes(settings.memory_limit_bytes),
        settings.max_pivots,
    )
    scheduler = Scheduler(
        Limits(
            threads=settings.threads,
            batch_rows=settings.max_batch_rows,
            batch_tokens=settings.max_batch_tokens,
            encode_tokens=settings.max_encode_tokens,
            queue_tokens=settings.max_queue_tokens,
        )
    )
    keys, tracing = Keys(open_keys(settings) if settings.api_keys else None), from_environment()
    metrics = Metrics(registry.live_configurations, scheduler.load)
    if registry.memory_limit_bytes is not None:
        metrics.gauge("sub3_memory_limit_bytes", "Memory limit.", lambda: registry.memory_limit_bytes or 0)
    metrics.gauge("sub3_key_store_up", "1 while the store of API keys answers.", lambda: not keys.down)
    dispatcher = Dispatcher(settings, registry, scheduler, metrics, keys)
    files = FileJobs(settings, dispatcher, registry, keys)
    glossaries = Glossaries(
        lambda: open_glossaries(settings),
        registry.direct_pairs,
        settings.max_glossaries,
        settings.max_glossary_bytes,
    )
    history = History()
    swaps = Swaps(registry, folder, open_state(settings), history, metrics)
    metrics.gauge("sub3_state_store_up", "1 while the desired state is kept over a restart.", lambda: not swaps.down)

    def complaints() -> list[str]:
        stores = ((keys.down, "API keys"), (swaps.down, "the desired state"))
        return [
            *(f"The store of {what} does not answer; what was known last holds." for down, what in stores if down),
            # anybody may ask: the reason, which names paths, is for administrators
            *(f"The model {name} is not served; /admin/models and the log say why." for name in sorted(folder.faults)),
        ]

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(swaps.start, settings.configuration, settings.loaded_names)
        scheduler.start()
        try:
            yield
        finally:
            await asyncio.to_thread(swaps.close)
            await files.close()
            await dispatcher.close()
            await asyncio.to_thread(scheduler.close)
            registry.close()
            if tracing is not None:
                await asyncio.to_thread(tracing.close)

    app = FastAPI(
        title="sub3",
        telemetry={"tracing": False, "metrics": False, "logs": False},  # FastAPI's own would export query strings
        description="Translation with weights of one to eight binary planes, and what each request cost.",
        lifespan=lifespan,
        openapi_url=None,  # FastAPI's writes the document on the event loop, each time; see api/page.py
        docs_url=None,  # and these load scripts from another host
        redoc_url=None,
        servers=document.SERVERS,
        openapi_tags=document.TAGS,
    )
    document.install(app, registry, settings)
    app.state.registry, app.state.scheduler, app.state.history = registry, scheduler, history
    # A request tries the routes in this order. They are added themselves: `include_router` builds each a second time,
    # at the first request, and held the loop for 50 to 130 ms.
    app.router.routes.extend(page.router().routes)
    apis: list[tuple[Dialect, list[APIRouter]]] = [
        (
            native.DIALECT,
            [
                native.router(dispatcher, registry, metrics, keys, glossaries, complaints),
                glossaries_api.router(keys, glossaries),
                files_api.router(files, registry, keys, glossaries),
            ],
        ),
        (libretranslate.DIALECT, [libretranslate.router(dispatcher, registry, settings, keys, files, glossaries)]),
        (
            deepl.DIALECT,
            [
                deepl.router(dispatcher, registry, keys, files, glossaries),
                deepl_glossaries.router(registry, keys, glossaries),
                deepl_languages.router(registry, keys),
            ],
        ),
        (google.DIALECT, [google.router(dispatcher, registry, keys)]),
        (azure.DIALECT, [azure.router(dispatcher, registry, settings, keys)]),
        (kserve.DIALECT, [kserve.router(dispatcher, registry, app.version)]),
        (
            kserve_repository.DIALECT,
            [kserve_repository.router(settings.admin_names, registry, swaps)] if settings.admin_names else [],
        ),
    ]
    for _, routers in apis:
        for router in routers:
            app.router.routes.extend(router.routes)
    if settings.admin_names:
        administration = admin.router(settings.admin_names, registry, swaps, history, metrics)
        app.router.routes.extend(administration.routes)
    dialects = [dialect for dialect, _ in apis]
    errors.install(app, dialects)
    app.add_middleware(
        BodyLimit,
        dialects=dialects,
        max_bytes=settings.max_body_bytes,
        max_file_bytes=settings.max_file_bytes,
        max_header_bytes=settings.max_header_bytes,
    )
    app.add_middleware(KeyFirst, keys=keys, dialects=dialects)
    app.add_middleware(SameOrigin, dialects=dialects)
    app.add_middleware(CrossOrigin, dialects=dialects)
    app.add_middleware(HeadOfGet)
    app.add_middleware(azure.AzureAddress)
    app.add_middleware(AccessLog, metrics=metrics, tracing=tracing)  # outermost: it sees the refusals of the others
    return app
