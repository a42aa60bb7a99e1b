"""The text of a compression: sentences with translations, the model's own where there are none."""

import json
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tqdm import tqdm

from models.compress.teacher import Teacher
from models.format.languages import canonical, marked
from models.marian.checkpoint import Checkpoint
from models.text.lines import DataError, Line, read_lines

HELD_OUT = 500  # lines, or a tenth where there are fewer than ten times as many
LEAST_LINES = 20
MOST_LINES = 400_000  # kept in memory
LEAST_TRANSLATED, MOST_TRANSLATED = 1_500, 30_000  # source lines
CHUNK_LINES = 256  # translated between two looks at the clock
LONGEST = 1000  # characters
SEED = 1


@dataclass(frozen=True)
class Text:
    """Text to compress a model with.

    Attributes:
        training: a file of source TAB target.
        held_out: pairs that nothing is fitted to.
        referenced: whether the targets of the held-out pairs are people's; else the fp32 model's.
    """

    training: Path
    held_out: tuple[Line, ...]
    referenced: bool


def prepare(
    checkpoint: Checkpoint, files: Sequence[Path], work: Path, *, target: str | None, seconds: float, threads: int
) -> Text:
    """Divide the text and translate what has no translation; what a killed call translated stays.

    Args:
        checkpoint: the fp32 model.
        files: of source TAB target (.tsv, .tsv.xz) or of plain text.
        work: folder for the files that are made.
        target: language of the translations, for a model of several; None where the text says it or there is one.
        seconds: to translate in, once `LEAST_TRANSLATED` lines are done.
        threads: that translate.

    Raises:
        DataError: a file can't be read, or there is too little text.
    """
    training, held_out = work / "training.tsv", work / "held-out.tsv"
    if not training.exists():
        lines = _marked(checkpoint, read_all(files), target)
        count = min(HELD_OUT, len(lines) // 10)
        model = _Translator(checkpoint, work, threads)
        _write(held_out, model.complete(lines[:count], None))
        (work / "text.json").write_text(json.dumps({"referenced": all(line.target for line in lines[:count])}))
        _write(training, model.complete(lines[count:], seconds))
    referenced: bool = json.loads((work / "text.json").read_text())["referenced"]
    return Text(training, tuple(read_lines(held_out)), referenced)


def read_all(files: Sequence[Path]) -> list[Line]:
    """Read distinct sentences in random order; of large files a random part.

    Raises:
        DataError: a file can't be read, or there is too little text.
    """
    draw = random.Random(SEED)
    kept: list[Line] = []
    seen: set[int] = set()
    for path in files:
        for line in tqdm(read_lines(path), desc=f"reading {path.name}", unit="line", leave=False):
            clean = Line(" ".join(line.source.split()), " ".join(line.target.split()) if line.target else None)
            usable = clean.source and line.target != "" and len(clean.source) <= LONGEST
            if not usable or (key := hash(clean.source)) in seen:
                continue
            seen.add(key)
            if len(kept) < MOST_LINES:
                kept.append(clean)
            elif (place := draw.randrange(len(seen))) < MOST_LINES:
                kept[place] = clean
    if len(kept) < LEAST_LINES:
        raise DataError(
            f"The text has {len(kept)} different sentences, but at least {LEAST_LINES} are needed, and some thousand "
            "are better: give more files with --text."
        )
    draw.shuffle(kept)
    return kept


def _marked(checkpoint: Checkpoint, lines: Sequence[Line], target: str | None) -> list[Line]:
    """Put the target language's token before each source, where the model has several targets."""
    marks = checkpoint.target_tokens
    if not marks:
        return list(lines)
    target = target and canonical(target)
    if target is not None and target not in marks:
        raise DataError(f"The model has no target language {target!r}; it has {', '.join(sorted(marks))}.")
    turn = [f">>{language}<<" for language in ([target] if target else marks)]
    result = []
    for n, (source, translation) in enumerate(lines):
        if marked(source, marks)[0] is not None:
            result.append(Line(source, translation))
        elif translation is not None and target is None:
            raise DataError(
                f"The model has {len(marks)} target languages, and the translation of {source[:40]!r} may be in any of "
                f"them: give --target LANGUAGE, or begin each source with its token, such as {turn[0]}."
            )
        else:
            result.append(Line(f"{turn[n % len(turn)]} {source}", translation))
    return result


class _Translator:
    """The model, made when it is first needed, and the file of what it translated so far."""

    def __init__(self, checkpoint: Checkpoint, work: Path, threads: int) -> None:
        self._checkpoint, self._work, self._threads = checkpoint, work, threads
        self._path = work / "translated.jsonl"
        self._known: dict[str, str] = {}
        if self._path.exists():
            content = self._path.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]  # a killed call may leave half a line
            self._known = dict(map(json.loads, whole.splitlines()))
            os.truncate(self._path, len(whole))

    @cached_property
    def _teacher(self) -> Teacher:
        return Teacher(self._checkpoint, self._work / "teacher", self._threads)

    def complete(self, lines: Sequence[Line], seconds: float | None) -> list[Line]:
        """Return the lines that have a translation or get one, for so many seconds at most; None = all."""
        result = [line for line in lines if line.target]
        rest = [line.source for line in lines if not line.target]
        if seconds is not None:
            rest = rest[: max(MOST_TRANSLATED - len(result), 0)]
        began = time.monotonic()
        with tqdm(total=len(rest), desc="translating", unit="sentence") as bar:
            for begin in range(0, len(rest), CHUNK_LINES):
                enough = len(result) >= LEAST_TRANSLATED
                if seconds is not None and enough and time.monotonic() - began > seconds:
                    break
                part = rest[begin : begin + CHUNK_LINES]
                self._translate(part, bar)
                found = [Line(source, " ".join(self._known[source].split())) for source in part]
                result += [line for line in found if line.target]
        return result

    def _translate(self, sources: Sequence[str], bar: "tqdm[object]") -> None:
        new = [source for source in sources if source not in self._known]
        bar.update(len(sources) - len(new))
        if not new:
            return
        translated = self._teacher.translate(new)
        with self._path.open("a", encoding="utf-8", buffering=1) as file:
            for source, translation in translated:
                file.write(json.dumps((source, translation), ensure_ascii=False) + "\n")
                self._known[source] = translation
                bar.update()


def _write(path: Path, lines: Sequence[Line]) -> None:
    new = path.with_suffix(".new")
    new.write_text("".join(f"{line.source}\t{line.target}\n" for line in lines), encoding="utf-8", newline="\n")
    new.replace(path)
