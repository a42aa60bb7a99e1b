"""Detectors of languages on the corpus and on short texts: `python -m tests.bench.detection`.

Of each test set the first 500 lines with a letter, whole and their first three words alone; 36 sentences in 18 more
languages. Told for each detector: percent right, in how many of the answers that it is at least 90 % sure of it is
right and how many those are, microseconds a text (whole lines), megabytes that loading and detecting add. Each runs in
a process of its own. Needs the corpus and `pip install -e .[bench]`; writes docs/results/detection.json.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

from tests.bench.bench import ROOT, SHARED, machine

RESULT = ROOT / "docs" / "results" / "detection.json"
LINES = 500
SURE = 0.9
SETS = {
    "tatoeba": {"en": "test/tatoeba.en", "de": "test/tatoeba.de", "fr": "test_enfr/tatoeba.fr"},
    "flores101": {
        "en": "test/flores101_devtest.en",
        "de": "test/flores101_devtest.de",
        "fr": "test_enfr/flores101_devtest.fr",
    },
}
MORE = {
    "es": ("¿Dónde está la biblioteca?", "Mañana vamos a la playa con los niños."),
    "it": ("Dove si trova la stazione?", "Domani andiamo al mare con i bambini."),
    "pt": ("Onde fica a biblioteca?", "Amanhã vamos à praia com as crianças."),
    "nl": ("Waar is de bibliotheek?", "Morgen gaan we met de kinderen naar het strand."),
    "sv": ("Var ligger biblioteket?", "I morgon åker vi till stranden med barnen."),
    "da": ("Hvor ligger biblioteket?", "I morgen tager vi til stranden med børnene."),
    "fi": ("Missä kirjasto on?", "Huomenna menemme lasten kanssa rannalle."),
    "pl": ("Gdzie jest biblioteka?", "Jutro jedziemy z dziećmi na plażę."),
    "cs": ("Kde je knihovna?", "Zítra jedeme s dětmi na pláž."),
    "hu": ("Hol van a könyvtár?", "Holnap a gyerekekkel a strandra megyünk."),
    "ro": ("Unde este biblioteca?", "Mâine mergem la plajă cu copiii."),
    "tr": ("Kütüphane nerede?", "Yarın çocuklarla plaja gidiyoruz."),
    "ru": ("Где находится библиотека?", "Завтра мы едем с детьми на пляж."),
    "uk": ("Де знаходиться бібліотека?", "Завтра ми їдемо з дітьми на пляж."),
    "el": ("Πού είναι η βιβλιοθήκη;", "Αύριο πάμε στην παραλία με τα παιδιά."),
    "ar": ("أين المكتبة؟", "غدا نذهب إلى الشاطئ مع الأطفال."),
    "ja": ("図書館はどこですか。", "明日は子供たちと海に行きます。"),
    "zh": ("图书馆在哪里？", "明天我们和孩子们去海边。"),
}

Detector = Callable[[str], tuple[str, float]]


def ours() -> Detector:
    """Make the service's detector: fastText's lid.176."""
    from service.text.detection import detect

    return detect


def py3langid() -> Detector:
    """Make py3langid's detector, with probabilities that add up to one."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    return lambda text: (lambda found: (found[0], float(found[1])))(identifier.classify(text))


def langdetect() -> Detector:
    """Make the port of Google's language-detection; with a seed, since it samples."""
    from langdetect import DetectorFactory, detect_langs

    DetectorFactory.seed = 0

    def detect(text: str) -> tuple[str, float]:
        best = detect_langs(text)[0]
        return best.lang[:2], best.prob

    return detect


def texts(corpus: Path) -> dict[str, list[tuple[str, str]]]:
    """Return texts of each kind with their languages."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, paths in SETS.items():
        for language, path in paths.items():
            lines = (corpus / path).read_text(encoding="utf-8").splitlines()
            chosen = [line for line in lines if any(map(str.isalpha, line))][:LINES]
            found[f"{name} {language}"] = [(line, language) for line in chosen]
            found.setdefault(f"three words {language}", []).extend(
                (" ".join(line.split()[:3]), language) for line in chosen
            )
    found["18 more languages"] = [(text, language) for language, pair in MORE.items() for text in pair]
    return found


def measure(make: Callable[[], Detector], corpus: Path) -> dict[str, object]:
    """Measure one detector."""
    wanted = texts(corpus)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    detect = make()
    detect("A first one, so that what is loaded late is.")
    right: dict[str, float] = {}
    sure = surely_right = 0
    seconds, count = 0.0, 0
    for name, pairs in wanted.items():
        started = time.process_time()
        answers = [_answer(detect, text) for text, _ in pairs]
        if not name.startswith("three"):
            seconds, count = seconds + time.process_time() - started, count + len(pairs)
        hits = [answer[0] == language for answer, (_, language) in zip(answers, pairs, strict=True)]
        right[name] = round(100 * sum(hits) / len(hits), 1)
        sure += sum(answer[1] >= SURE for answer in answers)
        surely_right += sum(hit for answer, hit in zip(answers, hits, strict=True) if answer[1] >= SURE)
    return {
        "percent_right": right,
        "percent_of_answers_that_are_sure": round(100 * sure / sum(map(len, wanted.values())), 1),
        "percent_right_of_those": round(100 * surely_right / max(sure, 1), 2),
        "us_a_text": round(1e6 * seconds / count, 1),
        "megabytes": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, 1),
    }


def _answer(detect: Detector, text: str) -> tuple[str, float]:
    try:
        return detect(text)
    except Exception:  # langdetect raises where a text has no features
        return "", 0.0


def main() -> None:
    """Measure each."""
    results = {}
    for make in (ours, py3langid, langdetect):
        with get_context("spawn").Pool(1) as pool:
            results[make.__name__] = pool.apply(measure, (make, SHARED / "corpus"))
        print(make.__name__, json.dumps(results[make.__name__]), flush=True)
    command = f"python -m tests.bench.detection {' '.join(sys.argv[1:])}".strip()
    RESULT.write_text(json.dumps({"command": command, "machine": machine(), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
