"""Bodies of native requests and replies.

Unknown fields are refused, so that a misspelt option does not pass unnoticed. The routes check the limits that the
settings may change (characters, texts, alternatives, beam size); the limits here are fixed.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator
from typing_extensions import TypedDict

from models.format.languages import canonical
from service.files import ENDINGS
from service.translation.cost import Memory, ModelIdentity, Rungs, StageTimings
from service.translation.results import Unchanged

Language = Annotated[str, Field(min_length=1, max_length=35, description="Code such as `en`; case is ignored.")]
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


def are_terms(value: Any) -> bool:
    """Return whether a value is an object of terms and their translations."""
    return isinstance(value, dict) and all(isinstance(text, str) for entry in value.items() for text in entry)


def _shape(text: Any) -> str | None:
    return "string" if isinstance(text, str) else "list" if isinstance(text, list) else None


class TranslateRequest(Body):
    """Texts to translate, the languages, and options."""

    text: Annotated[
        Annotated[str, Tag("string")]
        | Annotated[list[str], Field(fail_fast=True), Tag("list")],  # one error, not one for each item
        Discriminator(
            _shape, custom_error_type="text_shape", custom_error_message="Input should be a string or a list of strings"
        ),
    ] = Field(description="A text or a list of texts; by default up to 128 texts of up to 10,000 characters.")
    source: Language = Field(examples=["en"], description="A code, or `auto` to detect the language of each text.")
    target: Language = Field(examples=["de"])
    beam_size: int = Field(
        default=1, ge=1, description="Hypotheses kept at each step; 1 is greedy. By default up to 8."
    )
    alternatives: int = Field(
        default=0,
        ge=0,
        description="Number of further translations, by default up to 4; the beam size is at least alternatives + 1.",
    )
    split_sentences: Literal["0", "1", "nonewlines"] = Field(
        default="1",
        description="Where sentences end: 1 at punctuation and line breaks, nonewlines at punctuation only, 0 nowhere.",
    )
    alignment: bool = Field(default=False, description="Also return word alignments.")
    glossary: str | dict[str, str] | None = Field(
        default=None,
        description="Up to 5,000 terms and their translations (the term itself if it must stay untranslated), or the "
        "id or name of a stored glossary.",
        examples=[{"printer": "Drucker", "GitHub": "GitHub"}],
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

    source: tuple[int, int]
    target: tuple[int, int]


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

    name: str = Field(description="Need not be unique: a name refers to the newest glossary that has it.")
    source: Language = Field(examples=["en"])
    target: Language = Field(examples=["de"])
    entries: dict[str, str] = Field(
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
    source: Annotated[str, Field(description="A code or `auto`.")]
    target: str
    split_sentences: NotRequired[Literal["0", "1", "nonewlines"]]
    glossary: NotRequired[Annotated[str, Field(description="The id or name of a stored glossary.")]]
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
