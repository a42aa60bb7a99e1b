"""The native routes of glossaries, and what the dialects share of them: whose they are, which one a request wants."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from fastapi import APIRouter, Request, Response

from service.accounts.glossaries import NOBODY, Glossaries, Head
from service.accounts.keys import Keys
from service.api import schemas
from service.api.errors import documented
from service.api.json_route import JsonRoute
from service.api.native_key import SECURITY, native_key
from service.requests.pipeline import AUTO
from service.text.glossary import Glossary, GlossaryRefused
from service.translation.results import Options

_ENTRIES_ON_THE_LOOP = 100  # 0.2 ms; more are read in a thread


async def owner(keys: Keys, key: str | None) -> str:
    """Whose glossaries the bearer of a key has.

    Raises:
        MissingKey, WrongKey, StoreUnavailable: as the keys say.
    """
    if not keys.required:
        return NOBODY
    return (await asyncio.to_thread(keys.usage, key)).name or NOBODY


async def wanted(glossaries: Glossaries, of: str, terms: str | Mapping[str, str], source: str, target: str) -> Glossary:
    """The glossary that a request between two languages is to use.

    Args:
        of: the owner of the stored ones.
        terms: the entries, or the id or name of a stored one.
        source: may be "auto": it then serves those texts whose language a model translates itself, a stored one those
            that are in its own.

    Raises:
        GlossaryRefused: there is none, it is for other languages, or as a Glossary says.
        StoreUnavailable: nobody can tell.
    """
    if source != AUTO:
        glossaries.check_pair(source, target)
    if not isinstance(terms, str):
        if len(terms) <= _ENTRIES_ON_THE_LOOP:
            return Glossary(terms, source, target)
        return await asyncio.to_thread(Glossary, terms, source, target)
    glossary = await asyncio.to_thread(glossaries.find, of, terms)
    if glossary.target != target or source not in (glossary.source, AUTO):
        raise GlossaryRefused(f"The glossary is for {glossary.source} to {glossary.target}.")
    return glossary


async def with_terms(
    options: Options, terms: str | Mapping[str, str], glossaries: Glossaries, keys: Keys, key: str | None
) -> Options:
    """The options with the glossary that the bearer of a key wants; as `owner` and `wanted` say."""
    of = await owner(keys, key)
    return replace(options, glossary=await wanted(glossaries, of, terms, options.source, options.target))


def router(keys: Keys, glossaries: Glossaries) -> APIRouter:
    """The native routes."""
    routes = APIRouter(prefix="/v1/glossaries", tags=["Glossaries"], route_class=JsonRoute)

    @routes.post(
        "",
        status_code=201,
        responses=documented(400, 401, 403, 413, 415, 422, 503),
        summary="Keep a glossary, for the API key; without keys it is everyone's",
        **SECURITY,
    )
    async def create(body: schemas.GlossaryRequest, request: Request, response: Response) -> schemas.GlossaryInfo:
        of = await owner(keys, native_key(request))
        head = await asyncio.to_thread(glossaries.create, of, body.name, body.source, body.target, body.entries)
        response.headers["Location"] = f"/v1/glossaries/{head.id}"
        return _info(head)

    @routes.get("", responses=documented(401, 403, 503), summary="The glossaries of the API key", **SECURITY)
    async def every(request: Request) -> schemas.GlossariesReply:
        heads = await asyncio.to_thread(glossaries.heads, await owner(keys, native_key(request)))
        return schemas.GlossariesReply(glossaries=[_info(head) for head in heads])

    @routes.get(
        "/{glossary_id}",
        responses=documented(401, 403, 404, 422, 503),
        summary="A glossary and its entries",
        **SECURITY,
    )
    async def one(glossary_id: str, request: Request) -> schemas.GlossaryReply:
        of = await owner(keys, native_key(request))
        head = await asyncio.to_thread(glossaries.head, of, glossary_id)
        entries = await asyncio.to_thread(glossaries.entries, of, glossary_id)
        return schemas.GlossaryReply(**_info(head).model_dump(), entries=entries)

    @routes.delete(
        "/{glossary_id}",
        status_code=204,
        responses=documented(401, 403, 404, 422, 503),
        summary="Delete a glossary",
        **SECURITY,
    )
    async def remove(glossary_id: str, request: Request) -> Response:
        await asyncio.to_thread(glossaries.remove, await owner(keys, native_key(request)), glossary_id)
        return Response(status_code=204)

    return routes


def _info(head: Head) -> schemas.GlossaryInfo:
    return schemas.GlossaryInfo(
        id=head.id,
        name=head.name,
        source=head.source,
        target=head.target,
        created=head.created,
        entry_count=head.entries,
    )
