"""The language routes of DeepL's API: version 2, and version 3, which newer clients ask first."""

from fastapi import APIRouter, Request, Response
from starlette.exceptions import HTTPException

from service.accounts.keys import Keys
from service.api.deepl import deepl_key
from service.api.deepl_schemas import (
    DeeplError,
    DeeplLanguage,
    DeeplResourceLanguage,
    LanguagesFields,
    ResourceFields,
)
from service.api.errors import documented
from service.api.fields import Fields, read_fields
from service.api.json_reply import JsonReply
from service.api.native_glossaries import owner
from service.api.native_key import DEEPL_SECURITY
from service.api.openapi import form_body, query_fields
from service.api.routes import Routes
from service.live.registry import Registry
from service.live.routing import Pair
from service.text import languages

# DeepL's targets are variants of these languages; its clients refuse to send EN and PT themselves.
_VARIANTS = {
    "en": {"en-GB": "English (British)", "en-US": "English (American)"},
    "pt": {"pt-BR": "Portuguese (Brazilian)", "pt-PT": "Portuguese (European)"},
}
_RESOURCES = ("translate_text", "translate_document", "glossary")
_OTHER_RESOURCES = ("voice", "write", "style_rules")  # DeepL's, and nothing of them is here


def router(registry: Registry, keys: Keys) -> APIRouter:
    """Return the routes."""
    routes = Routes(
        tags=["DeepL"], dependencies=[DEEPL_SECURITY], responses=documented(400, 403, 413, 415, 503, model=DeeplError)
    )

    async def asked(request: Request) -> Fields:
        fields = await read_fields(request)
        await owner(keys, deepl_key(request, fields))  # raises for an unknown key
        return fields

    @routes.get(
        "/v2/languages",
        name="list_languages_by_query",
        response_model=list[DeeplLanguage],
        openapi_extra=query_fields(LanguagesFields),
        summary="List source or target languages",
    )
    @routes.post(
        "/v2/languages",
        response_model=list[DeeplLanguage],
        openapi_extra=form_body(LanguagesFields),
        summary="List source or target languages",
    )
    async def list_languages(request: Request) -> Response:
        given = (await asked(request)).given("type")
        kind = "source" if given is None else given
        if kind == "source":
            sources = dict.fromkeys(source for source, _ in registry.pairs())
            return JsonReply([{"language": code.upper(), "name": languages.name(code)} for code in sources])
        if kind != "target":
            raise HTTPException(400, "Parameter 'type' is invalid. 'source' and 'target' are valid values.")
        targets: dict[str, str] = {}
        for _, code in registry.pairs():
            targets |= _VARIANTS.get(code) or {code: languages.name(code)}
        return JsonReply(
            [{"language": code.upper(), "name": name, "supports_formality": False} for code, name in targets.items()]
        )

    @routes.get(
        "/v3/languages",
        response_model=list[DeeplResourceLanguage],
        responses=documented(404, 422, model=DeeplError),
        openapi_extra=query_fields(ResourceFields),
        summary="List the languages of a resource",
    )
    async def list_resource_languages(request: Request) -> Response:
        resource = (await asked(request)).first("resource")
        if not resource:
            raise HTTPException(400, "Parameter 'resource' not specified")
        if resource in _OTHER_RESOURCES:
            raise HTTPException(404, "Not found")
        if resource not in _RESOURCES:
            raise HTTPException(400, "Value for 'resource' not supported.")
        if resource == "glossary":
            return JsonReply(_usable(registry.direct_pairs()))
        pairs = registry.pairs()
        targets = {target for _, target in pairs}
        variants = [
            _language(code, name, source=False, target=True)
            for base, names in _VARIANTS.items()
            if base in targets
            for code, name in names.items()
        ]
        return JsonReply(_usable(pairs) + variants)

    return routes


def codes(pairs: list[Pair]) -> tuple[list[str], list[str]]:
    """Return the source and the target languages of pairs as DeepL writes them; targets with their variants."""
    sources = dict.fromkeys(source for source, _ in pairs)
    targets = dict.fromkeys(name for _, code in pairs for name in (code, *_VARIANTS.get(code, ())))
    return [code.upper() for code in sources], [code.upper() for code in targets]


def _usable(pairs: list[Pair]) -> list[DeeplResourceLanguage]:
    """Return the languages of the pairs in the order of their codes."""
    sources, targets = ({pair[side] for pair in pairs} for side in (0, 1))
    return [
        _language(code, languages.name(code), source=code in sources, target=code in targets)
        for code in sorted(sources | targets)
    ]


def _language(code: str, name: str, *, source: bool, target: bool) -> DeeplResourceLanguage:
    """Return a language as version 3 has it."""
    return {
        "lang": code,
        "name": name,
        "usable_as_source": source,
        "usable_as_target": target,
        "status": "stable",
        "features": {},
    }
