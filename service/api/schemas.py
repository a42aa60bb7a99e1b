"""Bodies of native requests and replies.

Unknown fields are refused, so that a misspelt option does not pass unnoticed. The routes check the limits that the
settings may change (characters, texts, alternatives, beam size); the limits here are fixed.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema, field_validator
from typing_extensions import TypedDict

from models.format.languages import canonical
from service.accounts.glossaries import MAX_NAME_CHARACTERS
from service.files import ENDINGS
from service.text.glossary import MAX_TERM_CHARACTERS
from service.translation.cost import Memory, ModelIdentity, Rungs, StageTimings
from service.translation.results import Unchanged

MAX_ENTRIES = 5000  # of a glossary in a request, which is prepared for it alone
STARTED = "x-started"
KEY_MARK = "x-api-key"  # of a field that has the API key
MAX_PREFIX_CHARACTERS = 1000
KEY_IN_BODY, OPTIONAL_KEY = {KEY_MARK: "required"}, {KEY_MARK: "optional"}


def started(**keywords: str) -> dict[str, Any]:
    """Return what a schema has for keywords whose values depend on how the server was started, such as its limits.

    Args:
        keywords: Keyword of JSON schema -> name of the value, which `document` puts there.
    """
    return {STARTED: keywords}


Language = Annotated[str, Field(min_length=1, max_length=35)]
# What `text.glossary` takes: a character that is neither space nor control, and no control character. Separators of
# files to units are spaces to Python, and not to all readers of schemas.
_NO_CONTROL = r"\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"
_TERM = rf"^[^{_NO_CONTROL}]*[^\s\x1c-\x1f\x85{_NO_CONTROL}][^{_NO_CONTROL}]*$"
_TERM_SCHEMA = {"type": "string", "minLength": 1, "maxLength": MAX_TERM_CHARACTERS, "pattern": _TERM}
TERMS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "propertyNames": _TERM_SCHEMA,
    "additionalProperties": _TERM_SCHEMA,
}
Terms = Annotated[dict[str, str], WithJsonSchema({**TERMS_SCHEMA, "maxProperties": MAX_ENTRIES})]
SomeTerms = Annotated[dict[str, str], WithJsonSchema({**TERMS_SCHEMA, "minProperties": 1})]
EXAMPLE = "The weather is nice today."
Text = Annotated[
    str, Field(examples=[EXAMPLE], json_schema_extra={"minLength": 1} | started(maxLength="max_text_characters"))
]
Texts = Annotated[  # fail_fast: one error, not one for each item
    list[Text], Field(fail_fast=True, json_schema_extra={"minItems": 1} | started(maxItems="max_texts"))
]
Quality = dict[str, dict[str, float]]


class Body(BaseModel):
    """Base of requests and replies: unknown fields are refused, and values are not converted."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


class Error(Body):
    """The body of every 4xx and 5xx."""

    error: str = Field(description="What is wrong and what to do, in one sentence.")
    code: str | None = Field(
        default=None,
        description="A stable name of the kind of error, such as `limit_exceeded`; absent where a dialect has none.",
    )


class Detected(Body):
    """The detected source language and its probability."""

    language: str
    confidence: float = Field(ge=0, le=1)


def _integral(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


INTEGRAL = BeforeValidator(_integral)  # JSON has one type of number: 2.0 is 2


def are_terms(value: Any) -> bool:
    """Return whether a value is an object of terms and their translations."""
    return isinstance(value, dict) and all(isinstance(text, str) for entry in value.items() for text in entry)


def _shape(text: Any) -> str | None:
    return "string" if isinstance(text, str) else "list" if isinstance(text, list) else None


class TranslateRequest(Body):
    """Texts to translate, the languages, and options."""

    model_config = ConfigDict(json_schema_extra=started(**{"not": "unserved"}))

    text: Annotated[
        Annotated[Text, Tag("string")] | Annotated[Texts, Tag("list")],
        Discriminator(
            _shape, custom_error_type="text_shape", custom_error_message="Input should be a string or a list of strings"
        ),
    ] = Field(description="A text or a list of texts; by default up to 128 texts of up to 10,000 characters.")
    source: Language = Field(
        examples=["en"],
        description="A code, or `auto` to detect the language of each text; case is ignored.",
        json_schema_extra=started(enum="sources"),
    )
    target: Language = Field(
        examples=["de"], description="A code; case is ignored.", json_schema_extra=started(enum="targets")
    )
    beam_size: Annotated[int, Field(ge=1), INTEGRAL] | None = Field(
        default=None,
        description="Hypotheses kept at each step; 1 is greedy. By default up to 8. Without it each model's own, "
        "which `GET /v1/models` tells.",
        json_schema_extra=started(maximum="max_beam_size"),
    )
    alternatives: Annotated[int, Field(ge=0), INTEGRAL] = Field(
        default=0,
        json_schema_extra=started(maximum="max_alternatives"),
        description="Number of further translations, by default up to 4; the beam size is at least alternatives + 1.",
    )
    split_sentences: Literal["0", "1", "nonewlines"] = Field(
        default="1",
        description="Where sentences end: 1 at punctuation and line breaks, nonewlines at punctuation only, 0 nowhere.",
    )
    alignment: bool = Field(default=False, description="Also return word alignments.")
    prefix: str | None = Field(
        default=None,
        max_length=MAX_PREFIX_CHARACTERS,
        description="What the translation of the first sentence of each text begins with: whole words, as they come "
        "back. The rest is searched for. Ignored if the model can't spell it, or several models translate.",
    )
    glossary: Annotated[str, Field(min_length=1)] | Terms | None = Field(
        default=None,
        description="Up to 5,000 terms and their translations (the term itself if it must stay untranslated), or the "
        "id or name of a stored glossary.",
        examples=[{"printer": "Drucker", "GitHub": "GitHub"}],
    )
    exact: bool = Field(
        default=True,
        description="Whether a term's translation stands as the glossary has it. If false the model may inflect it "
        "(`Drucker`, `Druckers`).",
    )
    shortlist: bool | None = Field(
        default=None,
        description="Whether words are chosen from the model's shortlist, where it has one: faster, and a few "
        "sentences differ. By default as the configuration has it.",
    )
    config: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Pins a live configuration, of each model if the translation takes several; by default the active "
        "one answers. The header X-Sub3-Config pins, too.",
    )
    model: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Pins one of the models that translate the language pair directly; the header X-Sub3-Model pins, "
        "too.",
    )

    @field_validator("source", "target")
    @classmethod
    def _lower(cls, code: str) -> str:
        return canonical(code).lower()

    @field_validator("glossary", mode="before")
    @classmethod
    def _terms(cls, glossary: Any) -> Any:
        # one error, not one for each term
        if not (glossary is None or isinstance(glossary, str) or are_terms(glossary)):
            raise ValueError("give an object of terms and their translations, or a stored glossary's id or name")
        return glossary


class Alternative(Body):
    """A further translation. In a text of several sentences, the hypotheses of the same rank are joined."""

    text: str
    score: float


class Link(Body):
    """A word or punctuation mark and the one it translates, as ranges [begin, end) in Unicode characters."""

    source: Annotated[tuple[int, ...], Field(min_length=2, max_length=2)]
    target: Annotated[tuple[int, ...], Field(min_length=2, max_length=2)]


class TranslationReply(Body):
    """A translation. A text without letters (emoji, numbers, spaces) is returned unchanged with the score 0."""

    text: str
    score: float = Field(
        description="Log probability, normalised by length as Marian does, averaged over the sentences; <= 0."
    )
    alternatives: list[Alternative]
    detected: Detected | None = Field(default=None, description="Present if `source` was `auto`.")
    alignment: list[Link] | None = Field(
        default=None, description="Present if requested: a link for each word of the text that could be aligned."
    )
    cut_sentences: int | None = Field(
        default=None,
        description="Present if sentences were longer than the model's window: the number of those split at clauses.",
    )
    via: list[str] | None = Field(
        default=None, description="Present if no model translates the pair directly: the intermediate languages."
    )
    unchanged: Unchanged | None = Field(
        default=None,
        description="Present if the text was not translated, and why: it is in the target language already, or it was "
        "detected to be in a language that no model translates.",
    )


class TranslateReply(Body):
    """Translations in the order of the texts, the models that made them, and what they cost."""

    translations: list[TranslationReply]
    model: ModelIdentity | None = Field(
        default=None,
        description="The model that answered; the first one if there were several, absent if no text was translated.",
    )
    models: list[ModelIdentity] | None = Field(
        default=None, description="Present if several models answered, or none: all of them, in order."
    )
    latency_ms: StageTimings
    memory: Memory
    rungs: Rungs | None = Field(
        default=None,
        description="Sentences whose first translation lost a placeholder, a number or a term of the glossary, by what "
        "gave them back: another hypothesis, a search with masks for numbers and terms, one under constraints, or "
        "cutting the sentence there. Absent if none did.",
    )


class SentenceEvent(Body):
    """`event: sentence` of a stream: a sentence, sent as soon as it and the sentences before it are ready."""

    text: int = Field(description="Index of the text in the request.")
    sentence: int = Field(description="Index of the sentence in the text; parts without letters are not counted.")
    source: str
    translation: str
    score: float


class GlossaryRequest(Body):
    """A glossary to store."""

    model_config = ConfigDict(json_schema_extra=started(**{"not": "unserved_by_glossaries"}))

    name: str = Field(
        description="Need not be unique: a name refers to the newest glossary that has it.",
        examples=["Office"],
        json_schema_extra={"minLength": 1, "maxLength": MAX_NAME_CHARACTERS, "pattern": r"\S"},
    )
    source: Language = Field(
        examples=["en"], description="A code; case is ignored.", json_schema_extra=started(enum="glossary_sources")
    )
    target: Language = Field(
        examples=["de"], description="A code; case is ignored.", json_schema_extra=started(enum="glossary_targets")
    )
    entries: SomeTerms = Field(
        description="Terms and their translations (the term itself if it must stay untranslated). A term matches whole "
        "words: a lower-case term in any case, one with capitals exactly. Each has up to 200 "
        "characters; those of a key together have up to 10 MiB by default.",
        examples=[{"printer": "Drucker", "GitHub": "GitHub"}],
    )

    @field_validator("source", "target")
    @classmethod
    def _lower(cls, code: str) -> str:
        return canonical(code).lower()

    @field_validator("entries", mode="before")
    @classmethod
    def _terms(cls, entries: Any) -> Any:
        if not are_terms(entries):
            raise ValueError("give an object of terms and their translations")
        return entries


class GlossaryInfo(Body):
    """A stored glossary. It is owned by the API key that created it; without keys it is shared."""

    id: str
    name: str
    source: str
    target: str
    created: str = Field(description="ISO 8601, UTC.")
    entry_count: int


class GlossaryReply(GlossaryInfo):
    """A stored glossary with its entries."""

    entries: dict[str, str]


class GlossariesReply(Body):
    """The stored glossaries, oldest first."""

    glossaries: list[GlossaryInfo]


class FileFields(TypedDict):
    """The fields of a form that uploads a file."""

    file: Annotated[bytes, Field(description="One of " + " ".join(ENDINGS))]
    source: Annotated[str, Field(description="A code or `auto`.", json_schema_extra=started(enum="sources"))]
    target: Annotated[str, Field(json_schema_extra=started(enum="targets"))]
    split_sentences: NotRequired[Literal["0", "1", "nonewlines"]]
    glossary: NotRequired[Annotated[str, Field(description="The id or name of a stored glossary.")]]
    exact: NotRequired[Annotated[Literal["true", "false"], Field(description="As of texts.")]]
    columns: NotRequired[
        Annotated[
            str,
            Field(
                description="Of a csv or tsv: the headers of the columns to translate, with commas between; "
                "by default columns of text."
            ),
        ]
    ]


class FileReply(Body):
    """The translation of a file."""

    id: str
    name: str = Field(description="Name of the translated file.")
    status: Literal["queued", "translating", "done", "failed", "cancelled"]
    progress: float = Field(ge=0, le=1, description="Fraction of the characters that is translated.")
    characters: int = Field(description="Characters of its texts; 0 until the file has been read.")
    source: str | None = Field(
        default=None, description="The source language; the detected one if `source` was `auto`."
    )
    target: str
    error: str | None = Field(default=None, description="Present if the translation failed.")


class ConfigurationInfo(Body):
    """A configuration, its cost and its measured quality."""

    name: str
    bits_per_weight: float
    bytes: int = Field(description="All bytes needed to translate, except the tokenizer.")
    quality: Quality = Field(
        description="By test set: BLEU, chrF and milliseconds per sentence on the machine that measured them; empty if "
        "not measured."
    )
    available: bool
    reason: str | None = Field(description="Why it cannot be served; null if it can.")


class ModelInfo(Body):
    """A model and all its configurations."""

    name: str
    source_languages: list[str]
    target_languages: list[str]
    version: str
    beam_size: int = Field(description="Hypotheses kept at each step, for requests that name no number.")
    length_penalty: float = Field(description="A score is divided by the translation's length to the power of it.")
    active: str
    live: list[str] = Field(
        description="Configurations that a request may pin: the active one and those loaded beside it."
    )
    default: str
    configurations: list[ConfigurationInfo]


class PairInfo(Body):
    """A language pair that is served, by one model or through intermediate languages."""

    source: str
    target: str
    via: list[str] = Field(description="Intermediate languages; empty if a model translates the pair directly.")
    models: list[str] = Field(description="The models that answer, in order.")


class ModelsReply(Body):
    """The live models and the language pairs that they serve."""

    models: list[ModelInfo]
    pairs: list[PairInfo]


class Health(Body):
    """The answer of a health check."""

    status: Literal["live", "ready"]
    complaints: list[str] = Field(
        default=[], description="What fails while requests are served, such as a store; absent if nothing does."
    )
