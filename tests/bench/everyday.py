"""The language of short everyday texts, English and German known: `python -m tests.bench.everyday`.

Counts what is found of the 500 texts of tests/service/text/everyday.tsv, and how many of the answers that are at least
so sure are right; writes docs/results/everyday.json. It needs nothing but the repository.
"""

from __future__ import annotations

import json

from service.text.detection import detect
from tests.bench.bench import ROOT

TEXTS = ROOT / "tests" / "service" / "text" / "everyday.tsv"
KNOWN = ("en", "de")


def main() -> None:
    """Count, and write the result."""
    found = []
    for line in TEXTS.read_text(encoding="utf-8").splitlines():
        language, text = line.split("\t")
        answer = detect(text, KNOWN)
        found.append((language, answer.language == language, answer.confidence))
    sure = {least: [right for _, right, confidence in found if confidence >= least] for least in (0.5, 0.7, 0.9)}
    results = {
        "texts": len(found),
        "percent_right": _percent([right for _, right, _ in found]),
        "percent_right_by_language": {
            code: _percent([right for of, right, _ in found if of == code]) for code in KNOWN
        },
        "by_least_confidence": {
            str(least): {"answers": len(rights), "percent_right": _percent(rights)} for least, rights in sure.items()
        },
    }
    path = ROOT / "docs" / "results" / "everyday.json"
    path.write_text(json.dumps({"command": "python -m tests.bench.everyday", "results": results}, indent=1) + "\n")
    print(json.dumps(results))


def _percent(rights: list[bool]) -> float:
    return round(100 * sum(rights) / len(rights), 1)


if __name__ == "__main__":
    main()
