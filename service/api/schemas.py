"""Bodies of native requests and replies.

Unknown fields are refused, so that a misspelt option does not pass unnoticed. The routes check the limits that the
settings may change (characters, texts, alternatives, beam size); the limits here are fixed.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator
from typing_extensions import TypedDict

from service.files import ENDINGS
from service.translation.cost import Memory, ModelIdentity, StageTimings

Language = Annotated[str, Field(min_length=1, max_length=35, description="Code such as `en`; case is ignored.")]
Quality = dict[str, dict[str, float]]


class Body(BaseModel):
    """What every request and reply has in common: no unknown field, no silent conversion."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


class Error(Body):
    """The body of every 4xx and 5xx."""

    error: str = Field(description="One sentence that says what is wrong and what to do.")


class Detected(Body):
    """The source language that was detected, and how probable it is."""

    language: str
    confidence: float = Field(ge=0, le=1)


def are_terms(value: Any) -> bool:
    """Whether it is an object of terms and their translations."""
    return isinstance(value, dict) and all(isinstance(text, str) for entry in value.items() for text in entry)


def _shape(text: Any) -> str | None:
    return "string" if isinstance(text, str) else "list" if isinstance(text, list) else None


class TranslateRequest(Body):
    """Texts and the languages to translate them between."""

    text: Annotated[
        Annotated[str, Tag("string")]
        | Annotated[list[str], Field(fail_fast=True), Tag("list")],  # not an error for each item
        Discriminator(
            _shape, custom_error_type="text_shape", custom_error_message="Input should be a string or a list of strings"
        ),
    ] = Field(description="One text or a list; by default up to 128 texts of up to 10,000 characters.")
    source: Language = Field(examples=["en"], description="A code, or `auto` to detect it text by text.")
    target: Language = Field(examples=["de"])
    beam_size: int = Field(
        default=1, ge=1, description="Hypotheses kept at each step; 1 is greedy. By default up to 8."
    )
    alternatives: int = Field(
        default=0,
        ge=0,
        description="Next best translations to return, by default up to 4; the beam is at least alternatives + 1 wide.",
    )
    split_sentences: Literal["0", "1", "nonewlines"] = Field(
        default="1",
        description="What ends a sentence: 1 full stops and line breaks, nonewlines full stops only, 0 nothing.",
    )
    alignment: bool = Field(default=False, description="Also tell which words come from which.")
    glossary: str | dict[str, str] | None = Field(
        default=None,
        description="The translations of terms, up to 5,000; a term itself where it is not translated. Or the id or "
        "name of a stored glossary.",
        examples=[{"printer": "Drucker", "GitHub": "GitHub"}],
    )
    config: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="The live configuration that must answer, of each model on the way, else the active ones; the "
        "header X-Sub3-Config pins too.",
    )
    model: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="The model that must answer, of those that translate the pair themselves; the header X-Sub3-Model "
        "says so too.",
    )

    @field_validator("source", "target")
    @classmethod
    def _lower(cls, code: str) -> str:
        return code.lower()

    @field_validator("glossary", mode="before")
    @classmethod
    def _terms(cls, glossary: Any) -> Any:
        if not (glossary is None or isinstance(glossary, str) or are_terms(glossary)):  # not an error for each of them
            raise ValueError("give an object of terms and their translations, or a stored glossary's id or name")
        return glossary


class Alternative(Body):
    """A next best translation. Of a text of several sentences: their hypotheses of the same rank, joined."""

    text: str
    score: float


class Link(Body):
    """A word or mark of a translation and that of the source that it comes from: [begin, end) in Unicode characters."""

    source: tuple[int, int]
    target: tuple[int, int]


class TranslationReply(Body):
    """A translation; what holds no letter (emoji, numbers, spaces) comes back as it is, with the score 0."""

    text: str
    score: float = Field(description="Mean over the sentences of the log probability by Marian's length norm; <= 0.")
    alternatives: list[Alternative]
    detected: Detected | None = Field(default=None, description="There if `source` was `auto`.")
    alignment: list[Link] | None = Field(
        default=None, description="There if it was asked for: a link for each word of the text that could be followed."
    )
    cut_sentences: int | None = Field(
        default=None, description="There if sentences were longer than the model's window: so many were cut at clauses."
    )
    via: list[str] | None = Field(
        default=None, description="There if no model translates the pair itself: the languages that it went through."
    )


class TranslateReply(Body):
    """Translations in the order of the texts, the weights that made them, and what they cost."""

    translations: list[TranslationReply]
    model: ModelIdentity = Field(description="Of several, the first that answered.")
    models: list[ModelIdentity] | None = Field(
        default=None, description="There if several models answered: all of them, in the order in which they did."
    )
    latency_ms: StageTimings
    memory: Memory


class SentenceEvent(Body):
    """`event: sentence` of a stream: one sentence of a text, as soon as it and those before it are ready."""

    text: int = Field(description="Which text of the request, from 0.")
    sentence: int = Field(description="Which sentence of the text, from 0; pieces without a letter don't count.")
    source: str
    translation: str
    score: float


class GlossaryRequest(Body):
    """Terms and their translations, to be kept."""

    name: str = Field(description="Need not be unique: the youngest of a name answers to it.")
    source: Language = Field(examples=["en"])
    target: Language = Field(examples=["de"])
    entries: dict[str, str] = Field(
        description="The translation of each term, the term itself where it is not translated. A term is found as "
        "whole words: in lower case in any casing, with capitals as written. Up to 5,000 of up to 200 characters.",
        examples=[{"printer": "Drucker", "GitHub": "GitHub"}],
    )

    @field_validator("source", "target")
    @classmethod
    def _lower(cls, code: str) -> str:
        return code.lower()

    @field_validator("entries", mode="before")
    @classmethod
    def _terms(cls, entries: Any) -> Any:
        if not are_terms(entries):
            raise ValueError("give an object of terms and their translations")
        return entries


class GlossaryInfo(Body):
    """A stored glossary; it belongs to the API key that made it, and to everyone on a server without keys."""

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


class FileReply(Body):
    """A file that is being translated, or has been."""

    id: str
    name: str = Field(description="What the translated file is called.")
    status: Literal["queued", "translating", "done", "failed", "cancelled"]
    progress: float = Field(ge=0, le=1, description="The part of its characters that is translated.")
    characters: int = Field(description="Of its texts; 0 until it has been opened.")
    source: str | None = Field(default=None, description="The language; the detected one, if `source` was `auto`.")
    target: str
    error: str | None = Field(default=None, description="There if it failed.")


class ConfigurationInfo(Body):
    """A configuration with its cost and its measured quality."""

    name: str
    bits_per_weight: float
    bytes: int = Field(description="All bytes needed to translate, tokenizer aside.")
    quality: Quality = Field(
        description="BLEU, chrF and, on the machine that measured them, milliseconds a sentence by test set; empty if "
        "unmeasured."
    )
    available: bool
    reason: str | None = Field(description="Why it can't be served; null if it can.")


class ModelInfo(Body):
    """A model and all its configurations."""

    name: str
    source_languages: list[str]
    target_languages: list[str]
    version: str
    active: str
    live: list[str] = Field(description="What a request may pin: the active one, and what is loaded beside it.")
    default: str
    configurations: list[ConfigurationInfo]


class PairInfo(Body):
    """A language pair that is served: by one model, or through languages that stand between."""

    source: str
    target: str
    via: list[str] = Field(description="Empty if a model translates it itself.")
    models: list[str] = Field(description="Those that answer, one after the other.")


class ModelsReply(Body):
    """The live models, and what can be translated with them."""

    models: list[ModelInfo]
    pairs: list[PairInfo]


class Health(Body):
    """Answer of the health checks."""

    status: Literal["live", "ready"]
    complaints: list[str] = Field(
        default=[], description="What fails while requests are served, such as a store; absent if nothing does."
    )
