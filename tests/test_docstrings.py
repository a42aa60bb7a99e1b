"""The rule of words (CONTRIBUTING.md) that a program can hold: arguments are explained, exceptions are named."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import ROOT

SOURCES = sorted(
    path
    for package in ("service", "models", "kernels")
    for path in (ROOT / package).rglob("*.py")
    if "__pycache__" not in path.parts
)
Function = ast.FunctionDef | ast.AsyncFunctionDef
EXPLAINED = 4  # so many parameters need an Args section
_ENTRY = re.compile(r"([A-Z]\w*(?:, [A-Z]\w*)*): \S")


class Documented(NamedTuple):
    """A public function or class, and the docstrings that may explain its parameters."""

    name: str
    node: Function | ast.ClassDef
    texts: tuple[str, ...]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def our_classes() -> frozenset[str]:
    """Return the names of all classes of the code base."""
    return frozenset(node.name for path in SOURCES for node in ast.walk(tree(path)) if isinstance(node, ast.ClassDef))


def public(path: Path) -> Iterator[Documented]:
    """Yield the public functions of a module, and the public methods and constructors of its public classes."""
    for node in tree(path).body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield Documented(node.name, node, (ast.get_docstring(node) or "",))
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            described = ast.get_docstring(node) or ""
            yield Documented(node.name, node, (described,))
            for member in node.body:
                if isinstance(member, Function) and (not member.name.startswith("_") or member.name == "__init__"):
                    own = ast.get_docstring(member) or ""
                    texts = (own, described) if member.name == "__init__" else (own,)
                    yield Documented(f"{node.name}.{member.name}", member, texts)


def is_overload(function: Function) -> bool:
    return any(getattr(decorator, "id", "") == "overload" for decorator in function.decorator_list)


def parameters(function: Function) -> list[str]:
    """Name the parameters, `self` and `cls` aside."""
    arguments = function.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [argument.arg for argument in named if argument.arg not in ("self", "cls")]


def section(docstring: str, title: str) -> list[str] | None:
    """Return the entries of a section, each in one line, or None without such a section."""
    found = re.search(rf"^{title}:\n((?:[ ]+\S.*(?:\n|$)|\n(?=[ ]))*)", inspect.cleandoc(docstring), flags=re.MULTILINE)
    if not found:
        return None
    lines = [line for line in found[1].splitlines() if line.strip()]
    depth = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    entries: list[str] = []
    for line in lines:
        if len(line) - len(line.lstrip()) == depth:
            entries.append(line.strip())
        else:
            entries[-1] += f" {line.strip()}"
    return entries


def faults(path: Path) -> Iterator[str]:
    """Yield what breaks the rule in a module, a sentence each."""
    imported = {alias.asname or alias.name for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom)
                for alias in node.names}  # fmt: skip
    for name, node, texts in public(path):
        if isinstance(node, Function) and not is_overload(node) and len(parameters(node)) >= EXPLAINED:
            explained = [entry for text in texts for entry in section(text, "Args") or ()]
            if not explained:
                yield f"{name} has {len(parameters(node))} parameters and no Args"
            named = {each.strip(" *`") for entry in explained for each in entry.partition(":")[0].split(",")}
            for unknown in sorted(named - set(parameters(node)) - {node.args.vararg and node.args.vararg.arg}):
                yield f"{name} explains {unknown!r}, which is not a parameter"
        for entry in section(texts[0], "Raises") or ():
            classes = _ENTRY.match(entry)
            if not classes:
                yield f"{name} raises {entry!r}: name exception classes, a colon, and when"
                continue
            for raised in classes[1].split(", "):
                if raised in ("Exception", "BaseException"):
                    yield f"{name} raises {raised}: name the classes"
                elif raised not in our_classes() | imported and not is_exception(raised):
                    yield f"{name} raises {raised}, which is not a class of ours, of the imports or of Python"
            if re.search(r"\bas\b[^.;:]*\bsays?\b", entry):
                yield f"{name} raises {entry!r}: say when, not who says so"


def is_exception(name: str) -> bool:
    kind = getattr(builtins, name, None)
    return isinstance(kind, type) and issubclass(kind, BaseException)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_arguments_are_explained_and_exceptions_named(path):
    assert not list(faults(path))


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("def f(a, b, c, d):\n    '''Do.'''", "no Args"),
        ("def f(a, *, b, c, d):\n    '''Do.\n\n    Args:\n        a: it.\n    '''", None),
        ("def f(a, b, c, d):\n    '''Do.\n\n    Args:\n        e: it.\n    '''", "not a parameter"),
        ("def f(a, b, c):\n    '''Do.'''", None),
        ("def f():\n    '''Do.\n\n    Raises:\n        ValueError, OSError: it\n            fails.\n    '''", None),
        ("def f():\n    '''Do.\n\n    Raises:\n        ValueError: as the reader says.\n    '''", "say when"),
        ("def f():\n    '''Do.\n\n    Raises:\n        whatever fails.\n    '''", "name exception classes"),
        ("def f():\n    '''Do.\n\n    Raises:\n        Exception: it fails.\n    '''", "name the classes"),
        ("def f():\n    '''Do.\n\n    Raises:\n        NoSuchThing: it fails.\n    '''", "not a class"),
        ("class A:\n    def __init__(self, a, b, c, d):\n        '''Make.'''", "A.__init__ has 4"),
        ("class A:\n    '''It.\n\n    Args:\n        a: b.\n    '''\n    def __init__(self, a, b, c, d): ...", None),
    ],
)
def test_the_rule_is_held(tmp_path, source, fault):
    path = tmp_path / "module.py"
    path.write_text(source, encoding="utf-8")
    found = list(faults(path))
    assert len(found) == (fault is not None)
    if fault is not None:
        assert fault in found[0]
