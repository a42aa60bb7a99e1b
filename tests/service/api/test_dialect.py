"""Every route belongs to the dialect that declares it, so that its errors have that dialect's form."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.exceptions import HTTPException

from service.api import azure, deepl, google, kserve, kserve_repository, libretranslate, native
from service.api.dialect import Dialect, dialect_of
from service.api.errors import STATUS, code_of
from service.app import create_app
from service.settings import Settings
from tests.service.running import TOKEN

BY_TAG = {
    "DeepL": deepl.DIALECT,
    "LibreTranslate": libretranslate.DIALECT,
    "KServe": kserve.DIALECT,
    "Google": google.DIALECT,
    "Azure": azure.DIALECT,
}
DIALECTS = [native.DIALECT, *BY_TAG.values(), kserve_repository.DIALECT]


@pytest.fixture(scope="module")
def operations(tiny_model: Path) -> list[tuple[str, dict[str, Any]]]:
    """Yield the path and the description of each operation."""
    paths = create_app(Settings(model_directory=tiny_model, admin_token=TOKEN)).openapi()["paths"]
    return [(path, operation) for path, methods in paths.items() for operation in methods.values()]


def test_each_path_has_one_owner_and_it_is_the_dialect_of_the_route(
    operations: list[tuple[str, dict[str, Any]]],
) -> None:
    seen: list[Dialect] = []
    for path, operation in operations:
        owners = [dialect for dialect in DIALECTS if dialect.paths.match(path)]
        declared = next((BY_TAG[tag] for tag in operation.get("tags", ()) if tag in BY_TAG), None)
        if declared is None:  # the native ones, and what no dialect owns: pages, health checks, /admin
            assert owners == ([native.DIALECT] if path.startswith("/v1/") else []), path
        else:
            assert owners == [kserve_repository.DIALECT if "/repository/" in path else declared], path
        seen += owners
    assert all(dialect in seen for dialect in DIALECTS)


def test_the_uploads_are_the_routes_that_take_files_or_deepls_glossaries(
    operations: list[tuple[str, dict[str, Any]]],
) -> None:
    large = {
        path
        for path, operation in operations
        if list(operation.get("requestBody", {}).get("content", ())) == ["multipart/form-data"]
        or ("requestBody" in operation and re.match("/v[23]/glossaries", path))
    }
    patterns = [dialect.uploads for dialect in DIALECTS if dialect.uploads is not None]
    assert len(large) > len(patterns)
    assert {path for path, _ in operations if any(pattern.fullmatch(path) for pattern in patterns)} == large


def test_a_path_that_nobody_owns_has_the_default_form() -> None:
    dialect = dialect_of("/nothing", DIALECTS)
    assert dialect not in DIALECTS
    assert dialect.refusal(404, "Not here.", {"X-A": "b"}).body == b'{"error":"Not here.","code":"not_found"}'


def test_the_first_owner_answers() -> None:
    first = Dialect(re.compile("/a"), lambda status, sentence, code: {"first": sentence})
    second = Dialect(re.compile("/"))
    assert dialect_of("/a/b", [first, second]) is first
    assert dialect_of("/b", [first, second]) is second
    # beginnings only: an owner of /a is asked for no /b/a
    assert dialect_of("/b/a", [first]) is not first
    assert first.refusal(400, "No.").body == b'{"first":"No."}'


def test_codes_of_errors_are_stable() -> None:
    """A program may depend on each of them: one that is renamed or gone is a change of the API."""
    codes = {code_of(kind.__new__(kind)) for kind in STATUS}
    assert codes == {
        *("missing_key", "wrong_key", "rate_exceeded", "quota_exceeded", "store_unavailable", "unsupported_pair"),
        *(
            "limit_exceeded",
            "glossary_refused",
            "unknown_glossary",
            "unknown_dictionary",
            "unavailable_configuration",
            "model_error",
        ),
        *("not_live", "unknown_model", "canary_conflict", "last_model", "swap_in_progress", "insufficient_memory"),
        *("too_many_followers", "queue_full", "self_test_failed", "not_ready", "swap_took_too_long"),
        *("scheduler_closed", "unknown_format", "file_refused", "unknown_file", "too_many_files", "client_closed"),
        *("client_disconnect", "deadline_exceeded", "no_room"),
    }
    assert code_of(RuntimeError()) == "internal"
    assert code_of(HTTPException(413)) == "body_too_large"


def test_native_errors_have_a_code_and_the_others_of_their_own_kind_none(client: httpx.Client) -> None:
    pair = {"source": "en", "target": "xx"}
    refused = client.post("/v1/translate", json={"text": "The river.", **pair}).json()
    assert refused["code"] == "unsupported_pair"
    assert client.get("/v1/nothing").json()["code"] == "not_found"
    assert client.post("/v1/translate", json={}).json()["code"] == "invalid_request"
    assert list(client.post("/translate", json={"q": "The river.", **pair}).json()) == ["error"]
