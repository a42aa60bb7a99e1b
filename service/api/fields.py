"""The fields of a request, from a JSON object, a form of either kind, or the query string.

They are read strictly: valid UTF-8, at most MAX_FIELDS fields, no files. BodyLimit bounds the bytes before.
"""

import re
from typing import Any
from urllib.parse import unquote_to_bytes

from fastapi import Request
from starlette.exceptions import HTTPException

from service.api.json_route import MAX_FIELDS, is_json, media_type, parse_json
from service.translation.preparing import prepared

_PIECE = 1 << 16  # characters of a form that are unescaped at once
_OF_AN_ITEM = re.compile(r"(?P<name>\w+)\[(?P<number>[0-9]{1,3})\]\.(?P<field>\w+)")


class Fields:
    """Names and values: of any JSON type from a JSON object; from forms, strings whose names may repeat."""

    def __init__(self, values: dict[str, list[Any]], is_json: bool) -> None:
        """Take the values of each name; `is_json` tells whether they come from a JSON object."""
        self._values, self.is_json = values, is_json

    def first(self, *names: str) -> Any:
        """Return the first value of the first name that has one, or None. JSON's null counts as missing."""
        values = self.every(*names)
        return values[0] if values else None

    def given(self, *names: str) -> Any:
        """Return the same, or None for an empty string: an empty field of a form is one that is missing."""
        value = self.first(*names)
        return None if value == "" else value

    def every(self, *names: str) -> list[Any]:
        """Return all values of the names."""
        return [value for name in names for value in self._values.get(name, ()) if value is not None]

    def items(self, name: str) -> list["Fields"] | None:
        """Return the fields of each object of a list: of a JSON list, or of a form's `name[0].field`, `name[1].field`.

        Returns:
            None if the field is missing.

        Raises:
            HTTPException: 400, the field is something else.
        """
        given = self.first(name)
        if given is not None:
            if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
                raise HTTPException(400, f"Value for '{name}' not supported.")
            return [Fields({field: [value] for field, value in each.items()}, True) for each in given]
        found: dict[int, dict[str, list[Any]]] = {}
        for key, values in self._values.items():
            if (part := _OF_AN_ITEM.fullmatch(key)) and part["name"] == name:
                found.setdefault(int(part["number"]), {})[part["field"]] = values
        return [Fields(found[number], False) for number in sorted(found)] or None


async def read_fields(request: Request) -> Fields:
    """Read the fields of a request: its JSON object, or its query string and form together.

    Raises:
        HTTPException: 400, the body is not valid JSON, UTF-8 or a form, or has too many fields.
    """
    body = await request.body()
    kind = media_type(request)
    if is_json(kind):
        return _of_json(parse_json(body))
    fields = _urlencoded(request.scope["query_string"])
    if kind == "application/x-www-form-urlencoded":
        fields += await prepared(len(body), _urlencoded, body)
    elif kind == "multipart/form-data":
        fields += await _multipart(request, body)
    values: dict[str, list[Any]] = {}
    for name, value in fields:
        values.setdefault(name, []).append(value)
    return Fields(values, False)


def _of_json(document: Any) -> Fields:
    if not isinstance(document, dict):
        raise HTTPException(400, "Invalid JSON format")  # LibreTranslate's text
    return Fields({name: [value] for name, value in document.items()}, True)


def _urlencoded(encoded: bytes) -> list[tuple[str, str]]:
    if encoded.count(b"&") >= MAX_FIELDS:
        raise HTTPException(400, f"The form has more than {MAX_FIELDS} fields.")
    try:
        pairs = [pair.partition("=") for pair in encoded.decode().replace("+", " ").split("&") if pair]
        return [(_unquoted(name), _unquoted(value)) for name, _, value in pairs]
    except UnicodeDecodeError:
        raise HTTPException(400, "The form is not UTF-8.") from None


def _unquoted(text: str) -> str:
    """Return a text without its escapes; a megabyte of them at once would hold the interpreter for 80 ms."""
    pieces, begin = [], 0
    while begin < len(text):
        end = begin + _PIECE
        escape = text.rfind("%", end - 2, end)  # which would be cut
        end = end if escape < 0 else escape
        pieces.append(unquote_to_bytes(text[begin:end]))
        begin = end
    return b"".join(pieces).decode()


async def _multipart(request: Request, body: bytes) -> list[tuple[str, Any]]:
    try:
        body.decode()
    except UnicodeDecodeError:
        raise HTTPException(400, "The form is not UTF-8; files are not taken.") from None
    form = await request.form(max_files=0, max_fields=MAX_FIELDS, max_part_size=len(body))
    return form.multi_items()
