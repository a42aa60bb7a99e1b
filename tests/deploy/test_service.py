"""What the image answers is what these sources answer, though its packages are cut down.

Both get the same texts, and files of every kind.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from starlette.testclient import TestClient

from service.app import create_app
from service.files import ENDINGS
from service.settings import Settings
from tests.conftest import DEFAULT_MODEL
from tests.deploy.docker import container, free_port, serving, until, until_ready
from tests.service.files.test_android import RESOURCES
from tests.service.files.test_files import PO, SRT, VTT, XLIFF, XLIFF_2, epub_file, odt_file, word_file
from tests.service.files.test_fluent import FLUENT
from tests.service.files.test_json import ARB, NESTED
from tests.service.files.test_office import presentation, workbook
from tests.service.files.test_properties import PROPERTIES
from tests.service.files.test_resx import RESX
from tests.service.files.test_strings import STRINGS
from tests.service.files.test_tables import TABLE, TABS
from tests.service.files.test_yaml import RAILS

PAGE = (
    "<!-- " + "x" * 1_500_000 + " --><p>The <b>red car</b> stands <a href='x'>before the house</a>.</p>"
)  # to the disk
MARKUP = "Press <b>Enter</b>, {name}, and see https://example.org/a?b=c.\n\n  - Save the file.\n  - Close it."
OTHERS = ("Das Wetter ist heute schön.", "Où est la gare ?", "The weather is fine today.")
Client = TestClient | httpx.Client


def files(folder: Path) -> Mapping[str, bytes]:
    """Make a file of each kind."""
    texts = {
        ".txt": "The door is open.\n\nClose it, please.\n",
        ".md": "# The door\n\nIt is *open*. Close `it`.\n",
        ".html": PAGE,
        ".htm": PAGE[-100:],
        ".xhtml": "<html xmlns='http://www.w3.org/1999/xhtml'><body><p>The door is open.</p></body></html>",
        ".po": PO,
        ".srt": SRT,
        ".vtt": VTT,
        ".xlf": XLIFF,
        ".xliff": XLIFF_2,
        ".json": NESTED,
        ".arb": ARB,
        ".properties": PROPERTIES,
        ".strings": STRINGS,
        ".xml": RESOURCES,
        ".resx": RESX,
        ".ftl": FLUENT,
        ".yaml": RAILS,
        ".yml": RAILS,
        ".csv": TABLE,
        ".tsv": TABS,
    }
    packed = {".docx": word_file(), ".odt": odt_file(), ".epub": epub_file(folder)}
    packed |= {".xlsx": workbook(), ".pptx": presentation()}
    return {ending: text.encode() for ending, text in texts.items()} | packed


def texts_of(data: bytes) -> object:
    """Return a file, or the members of an archive, whose times don't matter."""
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return data
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def translated(client: Client, name: str, data: bytes) -> object:
    """Send a file and return what comes back."""
    form = {"source": "en", "target": "de"}
    sent = client.post("/v1/files", data=form, files={"file": (name, data)})
    assert sent.status_code == 202, sent.text
    place = f"/v1/files/{sent.json()['id']}"
    until(f"a translated {name}", lambda: client.get(place).json()["status"] not in ("queued", "translating"))
    assert client.get(place).json()["status"] == "done", client.get(place).text
    return texts_of(client.get(f"{place}/result").content)


def everything(client: Client, texts: list[str], documents: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the answers without their times."""
    pair = {"source": "en", "target": "de"}
    many = {"text": [*texts, MARKUP], "alignment": True, "beam_size": 4, "alternatives": 3}
    requests = {
        "translate": ("/v1/translate", many | pair),
        "auto": ("/v1/translate", {"text": texts[0], "source": "auto", "target": "de"}),
        "deepl": ("/v2/translate", {"text": texts[:2], "target_lang": "DE"}),
        "libretranslate": ("/translate", {"q": MARKUP, "format": "html"} | pair),
        **{f"detect {text}": ("/detect", {"q": text}) for text in OTHERS},
    }
    answers: dict[str, Any] = {}
    for what, (path, body) in requests.items():
        reply = client.post(path, json=body, headers={"Authorization": "DeepL-Auth-Key any"})
        assert reply.status_code == 200, (what, reply.text)
        told = reply.json()
        answers[what] = told["translations"] if "/v1/" in path else told
    answers |= {f"a{ending}": translated(client, f"a{ending}", data) for ending, data in documents.items()}
    return answers


def test_it_answers_what_the_sources_answer(server_image: str, texts: list[str], tmp_path: Path) -> None:
    documents = files(tmp_path)
    assert set(documents) == set(ENDINGS)
    with TestClient(create_app(Settings(model_directory=DEFAULT_MODEL, state_file=None))) as ours:
        expected = everything(ours, texts, documents)
    port = free_port()
    limits = ["--memory", "128m", "--memory-swap", "128m", "--cpus", "1", "--tmpfs", "/tmp"]
    with container(server_image, *serving(*limits, "--env", "SUB3_THREADS=1", port=port)):
        until_ready(port)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            answered = everything(client, texts, documents)
    for what, answer in expected.items():
        assert answered[what] == answer, what
