"""The glossary routes of DeepL's API: version 3, and version 2, which sees those of one language pair alone."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from service.accounts.glossaries import Dictionary, Entries, Glossaries, Head, UnknownGlossary
from service.accounts.keys import Keys
from service.api.deepl import deepl_key, language_code
from service.api.deepl_schemas import (
    DeeplDictionary,
    DeeplEntries,
    DeeplError,
    DeeplGlossaries,
    DeeplGlossary,
    DeeplGlossaryPairs,
    DeeplMultilingualGlossaries,
    DeeplMultilingualGlossary,
    DictionaryFields,
    GlossaryChangeFields,
    GlossaryFields,
    MultilingualGlossaryFields,
    PairFields,
)
from service.api.errors import documented
from service.api.fields import Fields, read_fields
from service.api.json_reply import JsonReply
from service.api.native_glossaries import owner
from service.api.native_key import DEEPL_SECURITY
from service.api.openapi import fields_body, form_body, query_fields
from service.api.routes import Routes
from service.live.registry import Registry
from service.live.routing import Pair
from service.text.glossary_files import FORMATS, read_entries

TSV = "text/tab-separated-values"
_NOT_FOUND = documented(404, 422, model=DeeplError)
_REFUSALS = documented(400, 403, 413, 415, 503, model=DeeplError)

T = TypeVar("T")


def router(registry: Registry, keys: Keys, glossaries: Glossaries) -> APIRouter:
    """Return the routes."""
    routes = Routes(tags=["DeepL"], dependencies=[DEEPL_SECURITY], responses=_REFUSALS)
    writing = asyncio.Lock()  # one at a time: the entries of a large glossary take a hundred MB while they are read

    async def asked(request: Request) -> tuple[str, Fields]:
        """Return who asks, and for what."""
        fields = await read_fields(request)
        return await owner(keys, deepl_key(request, fields)), fields

    async def owner_of(request: Request) -> str:
        return (await asked(request))[0]

    async def written(write: Callable[[], T]) -> T:
        async with writing:
            return await asyncio.to_thread(write)

    def pairs() -> list[Pair]:
        return registry.direct_pairs()

    @routes.get(
        "/v2/glossary-language-pairs",
        response_model=DeeplGlossaryPairs,
        summary="List the language pairs that glossaries support",
    )
    async def list_glossary_pairs(request: Request) -> Response:
        await owner_of(request)
        return JsonReply({"supported_languages": [dict(zip(_PAIR, pair, strict=True)) for pair in pairs()]})

    @routes.post(
        "/v3/glossaries",
        status_code=201,
        response_model=DeeplMultilingualGlossary,
        openapi_extra=fields_body(MultilingualGlossaryFields),
        summary="Create a glossary with a dictionary for each language pair",
    )
    async def create_glossary(request: Request) -> Response:
        of, fields = await asked(request)

        def make() -> Head:
            return glossaries.create(of, _text(fields, "name"), _dictionaries(fields, pairs(), glossaries.most_entries))

        return JsonReply(_multilingual(await written(make)), 201)

    @routes.get(
        "/v3/glossaries", response_model=DeeplMultilingualGlossaries, summary="List the glossaries of the API key"
    )
    async def list_glossaries(request: Request) -> Response:
        heads = await asyncio.to_thread(glossaries.heads, await owner_of(request))
        return JsonReply({"glossaries": list(map(_multilingual, heads))})

    @routes.get(
        "/v3/glossaries/{glossary_id}",
        response_model=DeeplMultilingualGlossary,
        responses=_NOT_FOUND,
        summary="Get a glossary without its entries",
    )
    async def get_glossary(glossary_id: str, request: Request) -> Response:
        head = await asyncio.to_thread(glossaries.head, await owner_of(request), glossary_id)
        return JsonReply(_multilingual(head))

    @routes.patch(
        "/v3/glossaries/{glossary_id}",
        response_model=DeeplMultilingualGlossary,
        responses=_NOT_FOUND,
        openapi_extra=fields_body(GlossaryChangeFields),
        summary="Rename a glossary, or add entries to its dictionaries",
    )
    async def change_glossary(glossary_id: str, request: Request) -> Response:
        of, fields = await asked(request)
        if fields.first("name") is None and fields.items("dictionaries") is None:
            raise HTTPException(400, "Parameter 'name' or 'dictionaries' not specified")

        def make() -> Head:
            name = None if fields.first("name") is None else _text(fields, "name")
            return glossaries.update(of, glossary_id, name, _dictionaries(fields, pairs(), glossaries.most_entries))

        return JsonReply(_multilingual(await written(make)))

    @routes.delete("/v3/glossaries/{glossary_id}", status_code=204, responses=_NOT_FOUND, summary="Delete a glossary")
    async def delete_glossary(glossary_id: str, request: Request) -> Response:
        await asyncio.to_thread(glossaries.remove, await owner_of(request), glossary_id)
        return Response(status_code=204)

    @routes.get(
        "/v3/glossaries/{glossary_id}/entries",
        response_model=DeeplEntries,
        responses=_NOT_FOUND,
        openapi_extra=query_fields(PairFields),
        summary="Get the entries of a dictionary",
    )
    async def get_dictionary(glossary_id: str, request: Request) -> Response:
        of, fields = await asked(request)
        pair = _pair(fields, pairs())
        found = await asyncio.to_thread(glossaries.entries, of, glossary_id, pair)
        dictionary = {**dict(zip(_PAIR, pair, strict=True)), "entries": _lines(found), "entries_format": "tsv"}
        return JsonReply({"dictionaries": [dictionary]})

    @routes.put(
        "/v3/glossaries/{glossary_id}/dictionaries",
        response_model=DeeplDictionary,
        responses=_NOT_FOUND,
        openapi_extra=form_body(DictionaryFields),
        summary="Replace the dictionary of a language pair",
    )
    async def replace_dictionary(glossary_id: str, request: Request) -> Response:
        of, fields = await asked(request)

        def make() -> Dictionary:
            return glossaries.replace(of, glossary_id, _entries(fields, pairs(), glossaries.most_entries))

        return JsonReply(_dictionary(await written(make)))

    @routes.delete(
        "/v3/glossaries/{glossary_id}/dictionaries",
        status_code=204,
        responses=_NOT_FOUND,
        openapi_extra=query_fields(PairFields),
        summary="Delete the dictionary of a language pair",
    )
    async def delete_dictionary(glossary_id: str, request: Request) -> Response:
        of, fields = await asked(request)
        await asyncio.to_thread(glossaries.remove_dictionary, of, glossary_id, _pair(fields, pairs()))
        return Response(status_code=204)

    async def monolingual(request: Request, glossary_id: str) -> tuple[str, Head]:
        """Return the owner of a glossary and its head, if it has one language pair."""
        of = await owner_of(request)
        head = await asyncio.to_thread(glossaries.head, of, glossary_id)
        if len(head.dictionaries) != 1:
            raise UnknownGlossary
        return of, head

    @routes.post(
        "/v2/glossaries",
        status_code=201,
        response_model=DeeplGlossary,
        openapi_extra=form_body(GlossaryFields),
        summary="Create a glossary (owned by the API key, shared if keys are off)",
    )
    async def create_monolingual_glossary(request: Request) -> Response:
        of, fields = await asked(request)

        def make() -> Head:
            return glossaries.create(of, _text(fields, "name"), [_entries(fields, pairs(), glossaries.most_entries)])

        return JsonReply(_monolingual(await written(make)), 201)

    @routes.get("/v2/glossaries", response_model=DeeplGlossaries, summary="List the glossaries of one language pair")
    async def list_monolingual_glossaries(request: Request) -> Response:
        heads = await asyncio.to_thread(glossaries.heads, await owner_of(request))
        return JsonReply({"glossaries": [_monolingual(head) for head in heads if len(head.dictionaries) == 1]})

    @routes.get(
        "/v2/glossaries/{glossary_id}",
        response_model=DeeplGlossary,
        responses=_NOT_FOUND,
        summary="Get a glossary of one language pair without its entries",
    )
    async def get_monolingual_glossary(glossary_id: str, request: Request) -> Response:
        _, head = await monolingual(request, glossary_id)
        return JsonReply(_monolingual(head))

    @routes.get(
        "/v2/glossaries/{glossary_id}/entries",
        response_class=Response,
        responses={200: {"content": {TSV: {"schema": {"type": "string"}}}}, **_NOT_FOUND},
        summary="Get the entries of a glossary of one language pair as tab-separated values",
    )
    async def get_monolingual_entries(glossary_id: str, request: Request) -> Response:
        of, head = await monolingual(request, glossary_id)
        (only,) = head.dictionaries
        found = await asyncio.to_thread(glossaries.entries, of, glossary_id, only.pair)
        return Response(_lines(found), media_type=TSV)

    @routes.delete(
        "/v2/glossaries/{glossary_id}",
        status_code=204,
        responses=_NOT_FOUND,
        summary="Delete a glossary of one language pair",
    )
    async def delete_monolingual_glossary(glossary_id: str, request: Request) -> Response:
        of, _ = await monolingual(request, glossary_id)
        await asyncio.to_thread(glossaries.remove, of, glossary_id)
        return Response(status_code=204)

    return routes


_PAIR = ("source_lang", "target_lang")


def _text(fields: Fields, name: str) -> str:
    """Return a field that must be a string and not empty."""
    value = fields.given(name)
    if value is None:
        raise HTTPException(400, f"Parameter '{name}' not specified")
    if not isinstance(value, str):
        raise HTTPException(400, f"Value for '{name}' not supported.")
    return value


def _pair(fields: Fields, pairs: list[Pair]) -> Pair:
    """Return the language pair of a dictionary, with the codes of the models."""
    found = []
    for side, name in enumerate(_PAIR):
        _text(fields, name)
        code = language_code(fields, name, {pair[side] for pair in pairs})
        assert code is not None  # it is not empty
        found.append(code)
    return found[0], found[1]


def _entries(fields: Fields, pairs: list[Pair], most: int) -> Entries:
    """Return the entries of one dictionary, up to the most; this blocks while many are read."""
    given = fields.given("entries_format")
    form = FORMATS[0] if given is None else given
    if form not in FORMATS:
        raise HTTPException(400, "Value for 'entries_format' not supported.")
    return Entries(*_pair(fields, pairs), read_entries(_text(fields, "entries"), form, most))


def _dictionaries(fields: Fields, pairs: list[Pair], most: int) -> list[Entries]:
    given = fields.items("dictionaries") or []
    if len(given) > len(pairs):
        raise HTTPException(400, "Too many dictionaries: send one for each language pair.")
    return [_entries(each, pairs, most) for each in given]


def _lines(entries: dict[str, str]) -> str:
    return "\n".join(f"{term}\t{translation}" for term, translation in entries.items())


def _dictionary(dictionary: Dictionary) -> DeeplDictionary:
    return {
        "source_lang": dictionary.source,
        "target_lang": dictionary.target,
        "entry_count": dictionary.entries,
    }


def _multilingual(head: Head) -> DeeplMultilingualGlossary:
    return {
        "glossary_id": head.id,
        "name": head.name,
        "dictionaries": list(map(_dictionary, head.dictionaries)),
        "creation_time": head.created,
    }


def _monolingual(head: Head) -> DeeplGlossary:
    (only,) = head.dictionaries
    return {
        "glossary_id": head.id,
        "ready": True,
        "name": head.name,
        "source_lang": only.source,
        "target_lang": only.target,
        "creation_time": head.created,
        "entry_count": only.entries,
    }
