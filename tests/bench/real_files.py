"""Files of others, of every format: does what is not translated come back to the byte, and does the rest keep its form?

    python -m tests.bench.real_files NAME=FOLDER ... [--most 100]

A folder is searched for files with the endings that we translate; it may be a bare Git repository, whose newest commit
is read. Each file is rendered twice, into its own language: with translations that are its texts, and with its texts in
capitals, but for placeholders, tags and addresses. Writes docs/results/real-files.json.
"""

import argparse
import collections
import io
import json
import re
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from service.files import ENDINGS, Aligned, FileRefused, Limits, open_file
from service.text.alignment import Link
from service.text.placeholders import find
from tests.bench.bench import ROOT

OUT = ROOT / "docs" / "results" / "real-files.json"
LIMITS = Limits(64 << 20)
LARGEST = 300_000  # bytes of a file
# Marks by which a file tells its own language, so that the copy has the same.
LANGUAGE = re.compile(
    rb"""<html\b[^>]*?\s(?:xml:)?lang\s*=\s*["']?([\w-]+)|\bw:lang\b[^<>]*?\bw:val="([\w-]+)|<a:rPr\b[^<>]*?\slang="([\w-]+)
      |fo:language="([\w-]+)|<dc:language[^<>]*>([\w-]+)|"Language:\s*([\w-]+)|target-language=["']([\w-]+)
      |trgLang=["']([\w-]+)|"@@locale":\s*"([\w-]+)|tools:locale="([\w-]+)""",
    re.VERBOSE,
)
LOCALE = re.compile(rb'"@@locale":\s*"[^"]*"')
ROOT_KEY = re.compile(rb"\A(?:\s*#[^\n]*\n|---\n|\s*\n)*([\w-]{2,10}):\s*\n")
# Where a message has no translation yet, gettext's and XLIFF's files get the text as one.
NEW = {
    ".po": re.compile(
        rb'^msgstr(?:\[\d\])? ".*\n(?:".*\n)*|"(?:Language|Plural-Forms):[^\n]*\n(?:"[^:\n]*\n)*', re.MULTILINE
    ),
    ".xlf": re.compile(
        rb"""\s*<(\w+:)?target\b[^<>]*(?:/>|>.*?</(?:\w+:)?target>)|\s(?:state|target-language|trgLang)=["'][^"']*["']""",
        re.DOTALL,
    ),
}
NEW[".xliff"] = NEW[".xlf"]


def main() -> None:
    """Read the folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--most", type=int, default=100, help="files of an ending from a folder (default: 100)")
    given = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    for folder in given.folders:
        name, _, path = folder.partition("=")
        for ending, file, data in _files(Path(path), given.most):
            _try(found.setdefault(ending, _nothing()), f"{name}: {file}", name, ending, data)
    for ending in found:
        found[ending]["sources"] = dict(sorted(found[ending]["sources"].items()))
        found[ending]["seconds"] = round(found[ending]["seconds"], 2)
    result = {
        "command": f"python -m tests.bench.real_files --most {given.most} NAME=FOLDER ...",
        "date": time.strftime("%Y-%m-%d"),
        "formats": {ending: found[ending] for ending in ENDINGS if ending in found},
    }
    OUT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    for ending, counts in result["formats"].items():
        print(ending, {key: value for key, value in counts.items() if key not in ("sources", "differing", "reasons")})
        for problem in (*counts["differing"], *counts["reasons"].items()):
            print("   ", problem)


def _nothing() -> dict[str, Any]:
    counts = dict.fromkeys(["files", "refused", "to_the_byte", "form_kept", "bytes", "texts"], 0)
    return {
        **counts,
        "seconds": 0.0,
        "sources": collections.Counter(),
        "reasons": collections.Counter(),
        "differing": [],
    }


def _files(folder: Path, most: int) -> Iterator[tuple[str, str, bytes]]:
    """Yield up to `most` files of each ending, evenly from the folder."""
    is_repository = (folder / "HEAD").is_file()
    if is_repository:
        listed = subprocess.run(
            ["git", "-C", folder, "ls-tree", "-r", "-z", "--name-only", "HEAD"], capture_output=True
        )
        names = [name.decode() for name in listed.stdout.split(b"\0") if name]
    else:
        names = [
            str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
        ]
    by_ending: dict[str, list[str]] = {}
    for name in sorted(names):
        ending = Path(name).suffix.lower()
        if ending in ENDINGS and (ending != ".xml" or re.search(r"/res/values[^/]*/", name)):
            by_ending.setdefault(ending, []).append(name)
    for ending, members in by_ending.items():
        for number in range(min(most, len(members))):
            name = members[number * len(members) // min(most, len(members))]
            if is_repository:
                shown = subprocess.run(["git", "-C", folder, "cat-file", "blob", f"HEAD:{name}"], capture_output=True)
                data = shown.stdout
            else:
                data = (folder / name).read_bytes()
            if 0 < len(data) <= LARGEST:
                yield ending, name, data


def _try(counts: dict[str, Any], label: str, source: str, ending: str, data: bytes) -> None:
    counts["files"] += 1
    counts["sources"][source] += 1
    counts["bytes"] += len(data)
    begin = time.process_time()
    try:
        opened = open_file(f"file{ending}", data, LIMITS)
    except FileRefused as error:
        counts["refused"] += 1
        counts["reasons"][re.sub(r"'.*?'|\d[\d,]*|: .*", "*", str(error))] += 1
        return
    target = _language(ending, data)
    same = opened.render([Aligned(text) for text in opened.texts], target)
    counts["seconds"] += time.process_time() - begin
    counts["texts"] += len(opened.texts)
    is_same = _members(ending, same) == _members(ending, data)
    counts["to_the_byte"] += is_same
    capitals = opened.render([_capitals(text) for text in opened.texts], target)
    fault = "" if is_same else "not to the byte; "
    form = _fault(ending, data, capitals, target)
    counts["form_kept"] += not form
    if fault or form:
        counts["differing"].append(f"{label}: {fault}{form}")


def _capitals(text: str) -> Aligned:
    """Translate word by word, each to as many characters."""
    characters = [character.upper() if len(character.upper()) == 1 else character for character in text]
    for begin, end in find(text):
        characters[begin:end] = text[begin:end]
    words = [word.span() for word in re.finditer(r"\S+", text)]
    return Aligned("".join(characters), [Link(span, span) for span in words])


def _language(ending: str, data: bytes) -> str:
    text = data
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name for name in archive.namelist() if name.endswith((".xml", ".opf", ".xhtml"))]
            found = collections.Counter(
                next(filter(None, match)).partition(b"-")[0]
                for name in names
                if "slideLayout" not in name and "slideMaster" not in name
                for match in LANGUAGE.findall(archive.read(name))
            )
        return found.most_common(1)[0][0].decode() if found else "en"
    if ending in (".arb", ".json"):  # the one plural branch of Japanese is always there: none is made
        return "ja"
    match = (ROOT_KEY if ending in (".yaml", ".yml") else LANGUAGE).search(text)
    return next(filter(None, match.groups())).decode() if match else "en"


def _members(ending: str, data: bytes) -> object:
    """Return what must be the same: the members of an archive, and of messages all but new translations."""
    if data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name: archive.read(name) for name in archive.namelist()}
    if ending == ".arb":
        return LOCALE.sub(b"", data)
    return NEW[ending].sub(b"", data) if ending in NEW else data


def _fault(ending: str, data: bytes, capitals: bytes, target: str) -> str:
    """Return what is wrong with a file in capitals; nothing if it has the form that it had."""
    try:
        again = open_file(f"file{ending}", capitals, LIMITS)
    except FileRefused as error:
        return f"the translation is refused: {error}"
    if ending in NEW:
        if NEW[ending].sub(b"", capitals) != NEW[ending].sub(b"", data):
            return "more than the translations changed"
        return _msgfmt(capitals) if ending == ".po" and not _msgfmt(data) else ""
    wanted = _letters(_capitals(text).text for text in open_file(f"file{ending}", data, LIMITS).texts)
    lost = dict((wanted - _letters(again.texts)) | (_letters(again.texts) - wanted))
    return f"characters that came or went: {lost}"[:300] if lost else ""


def _letters(texts: Iterable[str]) -> collections.Counter[str]:
    """Count characters without spaces and marks, in capitals: those of some letters are two."""
    return collections.Counter(re.sub("[\\s\U000f0000-\U0010ffff]", "", "".join(texts)).upper())


def _msgfmt(data: bytes) -> str:
    with tempfile.NamedTemporaryFile(suffix=".po") as file:
        Path(file.name).write_bytes(data)
        done = subprocess.run(["msgfmt", "-c", "-o", "/dev/null", file.name], capture_output=True, text=True)
    return f"msgfmt: {done.stderr[:200]}" if done.returncode else ""


if __name__ == "__main__":
    main()
