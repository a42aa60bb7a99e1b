"""KServe v2: health, metadata and inference. The versions of a model are its live configurations."""

import re
from math import prod

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from models.format.languages import canonical
from service.api import kserve_bodies
from service.api import kserve_schemas as schemas
from service.api.calls import call_of, cost_headers
from service.api.dialect import Dialect
from service.api.errors import documented
from service.api.json_route import JsonRoute
from service.api.language_codes import meant
from service.api.native_key import SECURITY, native_key
from service.api.openapi import json_body
from service.api.routes import Routes
from service.live.model import Model, NotLive, NotReady
from service.live.registry import Registry
from service.live.routing import UnsupportedPair
from service.requests import pipeline
from service.requests.dispatch import Dispatcher
from service.translation.results import LimitExceeded, Options

EXTENSIONS = ["binary_tensor_data", "model_repository"]
_BINARY = "application/octet-stream"
_BINARY_REPLY = {"content": {_BINARY: {"schema": {"type": "string", "format": "binary"}}}}
PLATFORM = "sub3_bcq"
DIALECT = Dialect(
    paths=re.compile(r"/v2/?\Z|/v2/(health|models)/"),  # the other paths under /v2 are DeepL's
    refusals={
        UnsupportedPair: (400, "{}"),
        LimitExceeded: (400, "{}"),
    },
    head_key=native_key,
)


def router(dispatcher: Dispatcher, registry: Registry, version: str) -> APIRouter:
    """Return the routes; `version` is that of the server."""
    routes = Routes(prefix="/v2", tags=["KServe"], route_class=JsonRoute)

    @routes.get("/health/live", summary="Check liveness")
    async def check_liveness() -> schemas.KserveLive:
        return schemas.KserveLive(live=True)

    @routes.get(
        "/health/ready",
        responses=documented(503),
        summary="Check readiness: every model has passed its self-test",
    )
    async def check_readiness() -> schemas.KserveServerReady:
        if not registry.ready:
            raise NotReady
        return schemas.KserveServerReady(ready=True)

    @routes.get("", summary="Get server metadata")
    async def get_server() -> schemas.KserveServer:
        return schemas.KserveServer(name="sub3", version=version, extensions=EXTENSIONS)

    @routes.get(
        "/models/{model}",
        responses=documented(404, 422, 503),
        summary="Get model metadata; versions are live configurations",
    )
    async def get_model(model: str) -> schemas.KserveModel:
        return _metadata(registry, model)

    @routes.get(
        "/models/{model}/versions/{config}",
        responses=documented(404, 422, 503),
        summary="Get model metadata, if a configuration is live",
    )
    async def get_version(model: str, config: str) -> schemas.KserveModel:
        _require_live(registry, model, config)
        return _metadata(registry, model)

    @routes.get("/models/{model}/ready", responses=documented(404, 422, 503), summary="Check readiness of a model")
    async def check_model(model: str) -> schemas.KserveReady:
        _require_live(registry, model, None)
        return schemas.KserveReady(name=model, ready=True)

    @routes.get(
        "/models/{model}/versions/{config}/ready",
        responses=documented(404, 422, 503),
        summary="Check whether a configuration is live",
    )
    async def check_version(model: str, config: str) -> schemas.KserveReady:
        _require_live(registry, model, config)
        return schemas.KserveReady(name=model, ready=True)

    async def inferred(request: Request, model: str, config: str | None) -> Response:
        head, tensor = kserve_bodies.split(await request.body(), request.headers.get(kserve_bodies.HEAD_LENGTH))
        asked = kserve_bodies.parsed(head, schemas.InferRequest, "texts, languages and the output 'translation'")
        if asked.model_name not in (None, model):
            raise HTTPException(400, f"The address names {model[:100]!r}, model_name is {asked.model_name[:100]!r}.")
        texts = _texts(asked.inputs[0], tensor)
        outcome = await pipeline.translate(
            dispatcher,
            registry,
            call_of(request, native_key(request), model=model, pin=config),
            pipeline.TranslationRequest(texts, _options(registry.find(model), asked.parameters)),
        )
        return _inferred(asked, model, outcome)

    replies = {**documented(400, 401, 403, 404, 413, 422, 429, 503, 504), 200: _BINARY_REPLY}

    @routes.post(
        "/models/{model}/infer",
        response_model=schemas.InferReply,
        responses=replies,
        openapi_extra=json_body(schemas.InferRequest),
        summary="Translate texts with a model",
        **SECURITY,
    )
    async def infer(model: str, request: Request) -> Response:
        return await inferred(request, model, None)

    @routes.post(
        "/models/{model}/versions/{config}/infer",
        response_model=schemas.InferReply,
        responses=replies,
        openapi_extra=json_body(schemas.InferRequest),
        summary="Translate texts with a live configuration of a model",
        **SECURITY,
    )
    async def infer_version(model: str, config: str, request: Request) -> Response:
        return await inferred(request, model, config)

    return routes


def _options(model: Model, asked: schemas.InferParameters) -> Options:
    """Return the languages that are asked for; without any, the model's only source or "auto", and its only target.

    Raises:
        HTTPException: 400, the model has several targets and none is asked for.
    """
    sources, targets = model.directory.config.source_languages, model.directory.config.target_languages
    if asked.target is None and len(targets) > 1:
        raise HTTPException(400, f"Send parameters.target, one of {', '.join(targets)}.")
    source = asked.source or (sources[0] if len(sources) == 1 else pipeline.AUTO)
    pair = canonical(source).lower(), canonical(asked.target or targets[0]).lower()
    return Options(*meant(*pair, model.pairs))


def _texts(given: schemas.InferTensor, tensor: bytes) -> list[str]:
    """Return the texts of an input, from its JSON or from the binary tensor behind the head.

    Raises:
        HTTPException: 400, they are nowhere, or there are other bytes than the input says.
    """
    size = given.parameters.binary_data_size
    if (given.data is None) is (size is None):
        raise HTTPException(400, "Send the texts in `data`, or behind the head with parameters.binary_data_size.")
    if len(tensor) != (size or 0):
        raise HTTPException(400, f"There are {len(tensor)} bytes behind the head; the input says {size or 0}.")
    return kserve_bodies.decode(tensor) if given.data is None else given.data


def _inferred(asked: schemas.InferRequest, model: str, outcome: pipeline.Outcome) -> Response:
    """Return the reply of inference, with the translations in the form that was asked for."""
    texts = [translation.best.text for translation in outcome.translations]
    shape = asked.inputs[0].shape
    output = schemas.InferredTensor(shape=shape if prod(shape) == len(texts) else [len(texts)])
    wanted = asked.outputs[0].parameters.binary_data if asked.outputs else None
    tensor: bytes | None = None
    if asked.parameters.binary_data_output if wanted is None else wanted:
        tensor = kserve_bodies.encode(texts)
        output.parameters = schemas.InferredParameters(binary_data_size=len(tensor))
    else:
        output.data = texts
    head = schemas.InferReply(
        model_name=model,
        model_version=next((identity.config for identity in outcome.cost.weights), None),
        id=asked.id,
        outputs=[output],
    )
    content, headers = head.model_dump_json(exclude_none=True).encode(), cost_headers(outcome.cost)
    if tensor is None:
        return Response(content, headers=headers, media_type="application/json")
    headers[kserve_bodies.HEAD_LENGTH] = str(len(content))
    return Response(content + tensor, headers=headers, media_type=_BINARY)


def _metadata(registry: Registry, name: str) -> schemas.KserveModel:
    model = registry.find(name)
    model.active  # noqa: B018 -- 503 until the model has started
    return schemas.KserveModel(
        name=name,
        versions=[translator.identity.config for translator in model.translators()],
        platform=PLATFORM,
        inputs=[schemas.KserveTensor(name="text")],
        outputs=[schemas.KserveTensor(name="translation")],
    )


def _require_live(registry: Registry, name: str, config: str | None) -> None:
    versions = _metadata(registry, name).versions
    if config is not None and config not in versions:
        raise NotLive(f"{config[:100]!r} is not live; live are {', '.join(versions)}.")
