"""The build backend: scikit-build-core's, whose wheel gets the three packages under one, `sub3`.

In the repository they are `service`, `kernels` and `models`, names that a project may well have itself. So the wheel's
imports say `sub3.service` and so on. An editable install is left as scikit-build-core makes it.
"""

import ast
import base64
import hashlib
import zipfile
from pathlib import Path
from typing import Any

import scikit_build_core.build
from scikit_build_core.build import (  # noqa: F401  what a frontend asks a backend for
    build_editable,
    build_sdist,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
)

PACKAGE = "sub3"
MOVED = ("service", "kernels", "models")
DOOR = {
    f"{PACKAGE}/__init__.py": b'"""A translation server for CPUs, its engine, and the tools that make its models."""\n',
    f"{PACKAGE}/__main__.py": b"import sys\n\nfrom sub3.service.__main__ import main\n\nsys.exit(main())\n",
}


def build_wheel(
    wheel_directory: str, config_settings: dict[str, Any] | None = None, metadata_directory: str | None = None
) -> str:
    """Build a wheel of one package; return its name."""
    name = scikit_build_core.build.build_wheel(wheel_directory, config_settings, metadata_directory)
    made = Path(wheel_directory) / name
    with zipfile.ZipFile(made) as wheel:
        files = DOOR | dict(moved(path, wheel.read(path)) for path in wheel.namelist())
    record = next(path for path in files if path.endswith(".dist-info/RECORD"))
    del files[record]
    files[record] = "".join([*(entry(path, data) for path, data in files.items()), f"{record},,\n"]).encode()
    with zipfile.ZipFile(made, "w") as wheel:
        for path, data in files.items():
            info = zipfile.ZipInfo(path)  # dated 1980: the same bytes from the same files
            info.external_attr = 0o644 << 16
            wheel.writestr(info, data, zipfile.ZIP_DEFLATED)
    return name


def moved(path: str, data: bytes) -> tuple[str, bytes]:
    """Return the path and the content that a file of scikit-build-core's wheel has in ours."""
    if path.split("/")[0] in MOVED:
        return f"{PACKAGE}/{path}", renamed(data.decode()).encode() if path.endswith(".py") else data
    if path.endswith(".dist-info/entry_points.txt"):
        return path, data.replace(b"= service.", f"= {PACKAGE}.service.".encode())
    return path, data


def renamed(source: str) -> str:
    """Return Python code whose imports of our packages are of those in `sub3`.

    Raises:
        ValueError: an import binds the name of a package itself, which the rest of the code would then use.
    """
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        if not any(name.split(".")[0] in MOVED for name in names):
            continue
        if isinstance(node, ast.Import):
            raise ValueError(f"Line {node.lineno}: write `from {names[0]} import ...`, which can be moved.")
        line = lines[node.lineno - 1]
        begin = node.col_offset
        lines[node.lineno - 1] = line[:begin] + line[begin:].replace("from ", f"from {PACKAGE}.", 1)
    return "".join(lines)


def entry(path: str, data: bytes) -> str:
    """Return the line of a file in RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{path},sha256={digest},{len(data)}\n"
