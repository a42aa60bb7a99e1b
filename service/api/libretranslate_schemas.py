"""Bodies of the LibreTranslate routes; they describe requests and replies in the OpenAPI and are not validated."""

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from service.api.schemas import EXAMPLE, KEY_IN_BODY, Terms, Text, started

AnyText = Annotated[str, Field(json_schema_extra=started(maxLength="max_text_characters"))]  # may be empty in a list

_SOURCES, _TARGETS = started(enum="libretranslate_sources"), started(enum="libretranslate_targets")
Source = Annotated[str, Field(description="A code or `auto`.", examples=["en"], json_schema_extra=_SOURCES)]
Target = Annotated[str, Field(examples=["de"], json_schema_extra=_TARGETS)]
Format = Annotated[Literal["text", "html", ""], Field(description="`text` if it is empty.")]
Alternatives = (
    Annotated[int, Field(json_schema_extra=started(maximum="max_alternatives"))]
    | Annotated[str, Field(json_schema_extra=started(enum="alternatives"))]
)
Key = Annotated[str, Field(description="The API key.", json_schema_extra=KEY_IN_BODY)]
Glossary = Annotated[
    str | Terms,
    Field(
        description="Terms and their translations (JSON only), or the id or name of a stored glossary. Not a field of "
        "the original API."
    ),
]


class TranslateFields(TypedDict):
    """The fields of a translation request."""

    q: Text | Annotated[list[AnyText], Field(min_length=1, json_schema_extra=started(maxItems="max_texts"))]
    source: Source
    target: Target
    format: NotRequired[Format]
    alternatives: NotRequired[Alternatives]
    glossary: NotRequired[Glossary]
    api_key: NotRequired[Key]


class TranslateForm(TypedDict):
    """The same as a form."""

    q: Annotated[Text, Field(description="A text, or a list of texts as JSON.")]
    source: Source
    target: Target
    format: NotRequired[Format]
    alternatives: NotRequired[Alternatives]
    glossary: NotRequired[Annotated[str, Field(description="The id or name of a stored glossary.")]]
    api_key: NotRequired[Key]


DetectedText = Annotated[str, Field(min_length=1, examples=[EXAMPLE])]


class DetectFields(TypedDict):
    """The fields of a request to detect a language."""

    q: DetectedText | Annotated[list[str], Field(min_length=1)]
    api_key: NotRequired[Key]


class DetectForm(TypedDict):
    """The same as a form."""

    q: DetectedText
    api_key: NotRequired[Key]


class FileFields(TypedDict):
    """The fields of a form that uploads a file."""

    file: bytes
    source: Source
    target: Target
    glossary: NotRequired[str]
    api_key: NotRequired[Key]


class LibreDetected(TypedDict):
    """A detected language and its confidence in percent."""

    confidence: Annotated[float, Field(ge=0, le=100)]
    language: str


class LibreTranslations(TypedDict):
    """Translations; each field is a list if `q` was one."""

    translatedText: str | list[str]
    detectedLanguage: NotRequired[
        Annotated[LibreDetected | list[LibreDetected], Field(description="Present if `source` was `auto`.")]
    ]
    alternatives: NotRequired[
        Annotated[list[str] | list[list[str]], Field(description="Present if `alternatives` was more than 0.")]
    ]


class LibreLanguage(TypedDict):
    """A language and the languages that it can be translated to."""

    code: str
    name: str
    targets: list[str]


class LibreHealth(TypedDict):
    """The answer of the health check."""

    status: Literal["ok"]


class LibreFile(TypedDict):
    """The address of a translated file."""

    translatedFileUrl: str


class LibreSettingsLanguage(TypedDict):
    """A language that a front end selects at first."""

    code: str
    name: str


class LibreSettingsPair(TypedDict):
    """The language pair that a front end selects at first."""

    source: LibreSettingsLanguage
    target: LibreSettingsLanguage


class LibreSettings(TypedDict):
    """The settings of a front end."""

    charLimit: int
    frontendTimeout: int
    apiKeys: bool
    keyRequired: bool
    suggestions: bool
    filesTranslation: bool
    supportedFilesFormat: list[str]
    language: LibreSettingsPair
