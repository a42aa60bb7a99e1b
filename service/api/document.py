"""The OpenAPI document as this server was started: its keys, its languages and limits."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI

from service.api.admin_guard import SCHEMES
from service.api.azure import written as azure_code
from service.api.deepl_languages import codes as deepl_codes
from service.api.google import written as google_code
from service.api.libretranslate import codes as libretranslate_codes
from service.api.schemas import KEY_IN_BODY, KEY_MARK, STARTED
from service.live.registry import Registry
from service.requests.pipeline import AUTO
from service.settings import Settings

SERVERS = [{"url": "/", "description": "This server."}]
TAGS = [
    {"name": name, "description": description}
    for name, description in {
        "Translation": "Texts: the native API.",
        "Files": "Files: uploaded, translated, downloaded.",
        "Glossaries": "Stored glossaries.",
        "Operation": "Models, health and metrics.",
        "LibreTranslate": "LibreTranslate's API, for its clients.",
        "DeepL": "DeepL's API, for its clients.",
        "Google": "Google's Cloud Translation API, version 2, for its clients.",
        "Azure": "Azure's Translator, version 3, for its clients.",
        "KServe": "KServe v2 and Triton's model repository.",
        "Administration": "What is served, changed live; behind the administrator's token.",
    }.items()
]


def install(app: FastAPI, registry: Registry, settings: Settings) -> None:
    """Make the document say what this server asks for: keys, the languages of its models, its limits.

    The models change while it runs, and the document with them.
    """
    plain = app.openapi
    made: tuple[Mapping[str, Any], dict[str, Any]] | None = None

    def document() -> dict[str, Any]:
        nonlocal made
        values = _values(registry, settings)
        if made is None or made[0] != values:
            filled = copy.deepcopy(plain())
            _fill(filled, values)
            _secure(filled, settings.api_keys)
            made = values, filled
        return made[1]

    app.openapi = document  # type: ignore[method-assign]


def _values(registry: Registry, settings: Settings) -> dict[str, Any]:
    """Return what schemas may refer to by `STARTED`."""
    pairs, direct = registry.pairs(), registry.direct_pairs()
    sources, targets = (list(dict.fromkeys(pair[side] for pair in pairs)) for side in (0, 1))
    deepl_sources, deepl_targets = deepl_codes(pairs)
    google, azure = ([write(code) for code in sorted(registry.languages)] for write in (google_code, azure_code))
    libre_sources, libre_targets = libretranslate_codes(pairs)
    return {
        "sources": [AUTO, *sources],
        "targets": targets,
        "glossary_sources": list(dict.fromkeys(source for source, _ in direct)),
        "glossary_targets": list(dict.fromkeys(target for _, target in direct)),
        "unserved": _others(pairs, lambda source, target: source == target),
        "unserved_by_glossaries": _others(direct, lambda source, target: False),
        "unserved_by_dictionaries": _others(direct, lambda source, target: False, "source_lang", "target_lang"),
        "pairs": len(direct),
        "deepl_sources": ["", *deepl_sources],
        "deepl_targets": deepl_targets,
        "google_sources": ["", AUTO, *google],
        "google_targets": google,
        "azure_sources": ["", *azure],
        "azure_targets": azure,
        "libretranslate_sources": [AUTO, *libre_sources],
        "libretranslate_targets": libre_targets,
        "max_texts": settings.max_texts,
        "max_text_characters": settings.max_text_characters,
        "alternatives": ["", *map(str, range(settings.max_alternatives + 1))],
        "max_alternatives": settings.max_alternatives,
        "max_beam_size": settings.max_beam_size,
    }


def _others(
    pairs: list[tuple[str, str]],
    fits: Callable[[str, str], bool],
    source_name: str = "source",
    target_name: str = "target",
) -> dict[str, Any] | None:
    """Describe requests for pairs that are not served, among languages that are; None if there are none.

    Args:
        pairs: Those that are served.
        fits: Whether a pair that no model translates is taken all the same.
        source_name: The field of the source.
        target_name: The field of the target.
    """
    targets = dict.fromkeys(target for _, target in pairs)
    wrong = {
        source: [target for target in targets if (source, target) not in pairs and not fits(source, target)]
        for source in dict.fromkeys(source for source, _ in pairs)
    }
    cases = [
        {"properties": {source_name: {"const": source}, target_name: {"enum": others}}}
        for source, others in wrong.items()
        if others
    ]
    return {"anyOf": cases} if cases else None


def _fill(node: Any, values: Mapping[str, Any]) -> None:
    """Put values in the places of all `STARTED` in a document."""
    if isinstance(node, dict):
        for keyword, name in node.pop(STARTED, {}).items():
            if values[name] is not None:
                node[keyword] = values[name]
        for child in node.values():
            _fill(child, values)
    elif isinstance(node, list):
        for child in node:
            _fill(child, values)


def _secure(document: dict[str, Any], asks_for_keys: bool) -> None:
    """Leave out the API keys of a server that asks for none; say where nothing is asked for."""
    for item in document["paths"].values():
        for operation in item.values():
            asked = operation.get("security", [])
            if not asks_for_keys:
                asked = [each for each in asked if SCHEMES & each.keys()]
            operation["security"] = asked
    _place_keys(document["paths"], asks_for_keys)
    schemes = document.get("components", {}).get("securitySchemes", {})
    if not asks_for_keys:
        for name in schemes.keys() - SCHEMES:
            del schemes[name]


def _place_keys(node: Any, asks_for_keys: bool) -> None:
    """Require the key in the fields that carry it, or leave it out."""
    if isinstance(node, list):
        if not asks_for_keys:
            node[:] = [child for child in node if not (isinstance(child, dict) and _is_key(child.get("schema")))]
        for child in node:
            _place_keys(child, asks_for_keys)
    if not isinstance(node, dict):
        return
    fields = node.get("properties", {})
    for name, field in [(name, field) for name, field in fields.items() if _is_key(field)]:
        if not asks_for_keys:
            del fields[name]
        elif any(KEY_IN_BODY.items() <= each.items() for each in (field, *field.get("anyOf", ()))):
            fields[name] = {"type": "string", "minLength": 1, "description": "The API key."}
            node["required"] = [*node.get("required", ()), name]
    node.pop(KEY_MARK, None)
    for child in node.values():
        _place_keys(child, asks_for_keys)


def _is_key(field: Any) -> bool:
    return isinstance(field, dict) and (KEY_MARK in field or any(map(_is_key, field.get("anyOf", ()))))
