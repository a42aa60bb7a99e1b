"""The documents hold what they promise: links and anchors, files and commands that they name, versions, settings."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest

from service.settings import Settings
from tests.conftest import ROOT

DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md", "examples/*.md", "models/store/*/*.md")
    for path in ROOT.glob(pattern)
)
# What is, not what was: old names are allowed in the history, the changelog and the measurements.
REFERENCE = [
    name for name in DOCUMENTS if not name.startswith(("docs/history/", "CHANGELOG", "docs/benchmarks", "docs/paper/"))
]
RECORDS = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))


@cache
def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@cache
def prose(name: str) -> str:
    """Return the text of a document without its blocks of code."""
    return re.sub(r"^```.*?^```|^    .*?$", "", read(name), flags=re.MULTILINE | re.DOTALL)


@cache
def anchors(name: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a document."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(name), flags=re.MULTILINE):
        slug = base = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        number = 0
        while slug in found:
            number += 1
            slug = f"{base}-{number}"
        found.add(slug)
    return found


def links(name: str) -> list[str]:
    """List the targets of the links and images of a document, but for those to other hosts."""
    targets = re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(name)))
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def test_there_is_something_to_check():
    assert {"README.md", "CONTRIBUTING.md", "docs/design.md"} <= set(REFERENCE)
    assert sum(len(links(name)) for name in DOCUMENTS) > 100
    assert "graceful-shutdown" in anchors("docs/design.md")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_resolve(name):
    for target in links(name):
        path, _, anchor = target.partition("#")
        file = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.relative_to(ROOT).as_posix()), target


@pytest.mark.parametrize("name", DOCUMENTS)
def test_named_results_exist(name):
    for file in re.findall(r"(?:docs/)?results/([\w.-]+\.(?:json|png))", read(name)):
        assert (ROOT / "docs/results" / file).exists(), file


@pytest.mark.parametrize("name", REFERENCE)
def test_named_paths_exist(name):
    """Check that a path in backticks is one of the repository, or of one of its rooms, or of the document's folder."""
    rooms = ("", "service", "models", "kernels", "docker/kubernetes", str(Path(name).parent))
    paths = re.findall(r"`((?:[\w*-]+/)+[\w.*-]+\.(?:py|cc|h|\*|toml|yaml|yml))`", prose(name))
    existing = [path for path in paths if any(next((ROOT / room).glob(path), None) for room in rooms)]
    to_be_written = [path for path in paths if re.search(r"\bNAME\b|NNNN", path)]
    missing = set(paths) - {*existing, *to_be_written}
    assert not missing


@pytest.mark.parametrize("name", REFERENCE)
def test_named_make_targets_exist(name):
    makefile = read("Makefile")
    profiles = re.search(r"^LOAD_PROFILES := (.+)$", makefile, flags=re.MULTILINE)
    assert profiles
    targets = set(profiles[1].split())
    for line in re.findall(r"^([a-z][\w -]*):(?!=)", makefile, flags=re.MULTILINE):
        targets |= set(line.split())
    code = re.findall(r"^```.*?^```|`make [^`]*`", read(name), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\bmake ([a-z][a-z-]*)", "\n".join(code)):
        assert target in targets, target


def test_make_help_lists_the_targets():
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("serve", "test", "lint", "report", "bench", "load-NAME", "image"):
        assert re.search(rf"^  {target}\b.* \w", listed, flags=re.MULTILINE), target


def test_the_hooks_run_what_make_lint_runs():
    rule = re.search(r"^lint: (.*?)  ##.*\n((?:\t.*\n)+)", read("Makefile"), flags=re.MULTILINE)
    assert rule
    commands = [f"make {target}" for target in rule[1].split()] + rule[2].replace("$(BIN)", ".venv/bin").splitlines()
    linted = {" ".join(command.split()[:2]).removesuffix(" .") for command in commands}
    entries = re.findall(r"entry: (.+)$", read(".pre-commit-config.yaml"), flags=re.MULTILINE)
    assert linted == {" ".join(entry.split()[:2]) for entry in entries}


def test_the_last_release_is_the_version():
    released = re.findall(r"^## (\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d$", read("CHANGELOG.md"), flags=re.MULTILINE)
    assert released[0] == tomllib.loads(read("pyproject.toml"))["project"]["version"]
    assert released == sorted(released, key=lambda version: tuple(map(int, version.split("."))), reverse=True)


def test_design_is_a_reference_of_at_most_500_lines():
    assert len(read("docs/design.md").splitlines()) <= 500
    assert not re.findall(r"^#+ .*\d{4}-\d\d-\d\d", read("docs/design.md"), flags=re.MULTILINE)


def test_help_tells_every_setting():
    command = [sys.executable, "-m", "service", "--help"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    told = " ".join(printed.split())  # descriptions are wrapped
    for name, field in Settings.model_fields.items():
        assert re.search(rf"\bSUB3_{name.upper()}\b", told), name
        assert field.description, name
        assert field.description in told


@pytest.mark.parametrize("name", REFERENCE)
def test_named_variables_are_read_somewhere(name):
    settings = {f"SUB3_{field.upper()}" for field in Settings.model_fields}
    others = (set(re.findall(r"SUB3_[A-Z_]+[A-Z]", read(name)))) - settings
    readers = [ROOT / "Makefile", ROOT / "docker-compose.yml", *(ROOT / "docker").rglob("*"), ROOT / "CMakeLists.txt"]
    readers += [
        path for room in ("kernels", "service", "models", "tests") for path in (ROOT / room).rglob("*.[pc][yc]")
    ]
    code = "\n".join(path.read_text(encoding="utf-8") for path in readers if path.is_file() and path != Path(__file__))
    for variable in others:
        assert re.search(rf"\b{variable}\b", code), variable


def test_the_first_screen_shows_what_was_measured():
    head, results = read("README.md").split("<!-- results -->")
    row = next(line for line in results.splitlines() if line.startswith("| best-2 |")).split(" | ")
    first = next(line for line in head.splitlines() if line.startswith("| `best-2`")).split(" | ")
    megabytes, bleu = row[2], row[3]
    assert first[1:3] == [f"{megabytes} MB", bleu]
    fp32 = next(line for line in results.splitlines() if line.startswith("| fp32")).split(" | ")
    shown = next(line for line in head.splitlines() if "in fp32" in line).split(" | ")
    assert shown[1:3] == [f"{fp32[2]} MB", fp32[3]]


@pytest.mark.parametrize("record", RECORDS, ids=lambda path: path.stem)
def test_a_decision_has_its_four_parts_on_a_page(record):
    text = record.read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, flags=re.MULTILINE) == ["Context", "Decision", "Figures", "Consequences"]
    assert re.search(r"^Decided \d{4}-\d\d-\d\d", text, flags=re.MULTILINE)
    assert all(part.strip() for part in re.split(r"^## .+$", text, flags=re.MULTILINE))
    assert len(text.splitlines()) <= 60


def test_decisions_are_numbered_and_listed():
    numbers = [int(record.name[:4]) for record in RECORDS]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 12
    listed = read("docs/decisions/README.md")
    for record in RECORDS:
        title = record.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").partition(". ")[2]
        assert f"[{title}]({record.name})" in listed
