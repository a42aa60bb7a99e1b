"""What `make audit` reads from locks and advisories."""

import json
from pathlib import Path

import pytest
from packaging.version import Version

from tests.bench.audit import LOCKS, advisories, pinned

ADVISORY = {
    "affected": [
        {
            "package": {"name": "Some_Package", "ecosystem": "PyPI"},
            "ranges": [
                {"type": "GIT", "events": [{"introduced": "0"}]},
                {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.2"}, {"introduced": "2.0"}]},
                {"type": "ECOSYSTEM", "events": [{"introduced": "1.5"}, {"last_affected": "1.6"}]},
            ],
            "versions": ["1.3", "not a version"],
        }
    ]
}


@pytest.mark.parametrize(
    ("version", "is_affected"),
    [("1.1", True), ("1.2", False), ("1.3", True), ("1.5", True), ("1.6", True), ("1.7", False), ("2.0", True)],
)
def test_which_versions_an_advisory_is_about(tmp_path: Path, version: str, is_affected: bool) -> None:
    folder = tmp_path / "vulns" / "some-package"
    folder.mkdir(parents=True)
    (folder / "A.yaml").write_text(json.dumps({"id": "A"} | ADVISORY))
    (folder / "B.yaml").write_text(json.dumps({"id": "B", "withdrawn": "2026-01-01T00:00:00Z"} | ADVISORY))
    assert list(advisories(tmp_path, "some-package", Version(version))) == ["A"] * is_affected


def test_the_locks_are_read_whole_and_serving_needs_no_client_of_http() -> None:
    for lock in LOCKS:
        assert len(pinned(lock)) == lock.read_text().count("==")
    serve = pinned(LOCKS[[lock.name for lock in LOCKS].index("serve.txt")])
    assert "uvicorn" in serve
    assert not serve.keys() & {"requests", "urllib3", "robust-downloader", "numpy", "torch"}
