"""Glossary entries as TSV or CSV, as DeepL takes them and spreadsheets write them."""

import csv
import io
import sys
from typing import Final

from service.text.glossary import GlossaryRefused

FORMATS: Final = ("tsv", "csv")


def read_entries(text: str, form: str, most: int = sys.maxsize) -> dict[str, str]:
    """Read terms and their translations; further columns of CSV, such as languages, are ignored.

    Args:
        text: of the file.
        form: one of FORMATS.
        most: entries that it may have; it is read no further.

    Raises:
        GlossaryRefused: there are more entries, a line does not have two columns, a term has two translations, or the
            CSV is not valid.
    """
    file = io.StringIO(text, newline=None if form == "tsv" else "")
    lines = (line.rstrip("\n").split("\t") for line in file) if form == "tsv" else csv.reader(file)
    entries: dict[str, str] = {}
    try:
        for number, columns in enumerate(lines, 1):
            if not any(map(str.strip, columns)):
                continue
            if len(columns) < 2 or (form == "tsv" and len(columns) > 2):
                raise GlossaryRefused(f"Line {number} of the entries must have exactly two columns.")
            term, translation = columns[0].strip(), columns[1].strip()
            if entries.setdefault(term, translation) != translation:
                raise GlossaryRefused(f"Line {number} of the entries has a term that came before.")
            if len(entries) > most:
                raise GlossaryRefused(f"All glossaries together take up to {most:,} entries, fewer if they are long.")
    except csv.Error as error:
        raise GlossaryRefused(f"The entries are not CSV: {error}.") from None
    return entries
