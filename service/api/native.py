"""The native dialect: /v1, the health checks and /metrics."""

import time
from functools import partial

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from service import configurations, schemas
from service.api.connection import while_connected
from service.api.json_route import JsonRoute
from service.errors import documented
from service.metrics import Cost, Memory, Metrics, Timings, milliseconds_since, process_rss_bytes
from service.registry import Model, NotReady, Registry
from service.scheduler import Done, Scheduler
from service.settings import Settings
from service.translator import Options, Translated, Translator


def router(settings: Settings, registry: Registry, scheduler: Scheduler, metrics: Metrics) -> APIRouter:
    """The routes over one app's parts."""
    routes = APIRouter(route_class=JsonRoute)

    @routes.post(
        "/v1/translate",
        response_model=schemas.TranslateReply,
        responses=documented(400, 413, 415, 422, 429, 503),
        summary="Translate one text or a list",
    )
    async def translate(body: schemas.TranslateRequest, request: Request) -> Response:
        accepted = time.perf_counter()
        texts = [body.text] if isinstance(body.text, str) else body.text
        check_limits(body, texts, settings)
        options = Options(body.source, body.target, body.beam_size, body.alternatives)
        with registry.lease(options.source, options.target) as translator:
            work = partial(translator.translate, texts, options)
            done = await while_connected(request, scheduler.run(work))
            cost = _cost(translator, done, accepted)
        metrics.translated(len(texts), cost.latency_ms)
        reply = schemas.TranslateReply(
            translations=[
                schemas.Translation(
                    text=translation.best.text,
                    score=translation.best.score,
                    alternatives=[schemas.Alternative(text=a.text, score=a.score) for a in translation.alternatives],
                )
                for translation in done.value.translations
            ],
            model=cost.model,
            latency_ms=cost.latency_ms,
            memory=cost.memory,
        )
        return Response(reply.model_dump_json(), headers=cost.headers(), media_type="application/json")

    @routes.get("/v1/models", summary="The models, their configurations and what each costs")
    async def models() -> schemas.ModelsReply:
        return schemas.ModelsReply(models=[_model_info(model) for model in registry.models.values()])

    @routes.get("/health/live", summary="Whether the process answers")
    async def live() -> schemas.Health:
        return schemas.Health(status="live")

    @routes.get("/health/ready", responses=documented(503), summary="Whether every model has translated a sentence")
    async def ready() -> schemas.Health:
        if not registry.ready:
            raise NotReady
        return schemas.Health(status="ready")

    @routes.get("/metrics", response_class=Response, summary="Prometheus")
    async def prometheus() -> Response:
        return Response(metrics.render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return routes


def check_limits(body: schemas.TranslateRequest, texts: list[str], settings: Settings) -> None:
    """Refuse what exceeds the settings' limits.

    Raises:
        HTTPException: 422 with the limit in its sentence.
    """
    if not texts:
        raise HTTPException(422, "The list of texts is empty; send at least one text.")
    if len(texts) > settings.max_texts:
        raise HTTPException(422, f"{len(texts)} texts are too many; send up to {settings.max_texts} in a request.")
    for number, text in enumerate(texts, 1):
        if not text:
            raise HTTPException(422, f"Text {number} is empty; leave it out.")
        if len(text) > settings.max_text_characters:
            raise HTTPException(
                422, f"Text {number} has {len(text):,} characters; the limit is {settings.max_text_characters:,}."
            )
    if body.beam_size > settings.max_beam_size:
        raise HTTPException(422, f"beam_size is {body.beam_size}; the limit is {settings.max_beam_size}.")
    if body.alternatives > settings.max_alternatives:
        raise HTTPException(422, f"alternatives is {body.alternatives}; the limit is {settings.max_alternatives}.")


def configuration_infos(model: Model) -> list[schemas.ConfigurationInfo]:
    """Every configuration of a model, with the reason where it can't be served."""
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


def _model_info(model: Model) -> schemas.ModelInfo:
    config, facts = model.directory.config, model.active.facts
    return schemas.ModelInfo(
        name=config.name,
        source_languages=list(config.source_languages),
        target_languages=list(config.target_languages),
        version=facts.version,
        active=facts.config,
        default=config.default_configuration,
        configurations=configuration_infos(model),
    )


def _cost(translator: Translator, done: Done[Translated], accepted: float) -> Cost:
    """The one record of what a request cost; `accepted` is a time of time.perf_counter."""
    work = done.value
    return Cost(
        model=translator.facts,
        latency_ms=Timings(
            queue=round(done.queue_ms, 3),
            tokenize=work.tokenize_ms,
            encode=work.encode_ms,
            decode=work.decode_ms,
            detokenize=work.detokenize_ms,
            total=milliseconds_since(accepted),
        ),
        memory=Memory(
            model_bytes=translator.model_bytes,
            workspace_peak_bytes=work.workspace_peak_bytes,
            kv_cache_peak_bytes=work.kv_cache_peak_bytes,
            process_rss_bytes=process_rss_bytes(),
        ),
    )
