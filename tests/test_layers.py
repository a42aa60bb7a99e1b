"""The ladder of docs/design.md: imports only go down, and serving never sees torch or numpy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = ("kernels", "models", "service")
TRAINING_ONLY = ("torch", "transformers", "numpy", "safetensors", "sacrebleu", "matplotlib", "tqdm")


def imports_of(path: Path) -> set[str]:
    """Full names of the modules that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def under(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("path", sources("kernels"), ids=str)
def test_kernels_import_nothing_of_ours_but_the_extension(path):
    for name in imports_of(path):
        assert not any(under(name, package) for package in ("models", "service")), name
        assert not any(under(name, package) for package in TRAINING_ONLY), name


@pytest.mark.parametrize("path", sources("service"), ids=str)
def test_the_service_imports_of_models_only_the_readers(path):
    for name in imports_of(path):
        if under(name, "models"):
            assert name == "models" or any(under(name, f"models.{reader}") for reader in ("format", "typed_json")), name
        assert not any(under(name, package) for package in TRAINING_ONLY), name


@pytest.mark.parametrize("path", sources("models"), ids=str)
def test_of_the_offline_half_only_corpora_are_above_the_translator(path):
    imported = {name for name in imports_of(path) if under(name, "service")}
    if path.name == "corpus.py":  # a corpus gets what a request would get, by the same way from text to text
        rungs = ("service.translation.translator", "service.translation.scheduler", "service.translation.tokenizer")
        imported = {name for name in imported if not any(under(name, rung) for rung in rungs)}
    assert not imported


LADDER = [
    "settings",
    "keys",
    "key_stores",
    "key_command",
    "languages",
    "detection",
    "placeholders",
    "glossary",
    "glossaries",
    "glossary_stores",
    "text",
    "alignment",
    "inline_tags",
    "markup",
    "files",
    "tokenizer",
    "scheduler",
    "translator",
    "command",
    "canary",
    "desired",
    "routing",
    "registry",
    "model_folder",
    "pivot",
    "trials",
    "dispatch",
    "pipeline",
    "file_jobs",
    "swaps",
    "api",
    "app",
]


@pytest.mark.parametrize("path", sources("service"), ids=str)
def test_service_imports_go_down_the_ladder(path):
    rung = path.relative_to(ROOT / "service").parts[0].removesuffix(".py")
    if rung not in LADDER:
        return
    above = LADDER[LADDER.index(rung) + 1 :]
    for name in imports_of(path):
        assert not any(under(name, f"service.{higher}") for higher in above), f"{rung} imports {name}"


@pytest.mark.parametrize("module", ["service.app", "service.corpora.corpus"])
def test_translating_loads_nothing_of_training(module):
    code = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not set(TRAINING_ONLY) & set(done.stdout.split())
