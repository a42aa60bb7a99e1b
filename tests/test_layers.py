"""The house of docs/design.md: every file is in a room, imports and includes only go down, serving never loads torch."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# The table of rooms. A line is a floor, the lowest first; rooms of a floor are parted by `|` and know nothing of one
# another. Behind the colon are the files of a room, with `/` between its own floors. A file may import what is on a lower
# floor, of its room or of the house. `kernels` may not import the others, `models` not `service`, and `service` of `models`
# only the room `format`.
HOUSE = {
    "kernels": """
        floats: lanes.h unroll.h / float_ops.h / float_ops.cc
        products: PENDING
        network: PENDING
        decoding: PENDING
        engine_api.h | tensor.py
        engine.cc build_ffi.py | engine.py
    """,
    "models": """
        format: PENDING
    """,
    "service": """
        process.py
    """,
}
# Python that the offline half needs and a server does not have.
TRAINING_ONLY = ("torch", "transformers", "numpy", "safetensors", "sacrebleu", "matplotlib", "tqdm")


def floors(package: str) -> dict[Path, tuple[int, str, int]]:
    """Map each file of the table to its floor in the house, its room and its floor in the room."""
    places: dict[Path, tuple[int, str, int]] = {}
    for floor, line in enumerate(HOUSE[package].strip().splitlines()):
        for room in line.split("|"):
            name, colon, files = room.strip().partition(":")
            if not colon:
                places |= {ROOT / package / file: (floor, file, 0) for file in name.split()}
                continue
            places[ROOT / package / name / "__init__.py"] = floor, name, -1
            for inner, group in enumerate(files.split("/")):
                places |= {ROOT / package / name / file: (floor, name, inner) for file in group.split()}
    return places


PLACES = {path: (package, *place) for package in HOUSE for path, place in floors(package).items()}


def sources(package: str) -> list[Path]:
    """List the Python and C++ files of a package that git could hold."""
    found = (path for pattern in ("*.py", "*.cc", "*.h") for path in (ROOT / package).rglob(pattern))
    return sorted(path for path in found if path != ROOT / package / "__init__.py")


SOURCES = [path for package in HOUSE for path in sources(package)]


def imports_of(path: Path) -> Iterator[str]:
    """Yield the full name of each module that a Python file imports, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, "relative imports are not used here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def file_of(module: str) -> Path | None:
    """Find the file of one of our modules, given its name or that of something in it; None for other packages."""
    parts = module.split(".")
    if parts[0] not in HOUSE:
        return None
    for end in count(len(parts), -1):
        path = ROOT.joinpath(*parts[:end])
        if path.with_suffix(".py").is_file():
            return path.with_suffix(".py")
        if (path / "__init__.py").is_file():
            return path / "__init__.py"


def includes_of(path: Path) -> Iterator[Path]:
    """Yield each header of ours that a C++ file includes."""
    for header in re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE):
        assert header.startswith("kernels/"), f"{header} is not written from the root"
        yield ROOT / header


def needed_by(path: Path) -> set[Path]:
    """Find the files of ours that a file imports or includes."""
    if path.suffix == ".py":
        found = {file_of(module) for module in imports_of(path)} - {None}
        return {
            file
            for file in found
            if file is not None and file != ROOT / file.relative_to(ROOT).parts[0] / "__init__.py"
        }
    return set(includes_of(path))


def may_need(path: Path, needed: Path) -> bool:
    """Decide whether the table allows one file to import or include the other."""
    package, floor, room, inner = PLACES[path]
    other, its_floor, its_room, its_inner = PLACES[needed]
    if package != other:
        return other == "kernels" or (package == "service" and its_room == "format")
    if room == its_room:
        # A header and its source share a floor; so do files that are named as one.
        return its_inner < inner or (path.stem == needed.stem and path.suffix == ".cc")
    return its_floor < floor


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_is_in_a_room_and_needs_only_lower_ones(path: Path) -> None:
    assert path in PLACES, "put this file into a room of HOUSE"
    wrong = {str(needed.relative_to(ROOT)) for needed in needed_by(path) if not may_need(path, needed)}
    assert not wrong


def test_the_table_names_only_files_that_exist() -> None:
    assert [str(path.relative_to(ROOT)) for path in PLACES if not path.is_file() and path.name != "__init__.py"] == []


@pytest.mark.parametrize("package", ["models", "service"])
def test_each_room_says_in_one_line_what_it_is_for(package: str) -> None:
    for room in {path.parent for path in PLACES if path.parent.parent == ROOT / package}:
        purpose = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
        assert purpose, f"{room.name} has no docstring"
        assert len(purpose.splitlines()[0]) <= 120


@pytest.mark.parametrize(
    ("package", "entries", "most_floors"), [("service", 20, 8), ("models", 12, 8), ("kernels", 12, 8)]
)
def test_the_house_stays_small(package: str, entries: int, most_floors: int) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", package],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout.split()
    assert len({Path(name).parts[1] for name in listed} - {"__init__.py"}) <= entries
    assert len(HOUSE[package].strip().splitlines()) <= most_floors


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.suffix == ".py"], ids=lambda path: str(path.relative_to(ROOT))
)
def test_serving_imports_nothing_of_training(path: Path) -> None:
    package, _, room, _ = PLACES[path]
    if package == "models" and room != "format":
        return
    for name in imports_of(path):
        assert name.split(".")[0] not in TRAINING_ONLY or path.parent.name == "corpora", name


@pytest.mark.parametrize("module", ["service.app", "service.corpora.corpus", "service.cli.translate"])
def test_translating_loads_nothing_of_training(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not set(TRAINING_ONLY) & set(done.stdout.split())
