"""The fields of a request, however a client sends them: a JSON object, a form (of either kind), the query string.

Read strictly and within bounds: UTF-8 or 400, few fields, no files. The body limit has counted the bytes before.
"""

from typing import Any
from urllib.parse import parse_qsl

from fastapi import Request
from starlette.exceptions import HTTPException

from service.api.json_route import MAX_FIELDS, is_json, media_type, parse_json


class Fields:
    """Names with their values: of any JSON type from a JSON object, strings from elsewhere, where names may repeat."""

    def __init__(self, values: dict[str, list[Any]], is_json: bool) -> None:
        """`is_json`: whether they come from a JSON object."""
        self._values, self.is_json = values, is_json

    def first(self, *names: str) -> Any:
        """The first value of the first of the names that has one; None (and JSON's null) is no value."""
        values = self.every(*names)
        return values[0] if values else None

    def every(self, *names: str) -> list[Any]:
        """All values of the names."""
        return [value for name in names for value in self._values.get(name, ()) if value is not None]


async def read_fields(request: Request) -> Fields:
    """The fields of a request: its JSON object, or else its query string and form together.

    Raises:
        HTTPException: 400, they can't be read.
    """
    body = await request.body()
    kind = media_type(request)
    if is_json(kind):
        return _of_json(parse_json(body))
    fields = _urlencoded(request.scope["query_string"])
    if kind == "application/x-www-form-urlencoded":
        fields += _urlencoded(body)
    elif kind == "multipart/form-data":
        fields += await _multipart(request, body)
    values: dict[str, list[Any]] = {}
    for name, value in fields:
        values.setdefault(name, []).append(value)
    return Fields(values, False)


def _of_json(document: Any) -> Fields:
    if not isinstance(document, dict):
        raise HTTPException(400, "Invalid JSON format")  # LibreTranslate's words
    return Fields({name: [value] for name, value in document.items()}, True)


def _urlencoded(encoded: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(encoded.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except UnicodeDecodeError:
        raise HTTPException(400, "The form is not UTF-8.") from None
    except ValueError:
        raise HTTPException(400, f"The form has more than {MAX_FIELDS} fields.") from None


async def _multipart(request: Request, body: bytes) -> list[tuple[str, Any]]:
    try:
        body.decode()
    except UnicodeDecodeError:
        raise HTTPException(400, "The form is not UTF-8; files are not taken.") from None
    form = await request.form(max_files=0, max_fields=MAX_FIELDS, max_part_size=len(body))
    return form.multi_items()
