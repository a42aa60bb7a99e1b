"""Corpora of text: files of sentences, or of pairs of them."""

import lzma
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple


class DataError(ValueError):
    """Text that can't be read. One sentence."""


class Line(NamedTuple):
    """A sentence; `target` is None in a file of plain text."""

    source: str
    target: str | None


def read_lines(path: Path) -> Iterator[Line]:
    """Read the lines of `source TAB target` (.tsv, .tsv.xz) or of plain text (any other name, .xz or not)."""
    pairs = path.name.removesuffix(".xz").endswith(".tsv")
    opener: Callable[..., IO[str]] = lzma.open if path.suffix == ".xz" else open
    try:
        with opener(path, "rt", encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                fields = line.rstrip("\n").split("\t")
                if pairs and len(fields) != 2:
                    raise DataError(f"{path}: line {number} has {len(fields)} fields; source TAB target has 2.")
                yield Line(fields[0], fields[1]) if pairs else Line(line.rstrip("\n"), None)
    except (OSError, lzma.LZMAError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: the text can't be read ({error}).") from None
