"""Bodies of the LibreTranslate routes; they describe requests and replies in the OpenAPI and are not validated."""

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

Source = Annotated[str, Field(description="A code or `auto`.", examples=["en"])]
Target = Annotated[str, Field(examples=["de"])]
Glossary = Annotated[
    str | dict[str, str],
    Field(
        description="Terms and their translations (JSON only), or the id or name of a stored glossary. Not a field of "
        "the original API."
    ),
]


class TranslateFields(TypedDict):
    """The fields of a translation request."""

    q: str | list[str]
    source: Source
    target: Target
    format: NotRequired[Literal["text", "html"]]
    alternatives: NotRequired[Annotated[int, Field(ge=0)]]
    glossary: NotRequired[Glossary]
    api_key: NotRequired[str]


class DetectFields(TypedDict):
    """The fields of a request to detect a language."""

    q: str
    api_key: NotRequired[str]


class FileFields(TypedDict):
    """The fields of a form that uploads a file."""

    file: bytes
    source: Source
    target: Target
    glossary: NotRequired[str]
    api_key: NotRequired[str]


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
