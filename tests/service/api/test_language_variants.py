"""A model whose targets have tokens and variants: every dialect's clients get them by the codes that they send."""

from collections.abc import Iterator

import httpx
import pytest

from service.api.language_codes import read_code
from service.settings import Settings
from service.text import languages
from tests.service.running import serve
from tests.service.tiny_model import write_tiny_model

TEXT = "The old house."


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    path = write_tiny_model(tmp_path_factory.mktemp("variants") / "tiny", targets=("pt-BR", "zh-Hans"))
    with (
        serve(Settings(model_directory=path, threads=1)) as running,
        httpx.Client(base_url=running.url, timeout=60) as connection,
    ):
        yield connection


@pytest.mark.parametrize("code", ["pt-BR", "pt_br", "por_BR", "PT-BR", "zh-Hans", "cmn_Hans"])
def test_the_native_api_takes_codes_in_every_form(client: httpx.Client, code: str) -> None:
    reply = client.post("/v1/translate", json={"text": TEXT, "source": "eng", "target": code})
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize("code", ["pt-BR", "pb", "pt", "zh-Hans", "zh"])
def test_libretranslate(client: httpx.Client, code: str) -> None:
    reply = client.post("/translate", json={"q": TEXT, "source": "en", "target": code})
    assert reply.status_code == 200, reply.text
    targets = {target for language in client.get("/languages").json() for target in language["targets"]}
    assert {"pt-BR", "zh-Hans"} <= targets


@pytest.mark.parametrize("code", ["PT-BR", "PT", "ZH", "ZH-HANS"])
def test_deepl(client: httpx.Client, code: str) -> None:
    reply = client.post("/v2/translate", json={"text": [TEXT], "source_lang": "EN", "target_lang": code})
    assert reply.status_code == 200, reply.text


@pytest.mark.parametrize(
    ("given", "known", "expected"),
    [
        ("zh-CN", ["zh-hans", "zh-hant"], "zh-hans"),
        ("zh-TW", ["zh-hans", "zh-hant"], "zh-hant"),
        ("zh", ["zh-hans", "zh-hant"], "zh-hans"),
        ("pt-BR", ["pt", "pt-br"], "pt-br"),
        ("pt-BR", ["pt"], "pt"),
        ("deu", ["en", "de"], "de"),
        ("en-GB", ["en", "de"], "en"),
        ("no", ["nb"], "nb"),
        ("fr", ["en", "de"], None),
        (7, ["en"], None),
    ],
)
def test_what_a_code_means(given: object, known: list[str], expected: str | None) -> None:
    assert read_code(given, known) == expected


def test_variants_have_names() -> None:
    assert languages.name("pt-br") == "Portuguese (BR)"
    assert languages.name("de") == "German"
    assert languages.name("xx-yy") == "xx-yy"
