"""Bodies of the Google routes; they describe requests and replies in the OpenAPI and are not validated at run time."""

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from service.api.schemas import EXAMPLE, Body, started

MAX_TEXTS = 128

Text = Annotated[str, Field(examples=[EXAMPLE], json_schema_extra=started(maxLength="max_text_characters"))]
Texts = Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]
AnyText = Annotated[str, Field(examples=[EXAMPLE])]
Code = Annotated[str, Field(min_length=1, examples=["de"], json_schema_extra=started(enum="google_targets"))]
Source = Annotated[
    str, Field(description="Detected for each text if missing.", json_schema_extra=started(enum="google_sources"))
]
Model = Literal["nmt", "base"]
AskedModel = Literal["nmt", "base", ""]
Status = Literal[
    "INVALID_ARGUMENT",
    "PERMISSION_DENIED",
    "NOT_FOUND",
    "RESOURCE_EXHAUSTED",
    "CANCELLED",
    "INTERNAL",
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
]


class GoogleErrorItem(Body):
    """One problem of a request; there is one."""

    message: str
    domain: Literal["global", "usageLimits"]
    reason: str


class GoogleErrorDetail(Body):
    """What is wrong and what to do."""

    code: int = Field(description="The status of HTTP.")
    message: str
    errors: list[GoogleErrorItem]
    status: Status


class GoogleError(Body):
    """The body of every 4xx and 5xx."""

    error: GoogleErrorDetail


class TranslateFields(TypedDict):
    """The fields of a translation request."""

    q: Texts
    target: Code
    source: NotRequired[Source]
    format: NotRequired[Annotated[Literal["html", "text", ""], Field(description="html if missing.")]]
    model: NotRequired[Annotated[AskedModel, Field(description="Repeated in the reply; there is one kind of model.")]]


class GoogleTranslation(TypedDict):
    """The translation of one text."""

    translatedText: str
    detectedSourceLanguage: NotRequired[Annotated[str, Field(description="Present if `source` was missing.")]]
    model: NotRequired[Annotated[Model, Field(description="Present if `model` was given.")]]


class GoogleTranslationList(TypedDict):
    """Translations in the order of the texts."""

    translations: list[GoogleTranslation]


class GoogleTranslations(TypedDict):
    """The reply to a translation request."""

    data: GoogleTranslationList


class DetectFields(TypedDict):
    """The fields of a request to detect languages."""

    q: AnyText | Annotated[list[AnyText], Field(min_length=1, max_length=MAX_TEXTS)]


class GoogleDetection(TypedDict):
    """A detected language, `und` for a text without a letter."""

    language: str
    confidence: Annotated[float, Field(ge=0, le=1)]
    isReliable: bool


class GoogleDetectionList(TypedDict):
    """For each text a list with its likeliest language."""

    detections: list[list[GoogleDetection]]


class GoogleDetections(TypedDict):
    """The reply to a request to detect languages."""

    data: GoogleDetectionList


class LanguagesFields(TypedDict):
    """The fields of a request for languages."""

    target: NotRequired[
        Annotated[str, Field(description="The language of the names, or else English.", examples=["de"])]
    ]
    model: NotRequired[AskedModel]


class GoogleLanguage(TypedDict):
    """A language."""

    language: str
    name: NotRequired[Annotated[str, Field(description="Present if `target` was given.")]]


class GoogleLanguageList(TypedDict):
    """All languages that can be translated from or to."""

    languages: list[GoogleLanguage]


class GoogleLanguages(TypedDict):
    """The reply to a request for languages."""

    data: GoogleLanguageList


class WebFields(TypedDict):
    """The fields of a request as the web page's clients make it; they send more, which is ignored."""

    q: Texts
    tl: Annotated[Code, Field(description="The target language.")]
    sl: NotRequired[Source]
    dj: NotRequired[Annotated[Literal["0", "1", ""], Field(description="1: the reply is an object.")]]


class WebSentence(TypedDict):
    """A text and its translation."""

    trans: str
    orig: str


class WebTranslation(TypedDict):
    """The reply as an object."""

    sentences: list[WebSentence]
    src: str


# A list of three: pairs of a translation and its text, nothing, and the language of the text.
WebList = list[list[list[str]] | str | None]
