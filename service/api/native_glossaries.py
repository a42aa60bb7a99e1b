"""The native glossary routes, and what all dialects need of glossaries: the owner, and the glossary of a request."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from service.accounts.glossaries import NOBODY, Dictionary, Entries, Glossaries, Head, UnknownDictionary
from service.accounts.keys import Keys
from service.api import schemas
from service.api.errors import documented
from service.api.json_route import JsonRoute
from service.api.language_codes import meant
from service.api.native_key import SECURITY, native_key
from service.api.routes import Routes
from service.requests.pipeline import AUTO
from service.text.glossary import Glossary, GlossaryRefused
from service.translation.results import Options

_MAX_ENTRIES_ON_LOOP = 100  # 0.2 ms; more are prepared in a thread


async def owner(keys: Keys, key: str | None) -> str:
    """Return the owner of the glossaries of an API key.

    Raises:
        MissingKey: The server requires a key.
        WrongKey: The key is unknown.
        StoreUnavailable: The store of keys cannot be reached.
    """
    if not keys.required:
        return NOBODY
    return (await asyncio.to_thread(keys.usage, key)).name or NOBODY


async def find_glossary(
    glossaries: Glossaries, of: str, terms: str | Mapping[str, str], source: str, target: str
) -> Glossary:
    """Return the glossary of a request.

    Args:
        glossaries: The stored glossaries.
        of: Their owner.
        terms: Entries, or the id or name of a stored glossary.
        source: A code or "auto". With "auto", entries apply to texts in any language that one model translates to the
            target; a stored glossary applies to texts in its own language.
        target: A code.

    Raises:
        GlossaryRefused: It is for other languages, or its entries are invalid.
        UnknownGlossary: There is no such glossary.
        StoreUnavailable: The store of glossaries cannot be reached.
    """
    if source not in (AUTO, target):  # what is in the target's language comes back as it is
        glossaries.check_pair(source, target)
    if isinstance(terms, str):
        return await asyncio.to_thread(glossaries.find, of, [terms], None if source == AUTO else source, target)
    if len(terms) > schemas.MAX_ENTRIES:
        raise GlossaryRefused(f"A request takes up to {schemas.MAX_ENTRIES:,} entries; store a glossary of more.")
    if len(terms) <= _MAX_ENTRIES_ON_LOOP:
        return Glossary(terms, source, target)
    return await asyncio.to_thread(Glossary, terms, source, target)


async def with_terms(
    options: Options, terms: str | Mapping[str, str], glossaries: Glossaries, keys: Keys, key: str | None
) -> Options:
    """Return the options with the glossary of a request.

    Args:
        options: The languages are taken from here.
        terms: Entries, or the id or name of a stored glossary.
        glossaries: The stored glossaries.
        keys: The API keys.
        key: The API key of the request, if any.

    Raises:
        MissingKey: The server requires a key.
        WrongKey: The key is unknown.
        GlossaryRefused: It is for other languages, or its entries are invalid.
        UnknownGlossary: There is no such glossary.
        StoreUnavailable: A store cannot be reached.
    """
    of = await owner(keys, key)
    return replace(options, glossary=await find_glossary(glossaries, of, terms, options.source, options.target))


def router(keys: Keys, glossaries: Glossaries) -> APIRouter:
    """Return the routes."""
    routes = Routes(prefix="/v1/glossaries", tags=["Glossaries"], route_class=JsonRoute)

    @routes.post(
        "",
        status_code=201,
        responses=documented(400, 401, 403, 413, 415, 422, 503),
        summary="Create a glossary (owned by the API key, shared if keys are off)",
        **SECURITY,
    )
    async def create_glossary(
        body: schemas.GlossaryRequest, request: Request, response: Response
    ) -> schemas.GlossaryInfo:
        of = await owner(keys, native_key(request))
        given = Entries(*meant(body.source, body.target, glossaries.pairs()), body.entries)
        head = await asyncio.to_thread(glossaries.create, of, body.name, [given])
        response.headers["Location"] = f"/v1/glossaries/{head.id}"
        return _info(head, head.dictionaries[0])

    @routes.get(
        "",
        responses=documented(401, 403, 503),
        summary="List the glossaries of the API key; one of several language pairs is there for each of them",
        **SECURITY,
    )
    async def list_glossaries(request: Request) -> schemas.GlossariesReply:
        heads = await asyncio.to_thread(glossaries.heads, await owner(keys, native_key(request)))
        infos = [_info(head, dictionary) for head in heads for dictionary in head.dictionaries]
        return schemas.GlossariesReply(glossaries=infos)

    @routes.get(
        "/{glossary_id}",
        responses=documented(401, 403, 404, 422, 503),
        summary="Get a glossary and its entries; of several language pairs, `source` and `target` name one",
        **SECURITY,
    )
    async def get_glossary(
        glossary_id: str,
        request: Request,
        source: schemas.Language | None = None,
        target: schemas.Language | None = None,
    ) -> schemas.GlossaryReply:
        of = await owner(keys, native_key(request))
        head = await asyncio.to_thread(glossaries.head, of, glossary_id)
        asked = (source and source.lower(), target and target.lower())
        found = [own for own in head.dictionaries if asked[0] in (own.source, None) and asked[1] in (own.target, None)]
        if not found and (source or target):
            raise UnknownDictionary(source or "any language", target or "any language")
        if len(found) != 1:
            pairs = ", ".join(f"{own.source} to {own.target}" for own in head.dictionaries) or "none"
            raise GlossaryRefused(f"Name one language pair of the glossary by source and target; it has: {pairs}.")
        entries = await asyncio.to_thread(glossaries.entries, of, glossary_id, found[0].pair)
        return schemas.GlossaryReply(**_info(head, found[0]).model_dump(), entries=entries)

    @routes.delete(
        "/{glossary_id}",
        status_code=204,
        responses=documented(401, 403, 404, 422, 503),
        summary="Delete a glossary",
        **SECURITY,
    )
    async def delete_glossary(glossary_id: str, request: Request) -> Response:
        await asyncio.to_thread(glossaries.remove, await owner(keys, native_key(request)), glossary_id)
        return Response(status_code=204)

    return routes


def _info(head: Head, dictionary: Dictionary) -> schemas.GlossaryInfo:
    return schemas.GlossaryInfo(
        id=head.id,
        name=head.name,
        source=dictionary.source,
        target=dictionary.target,
        created=head.created,
        entry_count=dictionary.entries,
    )
