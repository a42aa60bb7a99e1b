"""The native API: /v1, health checks and /metrics."""

import re
from collections.abc import Callable
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from service.accounts.glossaries import Glossaries
from service.accounts.keys import Keys
from service.api import native_glossaries as glossaries_api
from service.api import schemas
from service.api.calls import TIMEOUT_HEADER, call_of, cost_headers
from service.api.dialect import Dialect, coded_error
from service.api.errors import documented
from service.api.events import STREAM_RESPONSE, Events, EventStream
from service.api.json_route import DirectRoute
from service.api.language_codes import meant
from service.api.metrics_reply import METRICS_REPLY, metrics_reply
from service.api.native_key import SECURITY, native_key
from service.api.routes import Routes
from service.live import configurations
from service.live.model import Model, NotReady
from service.live.registry import Registry
from service.observability.metrics import Metrics
from service.requests import pipeline
from service.requests.dispatch import Dispatcher
from service.text.detection import Detected
from service.translation.cost import NO_RUNGS
from service.translation.preparing import prepared
from service.translation.results import OnSentence, Options, Translation

DIALECT = Dialect(paths=re.compile("/v1/"), error=coded_error, uploads=re.compile("/v1/files"), head_key=native_key)
TIMEOUT_PARAMETER = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "required": False,
    "description": "Time limit of the request in milliseconds, then 504; the server has a default and a maximum.",
    "schema": {"type": "integer", "minimum": 1},
}


def router(
    dispatcher: Dispatcher,
    registry: Registry,
    metrics: Metrics,
    keys: Keys,
    glossaries: Glossaries,
    complaints: Callable[[], list[str]],
) -> APIRouter:
    """Return the routes.

    Args:
        dispatcher: Runs the translations.
        registry: The live models.
        metrics: Rendered at /metrics.
        keys: The API keys.
        glossaries: The stored glossaries.
        complaints: Returns sentences on what fails while requests are served.
    """
    routes = Routes(route_class=DirectRoute)

    translation_route: dict[str, Any] = {
        **SECURITY,
        "tags": ["Translation"],
        "openapi_extra": {"parameters": [TIMEOUT_PARAMETER]},
    }
    refusals = documented(400, 401, 403, 404, 413, 415, 422, 429, 503, 504)

    async def ask(
        body: schemas.TranslateRequest, request: Request, on_sentence: OnSentence | None = None
    ) -> pipeline.Outcome:
        texts = [body.text] if isinstance(body.text, str) else body.text
        options = Options(
            *meant(body.source, body.target, registry.ways),
            body.beam_size,
            body.alternatives,
            body.split_sentences,
            body.alignment,
            prefix=body.prefix or "",
            exact_terms=body.exact,
            shortlist=body.shortlist,
        )
        call = call_of(request, native_key(request), model=body.model, pin=body.config)
        if body.glossary is not None:
            options = await glossaries_api.with_terms(options, body.glossary, glossaries, keys, call.key)
        wanted = pipeline.TranslationRequest(texts, options, on_sentence=on_sentence)
        return await pipeline.translate(dispatcher, registry, call, wanted)

    @routes.post(
        "/v1/translate",
        response_model=schemas.TranslateReply,
        responses=refusals,
        summary="Translate a text or a list of texts",
        **translation_route,
    )
    async def translate(body: schemas.TranslateRequest, request: Request) -> Response:
        outcome = await ask(body, request)
        reply = await prepared(_size(body, outcome), _reply, body, outcome)
        return Response(reply, headers=cost_headers(outcome.cost), media_type="application/json")

    @routes.post(
        "/v1/translate/stream",
        response_class=Response,
        responses={**refusals, 200: STREAM_RESPONSE},
        summary="Translate a text or a list of texts, streaming sentences as they are ready (SSE)",
        **translation_route,
    )
    async def translate_stream(body: schemas.TranslateRequest, request: Request) -> Response:
        async def work(on_sentence: OnSentence) -> bytes:
            outcome = await ask(body, request, on_sentence)
            return await prepared(_size(body, outcome), _reply, body, outcome)

        events = Events(work)
        await events.wait_for_first()  # a refused request gets its status, not a stream
        return EventStream(events.lines(), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})

    operation: dict[str, Any] = {"tags": ["Operation"]}

    @routes.get("/v1/models", **operation, summary="List models, their configurations and language pairs")
    async def list_models() -> schemas.ModelsReply:
        infos = [_model_info(registry, model) for model in registry.models.values()]
        return schemas.ModelsReply(models=infos, pairs=pair_infos(registry))

    @routes.get("/health/live", **operation, response_model_exclude_defaults=True, summary="Check liveness")
    async def check_liveness() -> schemas.Health:
        return schemas.Health(status="live")

    @routes.get(
        "/health/ready",
        **operation,
        responses=documented(503),
        response_model_exclude_defaults=True,
        summary="Check readiness: every model has passed its self-test",
    )
    async def check_readiness() -> schemas.Health:
        if not registry.ready:
            raise NotReady(registry.altered)
        return schemas.Health(status="ready", complaints=complaints())

    @routes.get(
        "/metrics",
        **operation,
        response_class=Response,
        responses={200: METRICS_REPLY},
        summary="Get Prometheus metrics; as OpenMetrics, with request ids as exemplars, to who asks for it",
    )
    async def get_metrics(request: Request) -> Response:
        return metrics_reply(metrics, request)

    return routes


def _size(body: schemas.TranslateRequest, outcome: pipeline.Outcome) -> int:
    """Return how much work a reply is, in characters; without links next to none: some bytes are copied."""
    return sum(outcome.characters) if body.alignment else 0


def _reply(body: schemas.TranslateRequest, outcome: pipeline.Outcome) -> bytes:
    """Return the reply in JSON. Each text is written by itself: all at once would hold the interpreter for 0.2 s."""
    cost = outcome.cost
    reply = schemas.TranslateReply(
        translations=[],
        model=cost.model if cost.weights else None,
        models=None if len(cost.weights) == 1 else list(cost.weights),
        latency_ms=cost.latency_ms,
        memory=cost.memory,
        rungs=None if cost.rungs == NO_RUNGS else cost.rungs,
    )
    written = reply.model_dump(exclude_none=True)
    written["translations"] = [
        orjson.Fragment(_translation(body, *of_text).model_dump_json(exclude_none=True))
        for of_text in zip(outcome.translations, outcome.detected, strict=True)
    ]
    return orjson.dumps(written)


def _translation(
    body: schemas.TranslateRequest, translation: Translation, detected: Detected
) -> schemas.TranslationReply:
    return schemas.TranslationReply(
        text=translation.best.text,
        score=translation.best.score,
        alternatives=[schemas.Alternative(text=a.text, score=a.score) for a in translation.alternatives],
        alignment=[schemas.Link(**link._asdict()) for link in translation.best.alignment] if body.alignment else None,
        cut_sentences=translation.cut_sentences or None,
        detected=schemas.Detected(**detected._asdict()) if body.source == pipeline.AUTO else None,
        via=list(translation.via) or None,
        unchanged=translation.unchanged,
    )


def pair_infos(registry: Registry) -> list[schemas.PairInfo]:
    """Return the language pairs that are served, and the models of each."""
    infos = []
    for (source, target), way in registry.ways.items():
        via = [leg.target for leg in way[:-1]]
        infos.append(schemas.PairInfo(source=source, target=target, via=via, models=[leg.model for leg in way]))
    return infos


def configuration_infos(model: Model) -> list[schemas.ConfigurationInfo]:
    """Return every configuration of a model, with the reason if it cannot be served."""
    infos = []
    for name, configuration in model.directory.config.configurations.items():
        reason = configurations.unavailable(model.directory, configuration)
        infos.append(
            schemas.ConfigurationInfo(
                name=name,
                bits_per_weight=round(configuration.bits_per_weight, 4),
                bytes=configuration.bytes,
                quality={data: dict(figures) for data, figures in configuration.quality.items()},
                available=reason is None,
                reason=reason,
            )
        )
    return infos


def _model_info(registry: Registry, model: Model) -> schemas.ModelInfo:
    config, identity = model.directory.config, model.active.identity
    return schemas.ModelInfo(
        name=config.name,
        source_languages=list(config.source_languages),
        target_languages=list(config.target_languages),
        version=identity.version,
        beam_size=config.beam_size,
        length_penalty=config.length_penalty,
        active=identity.config,
        live=[translator.identity.config for translator in model.translators()],
        default=config.default_configuration,
        configurations=configuration_infos(model),
    )
