"""Routes with strict JSON bodies: UTF-8, no NaN, no lone surrogates, no repeated names, bounded depth."""

import json
import re
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

MAX_ITEMS = 50_000  # of a list or an object within; a text in a body of a mebibyte has 20 bytes then
MAX_FIELDS = 200  # of an object or a form; DeepL's clients send up to 50 texts as repeated fields
_NAME_END = re.compile(rb'"[ \t\n\r]*:')


def media_type(request: Request) -> str:
    """Return the media type of the body in lower case, without parameters."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def is_json(kind: str) -> bool:
    """Return whether a media type is JSON."""
    return kind == "application/json" or kind.endswith("+json")


def parse_json(body: bytes) -> Any:
    """Parse a JSON document.

    Raises:
        HTTPException: 400, the body is not valid JSON, or an object in it has a name twice.
    """
    try:
        # orjson refuses invalid UTF-8, NaN and lone surrogates, and bounds the depth
        document = orjson.loads(body)
        if isinstance(document, dict | list):
            objects = [document] if isinstance(document, dict) else [part for part in document if type(part) is dict]
            if any(len(each) > MAX_FIELDS for each in objects):  # before anything is made of each of them
                raise HTTPException(400, f"The JSON object has more than {MAX_FIELDS} fields; no request has.")
            # orjson keeps the last of two equal names. Each name in the body ends with a quote and a colon, so if
            # these are as many as the names that were kept, none was lost. Text such as `"a\": b"` counts, too: only
            # then the body is parsed again. (A body of 76 bytes takes 1.6 us; with two parses it took 5.2.)
            if len(_NAME_END.findall(body)) != _count_names(document):
                json.loads(body, object_pairs_hook=_require_unique)
    except orjson.JSONDecodeError as error:
        raise HTTPException(400, f"The body is not valid JSON: {error.msg} at character {error.pos}.") from None
    except (RecursionError, ValueError):
        sentence = (
            "The JSON has a name twice, a number of thousands of digits, or hundreds of levels; send plainer JSON."
        )
        raise HTTPException(400, sentence) from None
    return document


def _count_names(container: dict[str, Any] | list[Any]) -> int:
    """Count the names of all objects in a parsed document.

    Raises:
        HTTPException: 400, one of its lists or objects is larger than that of any request.
    """
    count = 0
    values: Iterable[Any] = container
    if len(container) > MAX_ITEMS:
        raise HTTPException(400, f"A list or object in the JSON has more than {MAX_ITEMS:,} items; no request has.")
    if isinstance(container, dict):
        count, values = len(container), container.values()
    for value in values:
        if type(value) is dict or type(value) is list:  # isinstance is a third slower over a list of texts
            count += _count_names(value)
    return count


def _require_unique(pairs: list[tuple[str, Any]]) -> None:
    """Raise ValueError if an object has a name twice."""
    names = {name for name, _ in pairs}
    if len(names) != len(pairs):
        raise ValueError("an object has a name twice")


class JsonRequest(Request):
    """A request whose body is parsed with `parse_json`."""

    async def json(self) -> Any:
        """Parse the body.

        Raises:
            HTTPException: 400, as for `parse_json`.
        """
        return parse_json(await self.body())


class JsonRoute(APIRoute):
    """FastAPI's route, with bodies parsed by `parse_json`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler that FastAPI calls."""
        handler = super().get_route_handler()
        has_body = self.body_field is not None

        async def strict(request: Request) -> Response:
            if has_body and not is_json(media_type(request)):
                raise HTTPException(415, "Send JSON with the header Content-Type: application/json.")
            strict_request = JsonRequest(request.scope, request.receive)
            if has_body:
                await strict_request.body()  # FastAPI would turn a refusal of it into a 400
            return await handler(strict_request)

        return strict


class DirectRoute(JsonRoute):
    """A JsonRoute that validates the body and calls its endpoint directly; the endpoint makes its own response.

    FastAPI's handling of the body and of dependencies is a fifth of the cost of a request outside the engine. The
    OpenAPI is the same as for other routes. Dependencies are not called: they may only describe how a key is sent.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler that FastAPI calls."""
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
