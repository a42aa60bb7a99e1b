"""Parameters and bodies of the Azure routes; they describe requests and replies in the OpenAPI."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from service.api.schemas import EXAMPLE, Body, started

Version = Literal["3.0"]
# An empty parameter is one that is missing.
Target = Annotated[str, Field(min_length=1, examples=["de"], json_schema_extra=started(enum="azure_targets"))]
Source = Annotated[
    str, Field(description="Detected for each text if missing.", json_schema_extra=started(enum="azure_sources"))
]
Switch = Literal["true", "false", ""]
Score = Annotated[float, Field(ge=0, le=1)]
Length = Annotated[int, Field(ge=0, description="In UTF-16 code units, as all places and lengths.")]


class AzureErrorDetail(Body):
    """What is wrong and what to do."""

    code: int = Field(description="The status of HTTP, and three digits for the kind.")
    message: str


class AzureError(Body):
    """The body of every 4xx and 5xx."""

    error: AzureErrorDetail


VersionParameters = TypedDict("VersionParameters", {"api-version": Version})
LanguagesParameters = TypedDict(
    "LanguagesParameters",
    {
        "api-version": Version,
        "scope": NotRequired[
            Annotated[
                str,
                Field(
                    pattern="^(translation|transliteration|dictionary)(,(translation|transliteration|dictionary))*$",
                    description="All three if missing; those but `translation` are empty.",
                ),
            ]
        ],
    },
)
BreakParameters = TypedDict(
    "BreakParameters",
    {
        "api-version": Version,
        "language": NotRequired[Source],
    },
)
TranslateParameters = TypedDict(
    "TranslateParameters",
    {
        "api-version": Version,
        "to": Annotated[
            list[Target],
            Field(min_length=1, description="Repeated for several languages.", json_schema_extra={"uniqueItems": True}),
        ],
        "from": NotRequired[Source],
        "textType": NotRequired[Literal["plain", "html", ""]],
        "allowFallback": NotRequired[
            Annotated[Switch, Field(description="false: no other model may answer for a `category` of one's own.")]
        ],
        "suggestedFrom": NotRequired[Source],
        "includeAlignment": NotRequired[Annotated[Switch, Field(description="For plain text.")]],
        "includeSentenceLength": NotRequired[Annotated[Switch, Field(description="For plain text.")]],
        "profanityAction": NotRequired[Literal["NoAction", ""]],
        "profanityMarker": NotRequired[Literal["Asterisk", "Tag", ""]],
    },
)


Text = Annotated[str, Field(examples=[EXAMPLE], json_schema_extra=started(maxLength="max_text_characters"))]


class AzureText(TypedDict):
    """A text, by one of the two names."""

    __pydantic_config__ = ConfigDict(  # type: ignore[misc]
        json_schema_extra={"oneOf": [{"required": ["Text"]}, {"required": ["text"]}]}
    )

    Text: NotRequired[Text]
    text: NotRequired[Text]


AzureTexts = Annotated[list[AzureText], Field(min_length=1, json_schema_extra=started(maxItems="max_texts"))]


class AzureDetected(TypedDict):
    """The detected language."""

    language: str
    score: Score


class AzureAlignment(TypedDict):
    """Pairs of words, as the places of their first and last characters: `0:2-0:2 4:6-4:7`."""

    proj: NotRequired[Annotated[str, Field(description="Missing where nothing is known.")]]


class AzureSentences(TypedDict):
    """Lengths of the sentences of a text and of its translation."""

    srcSentLen: list[Length]
    transSentLen: list[Length]


class AzureTranslation(TypedDict):
    """The translation of a text to one language."""

    text: str
    to: str
    alignment: NotRequired[Annotated[AzureAlignment, Field(description="Present if it was asked for.")]]
    sentLen: NotRequired[Annotated[AzureSentences, Field(description="Present if they were asked for.")]]


class AzureTranslations(TypedDict):
    """The translations of a text, in the order of `to`."""

    detectedLanguage: NotRequired[Annotated[AzureDetected, Field(description="Present if `from` was missing.")]]
    translations: list[AzureTranslation]


class AzureGuess(TypedDict):
    """A language that a text may be in."""

    language: str
    score: Score
    isTranslationSupported: bool
    isTransliterationSupported: Literal[False]


class AzureDetection(AzureGuess):
    """The likeliest language of a text."""

    alternatives: list[AzureGuess]


class AzureBreaks(TypedDict):
    """The lengths of the sentences of a text, which add up to that of the text."""

    sentLen: list[Length]
    detectedLanguage: NotRequired[Annotated[AzureDetected, Field(description="Present if `language` was missing.")]]


class AzureLanguage(TypedDict):
    """A language; the name is in the reader's language, by `Accept-Language`."""

    name: str
    nativeName: str
    dir: Literal["ltr", "rtl"]


class AzureLanguages(TypedDict):
    """The languages by scope."""

    translation: NotRequired[dict[str, AzureLanguage]]
    transliteration: NotRequired[dict[str, Any]]
    dictionary: NotRequired[dict[str, Any]]
