"""JSON in, typed values out: no liberties of Python's reader, and a fault is named by its field."""

import functools
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal

MAX_JSON_BYTES = 16 << 20  # a hostile document must not fill the memory


def parse_json(text: bytes) -> Any:
    """What JSON's text says. Raises ValueError with a sentence, for duplicate keys and NaN too."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) != len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise _JsonError(f"the key {twice!r} occurs twice in one object")
        return result

    def refuse(constant: str) -> Any:
        raise _JsonError(f"{constant} is not JSON")

    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    except _JsonError:
        raise
    except (ValueError, RecursionError) as error:
        raise _JsonError(f"this is not valid JSON ({error})") from None


class _JsonError(ValueError):
    """Found by us."""


def decode_json(kind: Any, value: Any, where: str) -> Any:
    """A JSON value as the annotated type `kind`. Raises ValueError with a sentence that names the field.

    Args:
        value: what the JSON reader made.
        kind: a dataclass, int, float, str, bool, Literal, X | None, tuple[X, ...], Mapping[str, X] or a NamedTuple.
        where: path of the value in the document, for the sentence.
    """
    if type(value) is kind and kind is not float:
        return value
    origin, arguments = _form(kind)
    if is_dataclass(kind):
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be an object")
        hints = _hints(typing.cast(type, kind))
        prefix = "" if where == "the document" else f"{where}."
        for field in fields(kind):
            if field.name not in value:
                raise ValueError(f"the field {prefix}{field.name} is missing")
        for name in value:
            if name not in hints:
                raise ValueError(f"the field {prefix}{name} is unknown")
        return typing.cast(Any, kind)(
            **{name: decode_json(hints[name], value[name], f"{prefix}{name}") for name in value}
        )
    if origin is types.UnionType:
        return (
            None if value is None else decode_json(next(a for a in arguments if a is not types.NoneType), value, where)
        )
    if origin is Literal:
        if value not in arguments:
            raise ValueError(f"{where} must be one of {', '.join(map(repr, arguments))}, not {value!r}")
        return value
    if origin is tuple and arguments[-1] is Ellipsis:
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list")
        return tuple(decode_json(arguments[0], item, f"{where}[{n}]") for n, item in enumerate(value))
    if origin is tuple or (isinstance(kind, type) and issubclass(kind, tuple)):
        types_of = arguments or tuple(_hints(kind).values())
        if not isinstance(value, list) or len(value) != len(types_of):
            raise ValueError(f"{where} must be a list of {len(types_of)} values")
        if tuple(map(type, value)) == types_of and float not in types_of:
            return tuple(value) if origin is tuple else kind(*value)
        items = [decode_json(t, item, f"{where}[{n}]") for n, (t, item) in enumerate(zip(types_of, value, strict=True))]
        return tuple(items) if origin is tuple else kind(*items)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be an object")
        return {key: decode_json(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 1 << 53 else math.inf
    if type(value) is not kind:
        noun = {int: "a whole number", float: "a number", str: "a string", bool: "true or false"}[kind]
        raise ValueError(f"{where} must be {noun}, not {value!r}")
    if kind is float and not math.isfinite(value):
        raise ValueError(f"{where} must be finite")
    return value


@functools.cache
def _form(kind: Any) -> tuple[Any, tuple[Any, ...]]:
    """Origin and arguments of a type."""
    return typing.get_origin(kind), typing.get_args(kind)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)
