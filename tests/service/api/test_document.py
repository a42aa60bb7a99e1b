"""The OpenAPI document is that of the server as it was started, and linters and generators of clients take it."""

import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.accounts.keys import new_key
from service.settings import Settings
from service.stores.sqlite import SqliteKeys
from tests.service.running import PAIR, TOKEN, Server, serve
from tests.service.tiny_model import write_tiny_model

LINTERS = Path(__file__).parents[1] / "linters"
HIDDEN = "a.key"  # of no server


@pytest.fixture(scope="module")
def locked(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    """Run a server that asks for keys, with /admin; yield it and a key."""
    path = tmp_path_factory.mktemp("keys") / "keys.sqlite3"
    key, record = new_key("small", None, None)
    SqliteKeys(path).add(record)
    settings = Settings(
        model_directory=tiny_model, threads=1, api_keys=True, keys_file=path, admin_token=TOKEN, max_texts=3
    )
    with serve(settings) as running:
        yield running, key


def document_of(server: Server) -> dict[str, Any]:
    document: dict[str, Any] = httpx.get(f"{server.url}/openapi.json", timeout=60).json()
    return document


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield method, path and description of each operation."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


def schema_of(document: dict[str, Any], name: str) -> dict[str, Any]:
    properties: dict[str, Any] = document["components"]["schemas"][name]["properties"]
    return properties


def test_operations_have_readable_names_and_tags_that_are_explained(server: Server, locked: tuple[Server, str]) -> None:
    for document in (document_of(server), document_of(locked[0])):
        names = [operation["operationId"] for _, _, operation in operations(document)]
        assert {"translate", "list_models", "upload_file", "deepl_translate", "libretranslate_detect"} <= {*names}
        assert len({*names}) == len(names)
        assert all(re.fullmatch(r"[a-z0-9]+(_[a-z0-9]+)*", name) for name in names)
        assert not any(re.search(r"_v[123]_|_(get|post|put|delete)\Z", name) for name in names)
        explained = {tag["name"] for tag in document["tags"] if tag["description"]}
        assert {tag for _, _, operation in operations(document) for tag in operation["tags"]} <= explained
        assert document["servers"][0]["url"] == "/"
        assert "x-" not in re.findall(r'"(x-)[a-z-]+":', json.dumps(document))


def test_an_open_server_asks_for_nothing(server: Server) -> None:
    document = document_of(server)
    assert all(operation["security"] == [] for _, _, operation in operations(document))
    assert not document["components"].get("securitySchemes")
    assert "api_key" not in json.dumps(document["paths"]["/translate"])


TEXT = {"text": "a", **PAIR}
FORM = {
    "q": "a",
    "api_key": HIDDEN,
    **PAIR,
    "text": "a",
    "source_lang": "EN",
    "target_lang": "DE",
    "document_key": "a",
    "tl": "de",
}
AZURE = {"api-version": "3.0", "to": "de"}
INFER = {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["a"]}]}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/translate": TEXT,
    "/v1/translate/stream": TEXT,
    "/v1/glossaries": {"name": "a", **PAIR, "entries": {"a": "b"}},
    "/v2/models/{model}/infer": INFER,
    "/v2/models/{model}/versions/{config}/infer": INFER,
}


def test_a_locked_server_asks_where_the_document_says(locked: tuple[Server, str]) -> None:
    server, _ = locked
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for method, path, operation in operations(document_of(server)):
            schemes = {name for scheme in operation["security"] for name in scheme}
            if path.startswith("/admin") or "/repository/" in path:
                assert "AdminToken" in schemes
                continue
            content = operation.get("requestBody", {}).get("content", {})
            fields = next(iter(content.values()))["schema"].get("required", ()) if content else ()
            asks = bool(schemes) or "api_key" in fields
            key = {
                "Authorization": f"DeepL-Auth-Key {HIDDEN}",
                **dict.fromkeys(("X-Api-Key", "X-Goog-Api-Key", "Ocp-Apim-Subscription-Key"), HIDDEN),
            }
            address = path.format_map(defaultdict(lambda: "tiny", config="full"))
            if "application/json" in content:
                is_azure = "azure" in operation["operationId"]
                body = [{"Text": "a"}] if is_azure else BODIES.get(path, FORM)
                reply = client.request(method, address, headers=key, json=body, params=AZURE if is_azure else {})
            elif content:
                reply = client.post(address, headers=key, data=FORM, files={"file": ("a.txt", b"The river.")})
            else:
                query = FORM if method == "get" else {}
                reply = client.request(method, address, headers=key, params=query)
            if path != "/suggest" and not (reply.status_code == 404 and "{" in path):  # nobody may; what is not there
                refused = reply.status_code in (401, 403) or "API key not valid" in reply.text
                assert refused is asks, (method, path, reply.text)


def test_limits_and_languages_are_those_of_the_server(
    server: Server, locked: tuple[Server, str], tmp_path: Path
) -> None:
    for document, texts in ((document_of(server), 128), (document_of(locked[0]), 3)):
        fields = schema_of(document, "TranslateRequest")
        text, many = fields["text"]["oneOf"]
        assert (text["minLength"], text["maxLength"], many["minItems"], many["maxItems"]) == (1, 10_000, 1, texts)
        assert (fields["source"]["enum"], fields["target"]["enum"]) == (["auto", "en"], ["de"])
        assert (fields["beam_size"]["maximum"], fields["alternatives"]["maximum"]) == (8, 4)
        assert schema_of(document, "GlossaryRequest")["source"]["enum"] == ["en"]
    # a model that comes later is in the document, and so is what is not served of its languages
    for source, target in (("en", "de"), ("de", "fr")):
        write_tiny_model(tmp_path / f"{source}-{target}", sources=(source,), targets=(target,))
    settings = Settings(
        models_directory=tmp_path, served_models="en-de", threads=1, max_pivots=0, admin_token=TOKEN, state_file=None
    )
    with serve(settings) as growing:
        assert schema_of(document_of(growing), "TranslateRequest")["target"]["enum"] == ["de"]
        added = httpx.put(f"{growing.url}/admin/models/de-fr", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60)
        assert added.status_code == 200, added.text
        document = document_of(growing)
        assert {*schema_of(document, "TranslateRequest")["target"]["enum"]} == {"de", "fr"}
        cases = document["components"]["schemas"]["TranslateRequest"]["not"]["anyOf"]
        assert [(case["properties"]["source"]["const"], case["properties"]["target"]["enum"]) for case in cases] == [
            ("en", ["fr"])
        ]


def test_linters_find_no_error(server: Server, locked: tuple[Server, str], tmp_path: Path) -> None:
    if not (LINTERS / "node_modules" / "installed").is_file():
        pytest.skip("the linters are not installed: `make test` installs them where node and npm are")
    paths = []
    for name, each in (("open", server), ("locked", locked[0])):
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(document_of(each)))
    tools = LINTERS / "node_modules" / ".bin"
    quiet = {**os.environ, "REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
    for command in (
        [tools / "spectral", "lint", "--ruleset", LINTERS / "spectral.yaml", "--fail-severity", "error"],
        [tools / "redocly", "lint", "--extends", "recommended"],
    ):
        done = subprocess.run(
            [*command, *paths], cwd=tmp_path, env=quiet, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_generator_of_clients_leaves_nothing_out(locked: tuple[Server, str], tmp_path: Path) -> None:
    server, key = locked
    (tmp_path / "openapi.json").write_text(json.dumps(document_of(server)))
    # without its hooks, which format the code
    (tmp_path / "config.yaml").write_text("post_hooks: []\n")
    generate = "from openapi_python_client.cli import app; app()"
    options = "generate --path openapi.json --config config.yaml --meta none --output-path made --fail-on-warning"
    done = subprocess.run(
        [sys.executable, "-c", generate, *options.split()],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    made = {path.stem for path in (tmp_path / "made" / "api").rglob("*.py")} - {"__init__"}
    assert made == {operation["operationId"] for _, _, operation in operations(document_of(server))}
    call = """
from made import AuthenticatedClient
from made.api.translation import translate
from made.models import TranslateRequest
from made.models.translate_request_source import TranslateRequestSource
from made.models.translate_request_target import TranslateRequestTarget
import sys
body = TranslateRequest(text="The old house.", source=TranslateRequestSource.EN, target=TranslateRequestTarget.DE)
with AuthenticatedClient(base_url=sys.argv[1], token=sys.argv[2]) as client:
    print(translate.sync(client=client, body=body).translations[0].text)
"""
    done = subprocess.run(
        [sys.executable, "-c", call, server.url, key], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    pair = {"source": "en", "target": "de"}
    reply = httpx.post(
        f"{server.url}/v1/translate", headers={"X-Api-Key": key}, json={"text": "The old house.", **pair}, timeout=60
    )
    assert done.stdout.strip() == reply.json()["translations"][0]["text"]
