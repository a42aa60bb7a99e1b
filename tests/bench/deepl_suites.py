"""The test suites of deepl-python and deepl-node against a server with the models of models/store.

    python -m tests.bench.deepl_suites --python FOLDER --node FOLDER

The folders are clones of https://github.com/DeepLcom/deepl-python and deepl-node. What the suites need beside the
clients is installed under build/ and into the clone (`npm ci`). A file of deepl-node's tests runs in a process of its
own: some leave the network turned off. Those that need no server are left out. Writes docs/results/deepl-suites.json,
and fails if a test fails without one of the reasons of docs/dialects.md.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from service.accounts.keys import new_key
from service.settings import Settings
from service.stores.sqlite import SqliteKeys
from tests.bench.bench import ROOT
from tests.service.environments import interpreter
from tests.service.running import serve

OUT = ROOT / "docs" / "results" / "deepl-suites.json"
PYTHON_NEEDS = "pytest pydantic<2 requests click keyring typing_extensions"
NODE_NEEDS = ("debug",)  # nock imports it, and the lock file doesn't have it
NODE_FILES = (
    *("client", "general", "glossary", "multilingualGlossary", "rephraseText", "styleRules"),
    *("translateDocument", "translateText", "translationMemories", "documentMinification/lifecycle"),
)
# Why a test fails that asks for what is not here: words in its name or its failure; the first reason holds.
REASONS = {
    "Write, which nothing here does": r"rephrase",
    "style rules, which nothing here has": r"(?i)style.?rule",
    "custom instructions, which no model here follows": r"(?i)with custom.?instructions|test_custom_instructions",
    "formality, which no model here has": r"(?i)formality|test_general\.test_language\b|lists source and target",
    "another language": r"_lang' not supported|faisceau",
    "a word that the model does not know": r"(?i)protonenstrahl|proton beam|Meine erste|Der Titel",
}


def main() -> None:
    """Run the suites whose clones are given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, metavar="FOLDER", help="a clone of deepl-python")
    parser.add_argument("--node", type=Path, metavar="FOLDER", help="a clone of deepl-node")
    given = parser.parse_args()
    suites: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        key, record = new_key("suite", None, None)
        store = SqliteKeys(path / "keys.sqlite3")
        store.add(record)
        store.close()
        settings = Settings(
            api_keys=True,
            keys_file=path / "keys.sqlite3",
            glossaries_file=path / "glossaries.sqlite3",
            state_file=None,
            log_json=False,
        )
        with serve(settings) as server:
            # deepl-node's tests turn off the network but for this name
            url = server.url.replace("127.0.0.1", "localhost")
            environment = {**os.environ, "DEEPL_AUTH_KEY": key, "DEEPL_SERVER_URL": url}
            if given.python:
                suites["deepl-python"] = _figures(given.python, _python(given.python, environment, path / "python.xml"))
            if given.node:
                suites["deepl-node"] = _figures(given.node, _node(given.node, environment, path / "node.xml"))
    result = {
        "command": "python -m tests.bench.deepl_suites --python FOLDER --node FOLDER",
        "date": time.strftime("%Y-%m-%d"),
        "suites": suites,
    }
    OUT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    for name, figures in suites.items():
        print(name, {field: value for field, value in figures.items() if field != "failures"})
        for reason, tests in figures["failures"].items():
            print(f"  {reason}: {len(tests)}")
    if unexpected := [test for figures in suites.values() for test in figures["failures"].get("unexpected", ())]:
        sys.exit("\n".join(["These fail for no reason of docs/dialects.md:", *unexpected]))


def _python(clone: Path, environment: dict[str, str], report: Path) -> Iterator[ElementTree.Element]:
    """Run deepl-python's tests, which import the clone's client; yield their results."""
    python = str(interpreter("deepl-python-suite", PYTHON_NEEDS))
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", f"--junitxml={report}"]
    subprocess.run(command, cwd=clone, env=environment, check=False)
    yield from ElementTree.parse(report).iter("testcase")


def _node(clone: Path, environment: dict[str, str], report: Path) -> Iterator[ElementTree.Element]:
    """Run deepl-node's tests; yield their results."""
    if not (clone / "node_modules" / "debug").exists():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=clone, check=True)
        subprocess.run(["npm", "install", "--no-save", "--silent", *NODE_NEEDS], cwd=clone, check=True)
    environment = environment | {"JEST_JUNIT_OUTPUT_FILE": str(report)}
    for file in NODE_FILES:
        command = ["npx", "jest", "--runInBand", "--reporters=default", "--reporters=jest-junit"]
        subprocess.run([*command, "--", f"tests/{file}.test.ts"], cwd=clone, env=environment, check=False)
        yield from ElementTree.parse(report).iter("testcase")


def _figures(clone: Path, tests: Iterator[ElementTree.Element]) -> dict[str, Any]:
    """Count the results of a suite, and sort its failures by their reasons."""
    commit = subprocess.run(
        ["git", "-C", clone, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    failures: dict[str, list[str]] = {}
    for test in tests:
        failure = test.find("failure") if test.find("failure") is not None else test.find("error")
        outcome = "skipped" if test.find("skipped") is not None else "passed" if failure is None else "failed"
        counts[outcome] += 1
        if failure is not None:
            # jest-junit has the whole name in both
            name = ".".join(dict.fromkeys((str(test.get("classname")), str(test.get("name")))))
            said = f"{name} {failure.get('message') or (failure.text or '').partition('    at ')[0]}"
            reason = next((reason for reason, words in REASONS.items() if re.search(words, said)), "unexpected")
            failures.setdefault(reason, []).append(name)
    return {"commit": commit, **counts, "failures": {reason: sorted(names) for reason, names in failures.items()}}


if __name__ == "__main__":
    main()
