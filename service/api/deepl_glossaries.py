"""The glossary routes of DeepL's API, version 2."""

import asyncio

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from service.accounts.glossaries import Glossaries, Head
from service.accounts.keys import Keys
from service.api.deepl import deepl_key, language_code
from service.api.deepl_schemas import (
    DeeplError,
    DeeplGlossaries,
    DeeplGlossary,
    DeeplGlossaryPairs,
    GlossaryFields,
)
from service.api.errors import documented
from service.api.fields import Fields, read_fields
from service.api.json_reply import JsonReply
from service.api.native_glossaries import owner
from service.api.native_key import DEEPL_SECURITY
from service.api.openapi import form_body
from service.live.registry import Registry
from service.text.glossary_files import FORMATS, read_entries

TSV = "text/tab-separated-values"
_NOT_FOUND = documented(404, 422, model=DeeplError)


def router(registry: Registry, keys: Keys, glossaries: Glossaries) -> APIRouter:
    """Return the routes."""
    refusals = documented(400, 403, 413, 415, 503, model=DeeplError)
    routes = APIRouter(prefix="/v2", tags=["DeepL"], dependencies=[DEEPL_SECURITY], responses=refusals)

    async def owner_of(request: Request) -> str:
        return await owner(keys, deepl_key(request, await read_fields(request)))

    @routes.get(
        "/glossary-language-pairs",
        response_model=DeeplGlossaryPairs,
        summary="List the language pairs that glossaries support",
    )
    async def list_glossary_pairs(request: Request) -> Response:
        await owner_of(request)
        supported = [{"source_lang": source, "target_lang": target} for source, target in registry.direct_pairs()]
        return JsonReply({"supported_languages": supported})

    @routes.post(
        "/glossaries",
        status_code=201,
        response_model=DeeplGlossary,
        openapi_extra=form_body(GlossaryFields),
        summary="Create a glossary (owned by the API key, shared if keys are off)",
    )
    async def create_glossary(request: Request) -> Response:
        fields = await read_fields(request)
        of = await owner(keys, deepl_key(request, fields))
        name, source, target, entries = await asyncio.to_thread(_asked, fields, registry.direct_pairs())
        head = await asyncio.to_thread(glossaries.create, of, name, source, target, entries)
        return JsonReply(_glossary(head), 201)

    @routes.get("/glossaries", response_model=DeeplGlossaries, summary="List the glossaries of the API key")
    async def list_glossaries(request: Request) -> Response:
        heads = await asyncio.to_thread(glossaries.heads, await owner_of(request))
        return JsonReply({"glossaries": list(map(_glossary, heads))})

    @routes.get(
        "/glossaries/{glossary_id}",
        response_model=DeeplGlossary,
        responses=_NOT_FOUND,
        summary="Get a glossary without its entries",
    )
    async def get_glossary(glossary_id: str, request: Request) -> Response:
        of = await owner_of(request)
        return JsonReply(_glossary(await asyncio.to_thread(glossaries.head, of, glossary_id)))

    @routes.get(
        "/glossaries/{glossary_id}/entries",
        response_class=Response,
        responses={200: {"content": {TSV: {"schema": {"type": "string"}}}}, **_NOT_FOUND},
        summary="Get the entries of a glossary as tab-separated values",
    )
    async def get_glossary_entries(glossary_id: str, request: Request) -> Response:
        of = await owner_of(request)
        found = await asyncio.to_thread(glossaries.entries, of, glossary_id)
        lines = "\n".join(f"{term}\t{translation}" for term, translation in found.items())
        return Response(lines, media_type=TSV)

    @routes.delete("/glossaries/{glossary_id}", status_code=204, responses=_NOT_FOUND, summary="Delete a glossary")
    async def delete_glossary(glossary_id: str, request: Request) -> Response:
        await asyncio.to_thread(glossaries.remove, await owner_of(request), glossary_id)
        return Response(status_code=204)

    return routes


def _asked(fields: Fields, pairs: list[tuple[str, str]]) -> tuple[str, str, str, dict[str, str]]:
    """Return the name, source language, target language and entries of a new glossary."""
    given: dict[str, str] = {}
    for name in GlossaryFields.__annotations__:
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


def _glossary(head: Head) -> DeeplGlossary:
    return {
        "glossary_id": head.id,
        "ready": True,
        "name": head.name,
        "source_lang": head.source,
        "target_lang": head.target,
        "creation_time": head.created,
        "entry_count": head.entries,
    }
