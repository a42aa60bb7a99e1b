"""Bodies of the DeepL routes; they describe requests and replies in the OpenAPI and are not validated at run time."""

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from service.api.schemas import Body

MAX_TEXTS = 50

Switch = Literal[True, False] | Literal["0", "1"]  # two enums: generators of clients skip a mixed one
Tags = str | list[str]
TargetLanguage = Annotated[str, Field(examples=["DE"])]
ModelType = Literal["quality_optimized", "latency_optimized"]
Formality = Literal["default", "prefer_more", "prefer_less"]
GlossaryId = Annotated[str, Field(description="A glossary of the API key; needs source_lang.")]


class DeeplError(Body):
    """The body of every 4xx and 5xx."""

    message: str


class TranslateFields(TypedDict):
    """The fields of a translation request."""

    text: str | Annotated[list[str], Field(max_length=MAX_TEXTS)]
    target_lang: TargetLanguage
    source_lang: NotRequired[Annotated[str, Field(description="Detected for each text if missing.")]]
    split_sentences: NotRequired[Literal["0", "1", "nonewlines"]]
    preserve_formatting: NotRequired[Annotated[Switch, Field(description="Formatting is always preserved.")]]
    formality: NotRequired[Formality]
    glossary_id: NotRequired[GlossaryId]
    model_type: NotRequired[Literal["quality_optimized", "latency_optimized", "prefer_quality_optimized"]]
    tag_handling: NotRequired[Literal["xml", "html"]]
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

    type: NotRequired[Literal["source", "target"]]


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
    source_lang: NotRequired[Annotated[str, Field(description="Detected if missing.")]]
    filename: NotRequired[str]
    output_format: NotRequired[Annotated[str, Field(description="The format of the document; others are refused.")]]
    formality: NotRequired[Formality]
    glossary_id: NotRequired[GlossaryId]


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


class GlossaryFields(TypedDict):
    """The fields of a new glossary."""

    name: str
    source_lang: Annotated[str, Field(examples=["en"])]
    target_lang: Annotated[str, Field(examples=["de"])]
    entries: Annotated[str, Field(examples=["printer\tDrucker"], description="One entry per line.")]
    entries_format: Literal["tsv", "csv"]


class DeeplGlossary(TypedDict):
    """A stored glossary without its entries."""

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
