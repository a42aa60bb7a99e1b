"""Routes whose request body is JSON, read strictly: UTF-8, no NaN, no lone surrogates, no name twice, bounded depth."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

MAX_FIELDS = 200  # of an object or a form; DeepL's clients send up to 50 texts as repeated fields


def media_type(request: Request) -> str:
    """What kind of body the request says that it has, in lower case and without parameters."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def is_json(kind: str) -> bool:
    """Whether a media type is JSON."""
    return kind == "application/json" or kind.endswith("+json")


def parse_json(body: bytes) -> Any:
    """A JSON document.

    Raises:
        HTTPException: 400, it is none.
    """
    try:
        # orjson first: it refuses what is no UTF-8, NaN and lone surrogates, and bounds the depth
        document = orjson.loads(body)
        if isinstance(document, dict):
            if len(document) > MAX_FIELDS:  # before anything is made of each of them
                raise HTTPException(400, f"The JSON object has more than {MAX_FIELDS} fields; no request has.")
            json.loads(body, object_pairs_hook=_unique)  # orjson keeps the last of two names
    except orjson.JSONDecodeError as error:
        raise HTTPException(400, f"The body is not valid JSON: {error.msg} at character {error.pos}.") from None
    except (RecursionError, ValueError):
        sentence = (
            "The JSON has a name twice, a number of thousands of digits, or hundreds of levels; send plainer JSON."
        )
        raise HTTPException(400, sentence) from None
    return document


class JsonRequest(Request):
    """A request that parses its body with `parse_json`."""

    async def json(self) -> Any:
        """The body.

        Raises:
            HTTPException: 400, it is no JSON.
        """
        return parse_json(await self.body())


class JsonRoute(APIRoute):
    """FastAPI's route with JsonRequest for its request."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler that FastAPI calls."""
        handler = super().get_route_handler()
        has_body = self.body_field is not None

        async def strict(request: Request) -> Response:
            if has_body and not is_json(media_type(request)):
                raise HTTPException(415, "Send JSON with the header Content-Type: application/json.")
            return await handler(JsonRequest(request.scope, request.receive))

        return strict


class DirectRoute(JsonRoute):
    """A JsonRoute that calls an endpoint of a body and the request, which makes its own response, without FastAPI.

    FastAPI's reading of the body and of dependencies is a fifth of what a request costs beside the engine; its
    description is as for other routes. Dependencies are not called: they may only describe how a key is sent.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler that FastAPI calls."""
        if self.body_field is None:
            return super().get_route_handler()
        endpoint = self.endpoint
        model: type[BaseModel] = self.body_field.field_info.annotation  # type: ignore[assignment]

        async def direct(request: Request) -> Response:
            if not is_json(media_type(request)):
                raise HTTPException(415, "Send JSON with the header Content-Type: application/json.")
            received = await request.body()
            if not received:
                raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "Field required"}])
            try:
                body = model.model_validate(parse_json(received), from_attributes=True)
            except ValidationError as error:
                problems = error.errors(include_url=False, include_context=False, include_input=False)
                raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in problems]) from None
            response: Response = await endpoint(body, request)
            return response

        return direct


def _unique(pairs: list[tuple[str, Any]]) -> None:
    names = {name for name, _ in pairs}
    if len(names) != len(pairs):
        raise ValueError("an object has a name twice")
