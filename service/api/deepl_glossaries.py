"""Glossaries in the dialect of DeepL's API, version 2."""

import asyncio
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from service.accounts.glossaries import Glossaries, Head
from service.accounts.keys import Keys
from service.api.deepl import deepl_key, language_code
from service.api.deepl_schemas import DeeplError
from service.api.errors import documented
from service.api.fields import Fields, form_body, json_reply, read_fields
from service.api.native_glossaries import owner
from service.live.registry import Registry
from service.text.glossary_files import FORMATS, read_entries

TSV = "text/tab-separated-values"
_NOT_FOUND = documented(404, 422, model=DeeplError)
_CREATE = {
    "name": {"type": "string"},
    "source_lang": {"type": "string", "examples": ["en"]},
    "target_lang": {"type": "string", "examples": ["de"]},
    "entries": {"type": "string", "examples": ["printer\tDrucker"], "description": "One a line."},
    "entries_format": {"enum": ["tsv", "csv"]},
}
_GLOSSARY = {
    "type": "object",
    "required": ["glossary_id", "ready", "name", "source_lang", "target_lang", "creation_time", "entry_count"],
    "properties": {
        "glossary_id": {"type": "string"},
        "ready": {"type": "boolean"},
        "name": {"type": "string"},
        "source_lang": {"type": "string"},
        "target_lang": {"type": "string"},
        "creation_time": {"type": "string", "format": "date-time"},
        "entry_count": {"type": "integer"},
    },
}
_GLOSSARIES = {
    "type": "object",
    "required": ["glossaries"],
    "properties": {"glossaries": {"type": "array", "items": _GLOSSARY}},
}
_PAIRS = {
    "type": "object",
    "required": ["supported_languages"],
    "properties": {
        "supported_languages": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["source_lang", "target_lang"],
                "properties": {"source_lang": {"type": "string"}, "target_lang": {"type": "string"}},
            },
        }
    },
}


def router(registry: Registry, keys: Keys, glossaries: Glossaries) -> APIRouter:
    """The routes over one app's parts."""
    refusals = documented(400, 403, 413, 415, 503, model=DeeplError)
    routes = APIRouter(prefix="/v2", tags=["DeepL"], responses=refusals)

    async def owner_of(request: Request) -> str:
        return await owner(keys, deepl_key(request, await read_fields(request)))

    @routes.get(
        "/glossary-language-pairs", responses={200: json_reply(_PAIRS)}, summary="The pairs that glossaries may have"
    )
    async def pairs(request: Request) -> Response:
        await owner_of(request)
        supported = [{"source_lang": source, "target_lang": target} for source, target in registry.direct_pairs()]
        return _reply({"supported_languages": supported})

    @routes.post(
        "/glossaries",
        status_code=201,
        responses={201: json_reply(_GLOSSARY)},
        openapi_extra=form_body(_CREATE, *_CREATE),
        summary="Keep a glossary, for the key; without keys it is everyone's",
    )
    async def create(request: Request) -> Response:
        fields = await read_fields(request)
        of = await owner(keys, deepl_key(request, fields))
        name, source, target, entries = await asyncio.to_thread(_asked, fields, registry.direct_pairs())
        head = await asyncio.to_thread(glossaries.create, of, name, source, target, entries)
        return _reply(_glossary(head), 201)

    @routes.get("/glossaries", responses={200: json_reply(_GLOSSARIES)}, summary="The glossaries of the key")
    async def every(request: Request) -> Response:
        heads = await asyncio.to_thread(glossaries.heads, await owner_of(request))
        return _reply({"glossaries": list(map(_glossary, heads))})

    @routes.get("/glossaries/{glossary_id}", responses={200: json_reply(_GLOSSARY), **_NOT_FOUND}, summary="A glossary")
    async def one(glossary_id: str, request: Request) -> Response:
        of = await owner_of(request)
        return _reply(_glossary(await asyncio.to_thread(glossaries.head, of, glossary_id)))

    @routes.get(
        "/glossaries/{glossary_id}/entries",
        response_class=Response,
        responses={200: {"content": {TSV: {"schema": {"type": "string"}}}}, **_NOT_FOUND},
        summary="A glossary's entries, one a line",
    )
    async def entries(glossary_id: str, request: Request) -> Response:
        of = await owner_of(request)
        found = await asyncio.to_thread(glossaries.entries, of, glossary_id)
        lines = "\n".join(f"{term}\t{translation}" for term, translation in found.items())
        return Response(lines, media_type=TSV)

    @routes.delete("/glossaries/{glossary_id}", status_code=204, responses=_NOT_FOUND, summary="Delete a glossary")
    async def remove(glossary_id: str, request: Request) -> Response:
        await asyncio.to_thread(glossaries.remove, await owner_of(request), glossary_id)
        return Response(status_code=204)

    return routes


def _asked(fields: Fields, pairs: list[tuple[str, str]]) -> tuple[str, str, str, dict[str, str]]:
    """Name, source, target and entries."""
    given: dict[str, str] = {}
    for name in _CREATE:
        value = fields.first(name)
        if not isinstance(value, str) or not value:
            raise HTTPException(400, f"Parameter '{name}' not specified")
        given[name] = value
    source = language_code(fields, "source_lang", {source for source, _ in pairs})
    target = language_code(fields, "target_lang", {target for _, target in pairs})
    assert source is not None  # neither is empty
    assert target is not None
    if (form := given["entries_format"]) not in FORMATS:
        raise HTTPException(400, "Value for 'entries_format' not supported.")
    return given["name"], source, target, read_entries(given["entries"], form)


def _glossary(head: Head) -> dict[str, Any]:
    return {
        "glossary_id": head.id,
        "ready": True,
        "name": head.name,
        "source_lang": head.source,
        "target_lang": head.target,
        "creation_time": head.created,
        "entry_count": head.entries,
    }


def _reply(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
