"""SECURITY.md states the limits as the settings have them; what an image holds is signed with its digest."""

import base64
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from service import settings as module
from service.api import json_route, schemas
from service.files import xml
from service.http import protocol
from service.requests import dispatch
from service.settings import Settings
from service.text import glossary
from tests.conftest import ROOT

TEXT = (ROOT / "SECURITY.md").read_text()
TABLE = dict(re.findall(r"^\| `SUB3_(\w+)` \| (\d+) \|$", TEXT, re.MULTILINE))
# Settings that bound something, but not what a client may do.
NOT_OF_CLIENTS = {"MAX_BATCH_ROWS", "MAX_BATCH_TOKENS", "MAX_ENCODE_TOKENS", "MEMORY_LIMIT_BYTES"}


def test_the_table_has_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "memory_limits", list)  # of a machine without limits, whatever this one has
    defaults = {
        name.upper(): field.get_default(call_default_factory=True) for name, field in Settings.model_fields.items()
    }
    assert {name: float(value) for name, value in TABLE.items()} == {name: defaults[name] for name in TABLE}


def test_every_limit_of_a_client_is_in_it() -> None:
    limits = {
        name.upper()
        for name in Settings.model_fields
        if re.match(r"max_|file_(?!.*name)", name) or name in ("header_seconds", "body_seconds", "write_seconds")
    }
    assert limits - NOT_OF_CLIENTS == TABLE.keys()


def test_the_fixed_limits_are_those_of_the_code() -> None:
    fixed = TEXT.split("These are fixed:")[1].split("\n## ")[0]
    assert dict(re.findall(r"^\| (\w.*\w) \| (\d+) \|$", fixed, re.MULTILINE)) == {
        "sentences of a request, for a character that a text may have": str(dispatch._SENTENCES),
        "tags of a request, for a character that a text may have": str(dispatch._TAGS),
        "characters of a text with its markup, for a character that a text may have": str(dispatch._MARKED_UP),
        "items of a list or an object in JSON": str(json_route.MAX_ITEMS),
        "fields of an object or a form": str(json_route.MAX_FIELDS),
        "entries of a glossary in a request": str(schemas.MAX_ENTRIES),
        "characters of a term": str(glossary.MAX_TERM_CHARACTERS),
        "characters of a prefix": str(schemas.MAX_PREFIX_CHARACTERS),
        "requests of a connection that wait for the one before": str(protocol._MAX_PIPELINED),
        "namespaces of a file": str(xml.MAX_NAMESPACES),
    }


def test_the_server_s_list_has_what_it_needs_alone() -> None:
    """The usual package of fastText brings clients of the web along, ours does not; torch is for the offline half."""
    locked = re.findall(r"^([\w.-]+)==\S+", (ROOT / "docker/requirements/serve.txt").read_text(), re.MULTILINE)
    assert {"fasttext-predict", "fastapi", "redis"} <= set(locked)
    assert not {"requests", "urllib3", "httpx", "robust-downloader", "numpy", "torch", "safetensors"} & set(locked)


def test_temporary_files_of_containers_have_a_limit() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    sizes = re.findall(r"type: tmpfs, target: [\w/]+, tmpfs: \{size: (\d+)\}", compose)
    assert len(sizes) == compose.count("type: tmpfs") >= 2
    pods = (ROOT / "docker/kubernetes/base/deployment.yaml").read_text()
    assert len(re.findall(r"emptyDir:\s+(?:medium: Memory\s+)?sizeLimit: \d+Mi", pods)) == pods.count("emptyDir:") >= 2
    assert re.search(r"^  limit_conn connections \d+;$", (ROOT / "docker/nginx/nginx.conf.template").read_text(), re.M)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_an_sbom_is_signed_with_the_digest_of_its_image(tmp_path: Path) -> None:
    def run(*command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    attest, digest = str(ROOT / "docker" / "attest"), "0123456789abcdef" * 4
    for name in ("ours", "theirs"):
        assert (
            run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.pem").returncode == 0
        )
        assert run("openssl", "ec", "-in", f"{name}.pem", "-pubout", "-out", f"{name}.pub").returncode == 0
    sbom = {"bomFormat": "CycloneDX", "components": [{"name": "m\u00e4\u00df"}]}
    (tmp_path / "sbom.json").write_text(json.dumps(sbom, ensure_ascii=False, indent=1))
    signed = run(attest, "sign", "sbom.json", "registry:5000/sub3", f"registry:5000/sub3@sha256:{digest}", "ours.pem")
    (tmp_path / "signed.json").write_text(signed.stdout)
    verified = run(attest, "verify", "signed.json", "ours.pub")
    assert verified.returncode == 0, verified.stderr
    statement = json.loads(verified.stdout)
    assert statement["subject"] == [{"name": "registry:5000/sub3", "digest": {"sha256": digest}}]
    assert statement["predicate"] == sbom
    envelope = json.loads(signed.stdout)
    statement["subject"][0]["digest"]["sha256"] = digest[::-1]
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    (tmp_path / "changed.json").write_text(json.dumps(envelope))
    for forged in (("changed.json", "ours.pub"), ("signed.json", "theirs.pub")):
        refused = run(attest, "verify", *forged)
        assert (refused.returncode, refused.stdout) == (1, "")
    assert run(attest, "sign", "sbom.json", "sub3", "sha256:0", "ours.pem").returncode == 2
