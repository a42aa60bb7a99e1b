"""`sub3 translate`: translate files or standard input by the engine itself, without a server."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

from kernels.engine import EngineError, set_threads
from models.format import store
from models.format.directory import ModelDirectory, open_model
from models.format.files import sentence
from models.format.languages import canonical
from models.format.schema import ModelError, UnavailableConfiguration
from service.cli.arguments import model_path
from service.files import FileRefused, Limits, UnknownFormat, ending_of, open_file, translated_name
from service.files.chunks import Collected, parts, sample
from service.live.configurations import by_name
from service.process import process_peak_rss_bytes, process_rss_bytes, usable_cores
from service.text import languages
from service.text.detection import UNKNOWN, detect
from service.text.glossary import Glossary
from service.text.glossary_files import read_entries
from service.text.sentences import SplitSentences
from service.translation.cost import NO_RUNGS
from service.translation.results import Options, Translated, Translation
from service.translation.taken_apart import TakenApart
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator

AUTO = "auto"
HELP = "translate files, or standard input to standard output"
DESCRIPTION = """\
Translates files; notes.txt becomes notes.de.txt beside it. Without files, or for the file -, standard input goes to
standard output as plain text, line by line as it comes."""
EPILOG = """\
examples:
  sub3 translate letter.docx notes.md           letter.de.docx and notes.de.md, beside them
  sub3 translate --output translated *.po       into a folder that exists
  fortune | sub3 translate --target de          standard input to standard output
  sub3 translate --json --config best-1 a.txt   what it took, as a line of JSON

exit status:
  0 everything was translated; 1 a file was refused; 2 the model or an option was refused; 130 interrupted

environment:
  SUB3_MODELS_DIRECTORY, SUB3_MODEL_DIRECTORY   the models, as for sub3 serve; `sub3 models list` shows them"""
_LIMITS = Limits(1 << 30)  # one's own files
_BATCH_TOKENS = 4096
_READ_BYTES = 1 << 16  # of a pipe at a time
_BAR = 30  # characters


class _Input(NamedTuple):
    """An input and its output; None is standard input or output."""

    path: Path | None
    output: Path | None

    @property
    def name(self) -> str:
        return "standard input.txt" if self.path is None else self.path.name

    def chunks(self, split_sentences: SplitSentences) -> Iterator[bytes]:
        """Yield the file, or what has come of standard input, cut where a sentence ends."""
        if self.path is not None:
            yield self.path.read_bytes()
        else:
            yield from _available(sys.stdin.fileno(), (b"\n",) if split_sentences == "1" else (b"\n\n", b"\n\r\n"))

    def write(self, data: bytes) -> None:
        if self.output is not None:
            self.output.write_bytes(data)
        else:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()


class _Direction(NamedTuple):
    """A model and the languages that it is to translate."""

    directory: ModelDirectory
    source: str
    target: str


class _Translators:
    """The translators of the models that are needed, each opened once."""

    def __init__(self, given: argparse.Namespace) -> None:
        """Take the options; a model is loaded when the first input needs it."""
        self._given = given
        self._loaded: dict[Path, Translator] = {}
        self.load_ms = 0.0

    def of(self, directory: ModelDirectory) -> Translator:
        """Load a model in its configuration, if it is not.

        Raises:
            ModelError, EngineError: the directory is bad.
            UnavailableConfiguration: it does not have the configuration.
        """
        if directory.path not in self._loaded:
            started = time.perf_counter()
            whole = open_model(directory.path)
            choice = by_name(whole, self._given.config or whole.config.default_configuration)
            translator = Translator(whole, Tokenizer(whole), *choice, max_batch_tokens=_BATCH_TOKENS)
            self._loaded[directory.path] = translator
            self.load_ms += 1e3 * (time.perf_counter() - started)
        return self._loaded[directory.path]

    def close(self) -> None:
        """Free the models."""
        for translator in self._loaded.values():
            translator.close()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("files", nargs="*", type=_file, metavar="FILE", help="txt, html, md, po, xliff, docx, odt, ...")
    parser.add_argument(
        "--model", metavar="NAME", help="name of a model, or a model directory (default: the first with the languages)"
    )
    parser.add_argument("--config", metavar="NAME", help="configuration, such as flat-4 (default: the model's default)")
    parser.add_argument(
        "--source",
        type=canonical,
        metavar="CODE",
        help=f"language, or {AUTO} to detect it (default: {AUTO}, if models have several)",
    )
    parser.add_argument(
        "--target", type=canonical, metavar="CODE", help="language (default: that of the source's model)"
    )
    parser.add_argument("--beam-size", type=int, choices=range(1, 9), help="hypotheses kept (default: the model's)")
    ways = [way for way in get_args(SplitSentences) if way != "lines"]
    parser.add_argument(
        "--split-sentences",
        choices=ways,
        default="1",
        help="nonewlines: a line break does not end a sentence (default: 1)",
    )
    parser.add_argument(
        "--glossary", type=Path, metavar="FILE", help="terms and their translations, in .csv, else separated by tabs"
    )
    parser.add_argument(
        "--inflect", action="store_true", help="the model may inflect the terms' translations (default: as they stand)"
    )
    parser.add_argument(
        "--columns",
        type=lambda names: [name.strip() for name in names.split(",")],
        default=(),
        metavar="NAME,...",
        help="of a csv or tsv: headers of the columns to translate (default: columns of text)",
    )
    parser.add_argument(
        "--output", "-o", type=Path, metavar="DIR", help="directory of the translated files; - is standard output"
    )
    parser.add_argument(
        "--json", action="store_true", help="print a line of JSON for each input: model, milliseconds, bytes"
    )
    parser.add_argument(
        "--threads", type=int, choices=range(1, 257), default=usable_cores(), metavar="N", help="(default: every core)"
    )


def run(given: argparse.Namespace) -> int:
    """Translate the files; return 1 if one was refused, 2 if the model or an option was."""
    translators = _Translators(given)
    try:
        directions = _directions(given)
        if len(directions) == 1:
            translators.of(directions[0].directory)
        entries = _entries(given.glossary) if given.glossary else None
        for direction in directions:
            _glossary(entries, direction)
    except (OSError, ModelError, UnavailableConfiguration, EngineError, ValueError) as error:
        print(sentence(error), file=sys.stderr)
        return 2
    failures = 0
    set_threads(given.threads)
    pool = ThreadPoolExecutor(given.threads)
    try:
        for path in given.files or [Path("-")]:
            try:
                report = _translate(path, given, directions, translators, pool, entries)
            except BrokenPipeError:
                raise
            except OSError as error:
                print(sentence(error), file=sys.stderr)
                failures += 1
            except (UnavailableConfiguration, ModelError) as error:
                print(error, file=sys.stderr)
                return 2
            except (ValueError, EngineError) as error:  # FileRefused, UnknownFormat, GlossaryRefused
                print(f"{path if path != Path('-') else 'standard input'}: {error}", file=sys.stderr)
                failures += 1
            else:
                if given.json:
                    print(json.dumps(report, ensure_ascii=False), flush=True)
    finally:
        pool.shutdown(cancel_futures=True)
        translators.close()
    return 1 if failures else 0


def _translate(
    path: Path,
    given: argparse.Namespace,
    directions: list[_Direction],
    translators: _Translators,
    pool: ThreadPoolExecutor,
    entries: Mapping[str, str] | None,
) -> dict[str, Any]:
    """Translate one input, and report what it took."""
    started = time.perf_counter()
    direction: _Direction | None = None
    work: list[Translated] = []
    cut, characters, shown = 0, 0, []
    wanted = _wanted(path, given, directions[0].target)
    in_report = given.json and wanted.output is None
    for chunk in wanted.chunks(given.split_sentences):
        opened = open_file(wanted.name, chunk, _LIMITS, given.columns)
        if direction is None:
            direction = directions[0]
            if given.source in (None, AUTO):
                direction = _direction(sample(opened.texts), directions)
            wanted = _wanted(path, given, direction.target)
        translator = translators.of(direction.directory)
        options = Options(direction.source, direction.target, given.beam_size, 0, given.split_sentences, alignment=True)
        options = replace(options, glossary=_glossary(entries, direction), exact_terms=not given.inflect)
        translations = Collected(opened.texts)
        done, total = 0, sum(map(len, opened.texts))
        is_translated = direction.source != direction.target
        pieces = list(parts(opened.texts)) if is_translated else []
        results = pool.map(
            lambda part, translator=translator, options=options: _translated(translator, [t for _, t in part], options),
            pieces,
        )
        for part, (translated, made) in zip(pieces, results, strict=True):
            work += made
            for (index, text), translation in zip(part, translated, strict=True):
                translations.add(index, text, translation.best.text, translation.best.alignment)
                cut += translation.cut_sentences
                done += len(text)
            if wanted.path is not None:
                _show(wanted.name, done / total)
        data = opened.render(translations, options.target) if is_translated else chunk
        characters += total
        if in_report:
            shown.append(data.decode(errors="replace"))
        else:
            wanted.write(data)
    direction = direction or directions[0]
    translator = translators.of(direction.directory)
    return {
        "input": None if wanted.path is None else str(wanted.path),
        "output": None if wanted.output is None else str(wanted.output),
        **({"text": "".join(shown)} if in_report else {}),
        "source": direction.source,
        "target": direction.target,
        "characters": characters,
        "cut_sentences": cut,
        "rungs": asdict(sum((result.cost.rungs for result in work), NO_RUNGS)),
        "model": asdict(translator.identity),
        "latency_ms": {"load": round(translators.load_ms, 3)}
        | {
            stage: round(sum(getattr(result.cost.latency_ms, stage) for result in work), 3)
            for stage in ("tokenize", "encode", "decode", "detokenize")
        }
        | {"total": round(1e3 * (time.perf_counter() - started), 3)},
        "memory": {
            "model_bytes": translator.model_bytes,
            "workspace_peak_bytes": max((result.cost.memory.workspace_peak_bytes for result in work), default=0),
            "kv_cache_peak_bytes": max((result.cost.memory.kv_cache_peak_bytes for result in work), default=0),
            "process_rss_bytes": process_rss_bytes(),
            "process_peak_rss_bytes": process_peak_rss_bytes(),
        },
    }


def _translated(
    translator: Translator, texts: list[str], options: Options
) -> tuple[list[Translation], list[Translated]]:
    """Return the translations of texts, and what was translated: messages and pairs of tags are taken apart."""
    apart = [TakenApart(text, options) for text in texts]
    found: dict[int, Translation] = {}
    made = []
    for is_in_lines in (False, True):
        indices = [index for index, each in enumerate(apart) if each.is_in_lines == is_in_lines]
        if indices:
            result = translator.translate([apart[n].plain for n in indices], apart[indices[0]].options(options))
            found |= zip(indices, result.translations, strict=True)
            made.append(result)
    return [each.rendered(found[index], with_links=True) for index, each in enumerate(apart)], made


def _available(descriptor: int, ends: tuple[bytes, ...]) -> Iterator[bytes]:
    """Yield what can be read, as soon as it can be: up to the last of `ends` that has come, and the rest at the end.

    A file that begins with a byte order mark of UTF-16 comes in one piece: there a line ends otherwise.
    """
    held: list[bytes] = []
    overlap = max(map(len, ends)) - 1
    first = True
    wide = False
    while data := os.read(descriptor, _READ_BYTES):
        wide = wide or (first and data[:2] in (b"\xff\xfe", b"\xfe\xff"))
        first = False
        before = held[-1][-overlap:] if held and overlap else b""
        seen = before + data
        cut = max((seen.rfind(end) + len(end) for end in ends if end in seen), default=0) - len(before)
        if wide or cut <= 0:
            held.append(data)
            continue
        yield b"".join([*held, data[:cut]])
        held = [data[cut:]] if data[cut:] else []
    if held:
        yield b"".join(held)


def _show(name: str, part: float) -> None:
    """Draw a progress bar, if stderr is a terminal."""
    if sys.stderr.isatty():
        filled = round(_BAR * part)
        end = "\n" if part >= 1 else ""
        print(f"\r{name} [{'#' * filled}{'.' * (_BAR - filled)}] {part:4.0%}", end=end, file=sys.stderr, flush=True)


def _directions(given: argparse.Namespace) -> list[_Direction]:
    """List what the models could do with the options: one direction, or several of which the text chooses."""
    paths = [model_path(given.model)] if given.model else list(store.found().values())
    directories = []
    faults = []
    for path in paths:
        try:
            directories.append(open_model(path, verify=False))
        except ModelError as error:
            faults.append(str(error))
    if not directories:
        raise ModelError(" ".join(faults))
    every = [
        _Direction(directory, source, target)
        for directory in directories
        for source in directory.config.source_languages
        for target in directory.config.target_languages
        if source != target
    ]
    wanted = [
        direction
        for direction in every
        if given.source in (None, AUTO, direction.source) and given.target in (None, direction.target)
    ]
    if not wanted and given.source == given.target and any(given.target in direction[1:] for direction in every):
        wanted = [_Direction(directories[0], given.source, given.target)]  # which changes nothing
    if not wanted:
        pairs = ", ".join(f"{source} -> {target}" for _, source, target in every)
        raise ValueError(f"No model translates {given.source or AUTO} -> {given.target}; there are {pairs}.")
    firsts = {direction.source: direction for direction in reversed(wanted)}  # of each source the first one
    return sorted(firsts.values(), key=wanted.index)


def _direction(text: str, directions: list[_Direction]) -> _Direction:
    """Choose a direction by the language of a text.

    Of a text in the target language, source and target of the direction are the same.

    Raises:
        FileRefused: it is in a language that no model translates.
    """
    by_source = {direction.source: direction for direction in directions}
    found = detect(text, {language for direction in directions for language in direction[1:]})
    if found.language in by_source:
        return by_source[found.language]
    if found == UNKNOWN:  # not a letter
        return directions[0]
    for direction in directions:
        if found.language == direction.target:
            return direction._replace(source=direction.target)
    raise FileRefused(
        f"The text is in {languages.name(found.language)}; the models translate from "
        f"{', '.join(map(languages.name, by_source))}. Name one by --source to have it translated nevertheless."
    )


def _entries(path: Path) -> Mapping[str, str]:
    form = "csv" if path.suffix.lower() == ".csv" else "tsv"
    return read_entries(path.read_text(encoding="utf-8-sig"), form)


def _glossary(entries: Mapping[str, str] | None, direction: _Direction) -> Glossary | None:
    return None if entries is None else Glossary(entries, direction.source, direction.target)


def _wanted(path: Path, given: argparse.Namespace, target: str) -> _Input:
    if str(path) == "-":
        return _Input(None, None)
    if given.output == Path("-"):
        return _Input(path, None)
    return _Input(path, (given.output or path.parent) / translated_name(path.name, target))


def _file(name: str) -> Path:
    if name != "-":
        try:
            ending_of(name)
        except UnknownFormat as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return Path(name)
