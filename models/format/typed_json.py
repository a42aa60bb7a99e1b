"""JSON in, typed values out: no liberties of Python's reader, and a fault is named by its field."""

import functools
import json
import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

MAX_JSON_BYTES = 16 << 20  # a hostile document must not fill the memory

_Decode = Callable[[Any, str], Any]  # (value, its path in the document) -> the typed value


class _JsonError(ValueError):
    """Found by us."""


def parse_json(text: bytes) -> Any:
    """Read JSON. Raises ValueError with a sentence, for duplicate keys and NaN too."""

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


def decode_json(kind: Any, value: Any, where: str) -> Any:
    """Turn a JSON value into the annotated type `kind`.

    Args:
        kind: a dataclass, whose fields with defaults may be missing; or int, float, str, bool, Literal, X | None,
            tuple[X, ...], Mapping[str, X] or a NamedTuple.
        value: what the JSON reader made.
        where: path of the value in the document, for the sentence; "the document" for all of it.

    Raises:
        ValueError: with a sentence that names the field.
    """
    return _decoder(kind)(value, where)


@functools.cache
def _decoder(kind: Any) -> _Decode:
    """Make the decoder of a type: once, since a document has thousands of values of a dozen types."""
    origin, arguments = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _dataclass(kind)
    if origin is types.UnionType:
        return _optional(next(argument for argument in arguments if argument is not types.NoneType))
    if origin is Literal:
        return _literal(arguments)
    if origin is tuple and arguments[-1] is Ellipsis:
        return _sequence(arguments[0])
    if origin is tuple:
        return _tuple(arguments, lambda *items: items)
    if isinstance(kind, type) and issubclass(kind, tuple):
        return _tuple(tuple(get_type_hints(kind).values()), kind)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(arguments[1])
    return _float if kind is float else _scalar(kind)


def _dataclass(kind: Any) -> _Decode:
    hints = get_type_hints(kind)
    needed = [field.name for field in fields(kind) if field.default is MISSING and field.default_factory is MISSING]
    decoders = {field.name: _decoder(hints[field.name]) for field in fields(kind)}

    def decode(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be an object")
        prefix = "" if where == "the document" else f"{where}."
        if value.keys() != decoders.keys():
            for name in needed:
                if name not in value:
                    raise ValueError(f"the field {prefix}{name} is missing")
            for name in value:
                if name not in decoders:
                    raise ValueError(f"the field {prefix}{name} is unknown")
        return kind(**{name: decoders[name](item, f"{prefix}{name}") for name, item in value.items()})

    return decode


def _optional(kind: Any) -> _Decode:
    inner = _decoder(kind)
    return lambda value, where: None if value is None else inner(value, where)


def _literal(choices: tuple[Any, ...]) -> _Decode:
    def decode(value: Any, where: str) -> Any:
        if value not in choices:
            raise ValueError(f"{where} must be one of {', '.join(map(repr, choices))}, not {value!r}")
        return value

    return decode


def _sequence(kind: Any) -> _Decode:
    inner = _decoder(kind)

    def decode(value: Any, where: str) -> Any:
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list")
        return tuple([inner(item, f"{where}[{n}]") for n, item in enumerate(value)])

    return decode


def _tuple(kinds: tuple[Any, ...], make: Callable[..., Any]) -> _Decode:
    decoders = [_decoder(kind) for kind in kinds]
    exact = kinds if float not in kinds else None  # lists of just these types need no further look

    def decode(value: Any, where: str) -> Any:
        if not isinstance(value, list) or len(value) != len(kinds):
            raise ValueError(f"{where} must be a list of {len(kinds)} values")
        if tuple(map(type, value)) == exact:
            return make(*value)
        return make(
            *[inner(item, f"{where}[{n}]") for n, (inner, item) in enumerate(zip(decoders, value, strict=True))]
        )

    return decode


def _mapping(kind: Any) -> _Decode:
    inner = _decoder(kind)

    def decode(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise ValueError(f"{where} must be an object")
        return {key: inner(item, f"{where}.{key}") for key, item in value.items()}

    return decode


def _scalar(kind: type) -> _Decode:
    noun = {int: "a whole number", str: "a string", bool: "true or false"}[kind]

    def decode(value: Any, where: str) -> Any:
        if type(value) is not kind:
            raise ValueError(f"{where} must be {noun}, not {value!r}")
        return value

    return decode


def _float(value: Any, where: str) -> float:
    if isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 1 << 53 else math.inf
    if type(value) is not float:
        raise ValueError(f"{where} must be a number, not {value!r}")
    if not math.isfinite(value):
        raise ValueError(f"{where} must be finite")
    return value
