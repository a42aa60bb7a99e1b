"""Rooms: every file is in one, imports and includes only go down, serving never loads torch (docs/design.md)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]

# The rooms of each package, floor by floor, the lowest first. Rooms of one floor know nothing of one another. A room
# that is a folder has its files, without their endings, in floors of its own, with `/` between them; a room that is a
# file has none. A file may need what is on a lower floor of its room, and any room on a lower floor of the house.
# Across packages: all may need `kernels`, and `service` of `models` only the room `format`.
HOUSE: dict[str, list[dict[str, str]]] = {
    "kernels": [
        {"floats": "unroll / lanes / float_ops", "engine_api": "", "tensor": ""},
        {
            "products": (
                "bcq_matrix / bcq_matmul / bcq_dequantize bcq_int8_matmul bcq_matmul_tables tiles_amx / "
                "columns_avx2 columns_avx512 / subset_sums_avx2 bcq_int8_tiles / "
                "bcq_matmul_amx bcq_matmul_avx2 bcq_matmul_avx512 bcq_matmul_neon bcq_matmul_scalar isa / "
                "bcq_int8_matmul_avx2 bcq_int8_matmul_avx512 bcq_int8_matmul_neon"
            ),
        },
        {"network": "positions tensor_table thread_pool workspace / shortlist / model / transformer"},
        {"decoding": "constraints / search / batch"},
        {"engine": "", "build_ffi": ""},
    ],
    "models": [
        {
            "format": (
                "atomic languages typed_json / schema / files weights / layout shortlist vocabulary / faults / "
                "directory / describe package punctuation store write"
            ),
        },
        {"codes": "bcq bit_config / compensate straight_through", "text": "frames language lines numbers / pieces"},
        {
            "marian": (
                "checkpoint names transformer / batches files lexicon rows tables / coded ctranslate2 imported npz / "
                "argos bergamot marian / m2m / read"
            )
        },
        {"evaluate": "divergence fidelity quality / evaluate"},
        {"quantize": "allocate assemble calibrate shortlist / apportion export fisher"},
        {
            "train": (
                "loss packed sampled_softmax schedule / recipe / back_translation dataset device distillation state / "
                "feed log network validation warm_start / allocation loop methods / full_precision / carry retrain"
            ),
        },
        {"compress": "card teacher / text / road", "reports": "paper paper_page report"},
        {"__main__": ""},
    ],
    "service": [
        {
            "process": "",
            "text": (
                "composed detection languages placeholders plurals references written_marks / alignment glossary "
                "markup_tokens message_format names numbers sentences / glossary_files inline_tags no_break_spaces / "
                "markup"
            ),
        },
        {
            "settings": "",
            "files": (
                "charsets chunks codes language_marks markdown_blocks plural_forms room xml / html / "
                "archive child markdown plain slots subtitles xml_spans / android fluent json office po "
                "properties resx runs strings tables xliff yaml / slides word workbook"
            ),
            "accounts": "unavailable / glossaries keys",
            "translation": "batches cost preparing tokenizer / results scheduler / assembly taken_apart / translator",
        },
        {
            "observability": "request_context / logs metrics tracing / middleware",
            "corpora": "shards / shard_translator / on_ray / corpus",
        },
        {
            "live": (
                "canary configurations history memory routing state / desired / model / folder registry / "
                "replication shadow / swaps"
            ),
            "http": "listening paired_writes shares / protocol / server",
        },
        {
            "requests": "call file_process pivot turns / disconnect / dispatch / pipeline / file_jobs",
            "stores": "records / redis sqlite / opening",
        },
        {
            "api": (
                "authorization / "
                "calls downloads example json_reply json_route language_codes metrics_reply native_key openapi "
                "routes schemas / "
                "admin_schemas azure_places azure_schemas deepl_schemas dialect fields google_schemas kserve_bodies "
                "kserve_schemas libretranslate_schemas / "
                "body_limit cross_origin errors head_of_get key_first reference same_origin uploads / "
                "admin_guard events native_glossaries page / azure deepl google kserve kserve_repository "
                "libretranslate native native_files / admin deepl_glossaries deepl_languages / document"
            ),
            "cli": "adding arguments completion compress health / bench corpus doctor keys models translate",
        },
        {"app": ""},
        {"__main__": "", "ray_serve": ""},
    ],
}
# Python that the offline half needs and a server does not have.
TRAINING_ONLY = ("torch", "transformers", "numpy", "safetensors", "sacrebleu", "matplotlib", "tqdm")


class Place(NamedTuple):
    """Where a file is: its package, the floor of its room, the room, and its floor in there."""

    package: str
    floor: int
    room: str
    inner: int


def places() -> dict[Path, Place]:
    """Map each file that the table names, without its ending, to its place."""
    found: dict[Path, Place] = {}
    for package, floors in HOUSE.items():
        for floor, rooms in enumerate(floors):
            for room, files in rooms.items():
                if not files:
                    found[ROOT / package / room] = Place(package, floor, room, 0)
                    continue
                found[ROOT / package / room / "__init__"] = Place(package, floor, room, -1)
                for inner, group in enumerate(files.split("/")):
                    found |= {
                        ROOT / package / room / file: Place(package, floor, room, inner) for file in group.split()
                    }
    return found


PLACES = places()


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
    for end in range(len(parts), 0, -1):
        path = ROOT.joinpath(*parts[:end])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None


def includes_of(path: Path) -> Iterator[Path]:
    """Yield each header of ours that a C++ file includes."""
    for header in re.findall(r'^\s*#\s*include\s+"([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE):
        assert header.startswith("kernels/"), f"{header} is not written from the root"
        yield ROOT / header


def needed_by(path: Path) -> set[Path]:
    """Find the files of ours that a file imports or includes; a package's own empty __init__ is none."""
    found = includes_of(path) if path.suffix != ".py" else map(file_of, imports_of(path))
    return {
        file for file in found if file is not None and file not in {ROOT / package / "__init__.py" for package in HOUSE}
    }


def may_need(path: Path, needed: Path) -> bool:
    """Decide whether the table allows one file to import or include the other."""
    place, other = PLACES[path.with_suffix("")], PLACES[needed.with_suffix("")]
    if place.package != other.package:
        return other.package == "kernels" or (place.package == "service" and other.room == "format")
    if place.room == other.room:
        return other.inner < place.inner or (path.stem == needed.stem and needed.suffix == ".h")
    return other.floor < place.floor


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_is_in_a_room_and_needs_only_lower_ones(path: Path) -> None:
    assert path.with_suffix("") in PLACES, "put this file into a room of HOUSE"
    wrong = {str(needed.relative_to(ROOT)) for needed in needed_by(path) if not may_need(path, needed)}
    assert not wrong


def test_the_table_names_only_files_that_exist() -> None:
    known = {path.with_suffix("") for path in SOURCES}
    assert {path for path in PLACES if path.name != "__init__"} <= known


@pytest.mark.parametrize("package", ["models", "service"])
def test_each_room_says_in_one_line_what_it_is_for(package: str) -> None:
    for room in {path.parent for path in PLACES if path.parent.parent == ROOT / package}:
        purpose = ast.get_docstring(ast.parse((room / "__init__.py").read_text(encoding="utf-8")))
        assert purpose, f"{room.name} has no docstring"
        assert len(purpose.splitlines()[0]) <= 120


@pytest.mark.parametrize(("package", "most_entries"), [("service", 20), ("models", 11), ("kernels", 12)])
def test_the_house_stays_small(package: str, most_entries: int) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", package],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    ).stdout.split()
    weights = {"store", "checkpoints"}  # no code
    assert len({Path(name).parts[1] for name in listed} - {"__init__.py"} - weights) <= most_entries
    assert len(HOUSE[package]) <= 8


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.suffix == ".py"], ids=lambda path: str(path.relative_to(ROOT))
)
def test_serving_imports_nothing_of_training(path: Path) -> None:
    place = PLACES[path.with_suffix("")]
    if place.package == "models" and place.room != "format":
        return
    allowed = {"tqdm"} if place.room == "corpora" else set()  # a progress bar, where it is installed
    assert not {name.split(".")[0] for name in imports_of(path)} & set(TRAINING_ONLY) - allowed


@pytest.mark.parametrize(
    "module", ["service.app", "service.corpora.corpus", "service.cli.translate", "service.__main__"]
)
def test_translating_loads_nothing_of_training(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not set(TRAINING_ONLY) & set(done.stdout.split())
