"""KServe v2: health, metadata and inference, and Triton's model repository over the configurations of our models.

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
from math import prod
from typing import Literal, TypeVar

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import SecretStr, ValidationError
from starlette.exceptions import HTTPException

from models.format.schema import ModelError, UnavailableConfiguration
from service.api import kserve_binary
from service.api import kserve_schemas as schemas
from service.api.admin_guard import BEARER, TRITON_KEY, guarded
from service.api.calls import call_of, cost_headers
from service.api.dialect import Dialect
from service.api.errors import documented
from service.api.json_route import JsonRoute
from service.api.native_key import SECURITY, native_key
from service.api.openapi import FILE_REPLY, json_body
from service.api.schemas import Body
from service.live import configurations
from service.live.desired import CanaryConflict
from service.live.model import Model, NotLive, NotReady
from service.live.registry import LastModel, Registry
from service.live.routing import UnsupportedPair
from service.live.swaps import Installed, Swaps
from service.requests import pipeline
from service.requests.dispatch import Dispatcher, LimitExceeded
from service.translation.results import Options

EXTENSIONS = ["binary_tensor_data", "model_repository"]
_BINARY = "application/octet-stream"
PLATFORM = "sub3_bcq"
BodyT = TypeVar("BodyT", bound=Body)
DIALECT = Dialect(
    paths=re.compile(r"/v2/?\Z|/v2/(health|models|repository)/"),  # the other paths under /v2 are DeepL's
    refusals={
        UnavailableConfiguration: (400, "{}"),
        ModelError: (400, "{}"),
        UnsupportedPair: (400, "{}"),
        LimitExceeded: (400, "{}"),
        CanaryConflict: (400, "{}"),
        LastModel: (400, "{} To unload one of its configurations, name that in parameters.config."),
    },
)


def router(
    tokens: Mapping[str, SecretStr], dispatcher: Dispatcher, registry: Registry, swaps: Swaps, version: str
) -> APIRouter:
    """Return the routes. The repository's exist only if a token is set, and require it as /admin does.

    Args:
        tokens: Name of the administrator -> token.
        dispatcher: Runs the translations.
        registry: The live models.
        swaps: Changes what is served.
        version: The version of the server.
    """
    routes = APIRouter(prefix="/v2", tags=["KServe"], route_class=JsonRoute)

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
        head, tensor = kserve_binary.split(await request.body(), request.headers.get(kserve_binary.HEAD_LENGTH))
        asked = _parsed(head, schemas.InferRequest, "texts, languages and the output 'translation'")
        texts = _texts(asked.inputs[0], tensor)
        outcome = await pipeline.translate(
            dispatcher,
            registry,
            call_of(request, native_key(request), model=model, pin=config),
            pipeline.TranslationRequest(texts, _options(registry.find(model), asked.parameters)),
        )
        return _inferred(asked, model, outcome)

    replies = {**documented(400, 401, 403, 404, 413, 422, 429, 503, 504), 200: FILE_REPLY}  # JSON, or binary behind it

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

    if tokens:
        routes.include_router(_repository(tokens, registry, swaps))
    return routes


def _repository(tokens: Mapping[str, SecretStr], registry: Registry, swaps: Swaps) -> APIRouter:
    routes = APIRouter(prefix="/repository", route_class=guarded(tokens), dependencies=[BEARER, TRITON_KEY])
    refusals = documented(400, 401, 409, 413, 422, 503, 507)

    @routes.post(
        "/index",
        responses=documented(400, 401, 413),
        openapi_extra=json_body(schemas.RepositoryIndex),
        summary="List models and their configurations",
    )
    async def list_repository(request: Request) -> list[schemas.RepositoryEntry]:
        wanted = await _read(request, schemas.RepositoryIndex)
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
        config = (await _read(request, schemas.RepositoryLoad)).parameters.config
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
        config = (await _read(request, schemas.RepositoryUnload)).parameters.config
        registry.find(model)
        if config is None:
            await asyncio.to_thread(swaps.remove, model, request.state.admin)
        else:
            await asyncio.to_thread(
                swaps.change, model, request.state.admin, "unload", lambda _, now: now.unload(config)
            )
        return Response()

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
    return Options(source, asked.target or targets[0])


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
    return kserve_binary.decode(tensor) if given.data is None else given.data


def _inferred(asked: schemas.InferRequest, model: str, outcome: pipeline.Outcome) -> Response:
    """Return the reply of inference, with the translations in the form that was asked for."""
    texts = [translation.best.text for translation in outcome.translations]
    shape = asked.inputs[0].shape
    output = schemas.InferredTensor(shape=shape if prod(shape) == len(texts) else [len(texts)])
    wanted = asked.outputs[0].parameters.binary_data if asked.outputs else None
    tensor: bytes | None = None
    if asked.parameters.binary_data_output if wanted is None else wanted:
        tensor = kserve_binary.encode(texts)
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
    headers[kserve_binary.HEAD_LENGTH] = str(len(content))
    return Response(content + tensor, headers=headers, media_type=_BINARY)


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


async def _read(request: Request, kind: type[BodyT], taken: str = "a configuration's name") -> BodyT:
    """Read a body of any content type, since Triton's client sends none; an empty body counts as {}.

    `taken` says in an error what a body of this kind may have.

    Raises:
        HTTPException: 400, as for `_parsed`.
    """
    return _parsed(await request.body(), kind, taken)


def _parsed(content: bytes, kind: type[BodyT], taken: str) -> BodyT:
    """Parse a body, or the head of one.

    Raises:
        HTTPException: 400, it is not JSON or not of this kind.
    """
    try:
        return kind.model_validate(orjson.loads(content) if content else {})
    except orjson.JSONDecodeError as error:
        raise HTTPException(400, f"The body is not valid JSON: {error.msg} at character {error.pos}.") from None
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))[:100]
        if problem["type"] == "extra_forbidden":
            sentence = f"{place!r} is not taken: no files, addresses or settings, only {taken}."
            raise HTTPException(400, sentence) from None
        raise HTTPException(400, f"The field {place!r} is refused: {problem['msg']}.") from None
