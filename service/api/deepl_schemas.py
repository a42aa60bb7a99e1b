"""Bodies of the DeepL routes; they describe requests and replies in the OpenAPI and are not validated at run time."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from service.accounts.glossaries import MAX_NAME_CHARACTERS
from service.api.schemas import EXAMPLE, Body, started
from service.files import ENDINGS

MAX_TEXTS = 50

# Enums of one type each: generators of clients skip a mixed one. An empty field of a form is one that is missing.
Number = Literal[0, 1]
Switch = Literal[True, False] | Number | Literal["0", "1", "true", "false", ""]
Tags = str | list[str]
Text = Annotated[str, Field(examples=[EXAMPLE], json_schema_extra=started(maxLength="max_text_characters"))]
TargetLanguage = Annotated[str, Field(min_length=1, examples=["DE"], json_schema_extra=started(enum="deepl_targets"))]
_SOURCES = started(enum="deepl_sources")
SourceLanguage = Annotated[str, Field(description="Detected for each text if missing.", json_schema_extra=_SOURCES)]
ModelType = Literal["quality_optimized", "latency_optimized"]
Formality = Literal["default", "prefer_more", "prefer_less", ""]
GlossaryName = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS, examples=["Office"])]
_FILE_NAME = rf"^$|\.({'|'.join(ending.removeprefix('.') for ending in ENDINGS)})$"
GlossaryId = Annotated[str, Field(description="A glossary of the API key; needs source_lang.")]
GlossaryIds = Annotated[Tags, Field(description="Several glossaries: the first that has a term decides.")]


class DeeplError(Body):
    """The body of every 4xx and 5xx."""

    message: str


_EMPTY = {
    "anyOf": [
        {"type": "null"},
        {"type": "string", "maxLength": 0},
        {"type": "array", "items": {"type": "string"}, "maxItems": 0},
    ]
}


def _given(name: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"not": _EMPTY}}}


def _both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    return {
        "required": [*one.get("required", ()), *other.get("required", ())],
        "properties": one["properties"] | other["properties"],
    }


_WITHOUT_SOURCE = {"properties": {"source_lang": _EMPTY}}
_GLOSSARY_WITHOUT_SOURCE = [_both(_given(name), _WITHOUT_SOURCE) for name in ("glossary_id", "glossary_ids")]


class TranslateFields(TypedDict):
    """The fields of a translation request."""

    # what a schema of one field can't say: glossaries need the source, and a context tells it
    __pydantic_config__ = ConfigDict(  # type: ignore[misc]
        json_schema_extra={
            "not": {"anyOf": [_both(_given("context"), _given("source_lang")), *_GLOSSARY_WITHOUT_SOURCE]}
        }
    )

    text: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]
    target_lang: TargetLanguage
    source_lang: NotRequired[SourceLanguage]
    split_sentences: NotRequired[Literal["0", "1", "nonewlines", ""] | Number]
    preserve_formatting: NotRequired[Annotated[Switch, Field(description="Formatting is always preserved.")]]
    formality: NotRequired[Formality]
    glossary_id: NotRequired[GlossaryId]
    glossary_ids: NotRequired[GlossaryIds]
    context: NotRequired[
        Annotated[str, Field(description="Tells the language of texts of a few words; refused with source_lang.")]
    ]
    tag_handling_version: NotRequired[Literal["v1", "v2", ""]]
    model_type: NotRequired[Literal["quality_optimized", "latency_optimized", "prefer_quality_optimized", ""]]
    tag_handling: NotRequired[Literal["xml", "html", ""]]
    ignore_tags: NotRequired[Tags]
    splitting_tags: NotRequired[Annotated[Tags, Field(description="Tags that always end a sentence.")]]
    non_splitting_tags: NotRequired[Annotated[Tags, Field(description="Tags that never end a sentence.")]]
    outline_detection: NotRequired[
        Annotated[
            Switch,
            Field(
                description="0: in XML, only splitting_tags end a sentence; otherwise, so do tags that have no words "
                "beside them."
            ),
        ]
    ]


class DeeplTranslation(TypedDict):
    """The translation of one text."""

    detected_source_language: str
    text: str
    billed_characters: int
    model_type_used: NotRequired[Annotated[ModelType, Field(description="Present if `model_type` was given.")]]


class DeeplTranslations(TypedDict):
    """Translations in the order of the texts."""

    translations: list[DeeplTranslation]


class LanguagesFields(TypedDict):
    """The fields of a request for languages."""

    type: NotRequired[Literal["source", "target", ""]]


class DeeplLanguage(TypedDict):
    """A supported language."""

    language: str
    name: str
    supports_formality: NotRequired[Annotated[bool, Field(description="Present for target languages.")]]


class ResourceFields(TypedDict):
    """The fields of a request for the languages of a resource."""

    resource: Literal["translate_text", "translate_document", "glossary"]


class DeeplResourceLanguage(TypedDict):
    """A language, and what it is usable as with a resource."""

    lang: str
    name: str
    usable_as_source: bool
    usable_as_target: bool
    status: Literal["stable"]
    features: dict[str, dict[str, str]]


class DeeplUsage(TypedDict):
    """Translated characters and the most that may be translated."""

    character_count: int
    character_limit: int


class DocumentFields(TypedDict):
    """The fields of a form that uploads a document."""

    file: bytes
    target_lang: TargetLanguage
    source_lang: NotRequired[SourceLanguage]
    filename: NotRequired[Annotated[str, Field(pattern=_FILE_NAME, description="In place of the name of the file.")]]
    formality: NotRequired[Formality]
    glossary_id: NotRequired[GlossaryId]
    glossary_ids: NotRequired[GlossaryIds]


class DocumentKeyFields(TypedDict):
    """The fields of a request about an uploaded document."""

    document_key: str


class DeeplDocument(TypedDict):
    """The id of an uploaded document and the key that gives access to it."""

    document_id: str
    document_key: str


class DeeplDocumentStatus(TypedDict):
    """The progress of a document."""

    document_id: str
    status: Literal["queued", "translating", "done", "error"]
    seconds_remaining: NotRequired[int]
    billed_characters: NotRequired[int]
    error_message: NotRequired[str]


class PairFields(TypedDict):
    """The fields that name a dictionary."""

    source_lang: Annotated[str, Field(examples=["en"], json_schema_extra=started(enum="glossary_sources"))]
    target_lang: Annotated[str, Field(examples=["de"], json_schema_extra=started(enum="glossary_targets"))]


class DictionaryFields(PairFields):
    """The entries for one language pair."""

    __pydantic_config__ = ConfigDict(json_schema_extra=started(**{"not": "unserved_by_dictionaries"}))  # type: ignore[misc]

    entries: Annotated[str, Field(min_length=1, examples=["printer\tDrucker"], description="One entry per line.")]
    entries_format: NotRequired[Annotated[Literal["tsv", "csv", ""], Field(description="tsv if missing.")]]


class GlossaryFields(DictionaryFields):
    """The fields of a new glossary of one language pair."""

    name: GlossaryName


_MOST_DICTIONARIES = started(maxItems="pairs")


class MultilingualGlossaryFields(TypedDict):
    """The fields of a new glossary."""

    name: GlossaryName
    dictionaries: NotRequired[
        Annotated[
            list[DictionaryFields],
            Field(description="One for each language pair.", json_schema_extra=_MOST_DICTIONARIES),
        ]
    ]


class GlossaryChangeFields(TypedDict):
    """The fields of a change to a glossary; at least one."""

    __pydantic_config__ = ConfigDict(  # type: ignore[misc]
        json_schema_extra={"not": {"properties": {key: {"type": "null"} for key in ("name", "dictionaries")}}}
    )

    name: NotRequired[GlossaryName]
    dictionaries: NotRequired[
        Annotated[
            list[DictionaryFields],
            Field(description="A term that is there gets the new translation.", json_schema_extra=_MOST_DICTIONARIES),
        ]
    ]


class DeeplDictionary(TypedDict):
    """A dictionary without its entries."""

    source_lang: str
    target_lang: str
    entry_count: int


class DeeplMultilingualGlossary(TypedDict):
    """A stored glossary without its entries."""

    glossary_id: str
    name: str
    dictionaries: list[DeeplDictionary]
    creation_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]


class DeeplMultilingualGlossaries(TypedDict):
    """The stored glossaries, oldest first."""

    glossaries: list[DeeplMultilingualGlossary]


class DeeplDictionaryEntries(TypedDict):
    """A dictionary with its entries."""

    source_lang: str
    target_lang: str
    entries: str
    entries_format: Literal["tsv"]


class DeeplEntries(TypedDict):
    """The dictionary of the language pair that was asked for."""

    dictionaries: list[DeeplDictionaryEntries]


class DeeplGlossary(TypedDict):
    """A stored glossary of one language pair without its entries."""

    glossary_id: str
    ready: bool
    name: str
    source_lang: str
    target_lang: str
    creation_time: Annotated[str, Field(json_schema_extra={"format": "date-time"})]
    entry_count: int


class DeeplGlossaries(TypedDict):
    """The stored glossaries, oldest first."""

    glossaries: list[DeeplGlossary]


class DeeplGlossaryPair(TypedDict):
    """A language pair that a glossary may have."""

    source_lang: str
    target_lang: str


class DeeplGlossaryPairs(TypedDict):
    """The language pairs that glossaries may have."""

    supported_languages: list[DeeplGlossaryPair]
