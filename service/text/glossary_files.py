"""Glossary entries as TSV or CSV, as DeepL takes them and spreadsheets write them."""

import csv
import io
from typing import Final

from service.text.glossary import GlossaryRefused

FORMATS: Final = ("tsv", "csv")


def read_entries(text: str, form: str) -> dict[str, str]:
    """Read terms and their translations; further columns of CSV, such as languages, are ignored.

    Raises:
        GlossaryRefused: a line does not have two columns, a term has two translations, or the CSV is not valid.
    """
    lines = (line.split("\t") for line in text.splitlines()) if form == "tsv" else csv.reader(io.StringIO(text))
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
    except csv.Error as error:
        raise GlossaryRefused(f"The entries are not CSV: {error}.") from None
    return entries
