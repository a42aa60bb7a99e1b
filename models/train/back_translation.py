"""Back-translation (Sennrich et al. 2016, arXiv 1511.06709): pairs of monolingual text of the target language.

The source is what a model of the other direction makes of the text.

    shards -> JSON lines with text -> `sub3 corpus` adds the translation, resumes -> pairs -> translation TAB text
"""

import json
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from models.evaluate.quality import LOOP
from models.text.language import reads_as
from models.text.lines import DataError, read_lines
from models.text.numbers import arrive

SHARD_LINES = 4000
LEAST_WORDS, MOST_WORDS = 4, 60
MOST_RATIO = 2.0  # of the words of the two sides, from 6 words on
MOST_COPIED = 0.7  # of the words of a translation that stand in its text


class Back(NamedTuple):
    """What became of translated text.

    Attributes:
        kept: number of pairs written.
        dropped: reason -> number of sentences.
    """

    kept: int
    dropped: Counter[str]


def write_shards(texts: Sequence[Path], out: Path, *, sentences: int, seed: int) -> int:
    """Write shards of distinct sentences of 4 to 60 words, drawn from all files together, in random order.

    Args:
        texts: files of a sentence a line, .xz or not.
        out: a directory; it must not have shards yet.
        sentences: most that are drawn.
        seed: of the draw.

    Returns:
        The number of sentences.

    Raises:
        DataError: a file can't be read, or there are shards already.
    """
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out} is not empty; shards of another sample would be translated too.")
    found = {line.source for path in texts for line in read_lines(path)}
    fitting = sorted(text for text in found if LEAST_WORDS <= len(text.split()) <= MOST_WORDS and "\t" not in text)
    drawn = random.Random(seed).sample(fitting, min(sentences, len(fitting)))
    out.mkdir(parents=True, exist_ok=True)
    for number, begin in enumerate(range(0, len(drawn), SHARD_LINES)):
        lines = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in drawn[begin : begin + SHARD_LINES])
        (out / f"part-{number:03}.jsonl").write_text("".join(lines), encoding="utf-8")
    return len(drawn)


def write_pairs(translated: Path, out: Path, *, source: str, target: str) -> Back:
    """Write translation TAB text, but for translations with a fault.

    Args:
        translated: a directory of shards that `sub3 corpus` translated.
        out: a .tsv file.
        source: language of the translations, ISO 639-1.
        target: language of the text.

    Raises:
        DataError: the directory has no translated shards.
    """
    dropped: Counter[str] = Counter()
    pairs = []
    for path in sorted(translated.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
            values = json.loads(line)
            text, translation = values["text"], values["translation"]
            if (reason := fault(text, target, translation, source)) is None:
                pairs.append(f"{translation}\t{text}\n")
            else:
                dropped[reason] += 1
    if not pairs and not dropped:
        raise DataError(f"{translated} has no translated shards.")
    out.write_text("".join(pairs), encoding="utf-8", newline="\n")
    return Back(len(pairs), dropped)


def fault(text: str, language: str, translation: str, other: str) -> str | None:
    """Return why a translation is not to be learnt from, None if it may be.

    Args:
        text: a sentence that people wrote.
        language: of the text, ISO 639-1.
        translation: of it, by a model.
        other: language of the translation.
    """
    words, ours = re.findall(r"\w+", text), re.findall(r"\w+", translation)
    if not ours or {"\t", "\n"} & set(translation):
        return "empty"
    if max(len(words), len(ours)) >= 6 and max(len(words), len(ours)) > MOST_RATIO * min(len(words), len(ours)):
        return "length"
    if LOOP.search(translation) and not LOOP.search(text):
        return "loop"
    if (Counter(words) & Counter(ours)).total() >= MOST_COPIED * len(ours):
        return "copied"
    if not arrive(text, language, translation, other) or not arrive(translation, other, text, language):
        return "numbers"
    return None if reads_as(translation, other) else "language"
