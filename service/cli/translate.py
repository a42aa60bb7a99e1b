"""`sub3 translate`: translate files or standard input by the engine itself, without a server."""

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

from kernels.engine import EngineError, set_threads
from models.format.directory import ModelDirectory, open_model
from models.format.schema import ModelError, UnavailableConfiguration
from service.files import FileRefused, Limits, OpenFile, UnknownFormat, ending_of, open_file, translated_name
from service.files.chunks import Collected, parts, sample
from service.live.configurations import by_name
from service.process import process_peak_rss_bytes, process_rss_bytes, usable_cores
from service.text import languages
from service.text.detection import UNKNOWN, detect
from service.text.glossary import Glossary
from service.text.glossary_files import read_entries
from service.text.sentences import SplitSentences
from service.translation.results import Options, Translated
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator

_LIMITS = Limits(1 << 30)  # one's own files
_BATCH_TOKENS = 4096
_DEFAULT = Path(os.environ.get("SUB3_MODEL_DIRECTORY") or Path(__file__).parents[2] / "models" / "store" / "en-de")
_BAR = 30  # characters
HELP = "translate files, or standard input to standard output"
DESCRIPTION = (
    "Translates files; notes.txt becomes notes.de.txt beside it. Without files, or for the file -, standard input goes "
    "to standard output as plain text."
)


class _Input(NamedTuple):
    """An input and its output; None is standard input or output."""

    path: Path | None
    output: Path | None

    @property
    def name(self) -> str:
        return "standard input.txt" if self.path is None else self.path.name

    def read(self) -> bytes:
        return sys.stdin.buffer.read() if self.path is None else self.path.read_bytes()

    def write(self, data: bytes) -> None:
        if self.output is not None:
            self.output.write_bytes(data)
        else:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("files", nargs="*", type=_file, metavar="FILE", help="txt, html, md, po, xliff, docx, odt, ...")
    parser.add_argument(
        "--model",
        type=Path,
        help=f"model directory (default: {_DEFAULT}, or the first beside it that has the languages)",
    )
    parser.add_argument("--config", help="configuration, such as flat-4 (default: the model's default)")
    parser.add_argument("--source", help="language, or auto to detect it (default: the model's first)")
    parser.add_argument("--target", help="language (default: the model's first)")
    parser.add_argument("--beam-size", type=int, choices=range(1, 9), default=1, help="hypotheses kept (default: 1)")
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
    started = time.perf_counter()
    try:
        directory = _directory(given)
        name = given.config or directory.config.default_configuration
        allocation = by_name(directory, name)
        translator = Translator(directory, Tokenizer(directory), *allocation, max_batch_tokens=_BATCH_TOKENS)
        options = _options(given, directory)
    except (OSError, ModelError, UnavailableConfiguration, EngineError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    load_ms = round(1e3 * (time.perf_counter() - started), 3)
    failures = 0
    set_threads(given.threads)
    with ThreadPoolExecutor(given.threads) as pool:
        for wanted in _inputs(given, options.target):
            try:
                report = _translate(wanted, translator, options, pool, directory, given.json)
            except (OSError, FileRefused, UnknownFormat, EngineError) as error:
                print(f"{wanted.path or 'standard input'}: {error}", file=sys.stderr)
                failures += 1
                continue
            if given.json:
                report["latency_ms"] = {"load": load_ms, **report["latency_ms"]}
                print(json.dumps(report, ensure_ascii=False), flush=True)
    translator.close()
    return 1 if failures else 0


def _translate(
    wanted: _Input,
    translator: Translator,
    options: Options,
    pool: ThreadPoolExecutor,
    directory: ModelDirectory,
    as_json: bool,
) -> dict[str, Any]:
    """Translate one file, and report what it took."""
    started = time.perf_counter()
    content = wanted.read()
    opened = open_file(wanted.name, content, _LIMITS)
    if options.source == "auto":
        options = _detected(opened, options, directory)
    translations = Collected(opened.texts)
    options = replace(options, alignment=True)
    work: list[Translated] = []
    cut, done, total = 0, 0, sum(map(len, opened.texts))
    is_translated = options.source != options.target
    pieces = list(parts(opened.texts)) if is_translated else []
    results = pool.map(lambda part: translator.translate([text for _, text in part], options), pieces)
    for part, result in zip(pieces, results, strict=True):
        work.append(result)
        for (index, text), translation in zip(part, result.translations, strict=True):
            translations.add(index, text, translation.best.text, translation.best.alignment)
            cut += translation.cut_sentences
            done += len(text)
        _show(wanted.name, done / total)
    data = opened.render(translations.joined(), options.target) if is_translated else content
    in_report = as_json and wanted.output is None
    if not in_report:
        wanted.write(data)
    return {
        "input": None if wanted.path is None else str(wanted.path),
        "output": None if wanted.output is None else str(wanted.output),
        **({"text": data.decode(errors="replace")} if in_report else {}),
        "source": options.source,
        "target": options.target,
        "characters": total,
        "cut_sentences": cut,
        "model": asdict(translator.identity),
        "latency_ms": {
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


def _show(name: str, part: float) -> None:
    """Draw a progress bar, if stderr is a terminal."""
    if sys.stderr.isatty():
        filled = round(_BAR * part)
        end = "\n" if part >= 1 else ""
        print(f"\r{name} [{'#' * filled}{'.' * (_BAR - filled)}] {part:4.0%}", end=end, file=sys.stderr, flush=True)


def _detected(opened: OpenFile, options: Options, directory: ModelDirectory) -> Options:
    """Set the detected source language, which may be the target.

    Raises:
        FileRefused: the model does not translate from that language.
    """
    sources = directory.config.source_languages
    found = detect(sample(opened.texts), {*sources, *directory.config.target_languages})
    if found == UNKNOWN:  # not a letter
        return replace(options, source=sources[0])
    if found.language not in (*sources, options.target):
        raise FileRefused(
            f"The text is in {languages.name(found.language)}, and the model translates from "
            f"{', '.join(map(languages.name, sources))}; name its language with --source if that is wrong."
        )
    return replace(options, source=found.language)


def _directory(given: argparse.Namespace) -> ModelDirectory:
    """Open the given model, or the default one; if that lacks the languages, the first beside it that has them."""
    directory = open_model(given.model or _DEFAULT)
    if given.model is None and not _translates(directory, given):
        for path in sorted(directory.path.parent.iterdir()):
            with contextlib.suppress(ModelError):
                other = open_model(path)
                if _translates(other, given):
                    return other
    return directory


def _translates(directory: ModelDirectory, given: argparse.Namespace) -> bool:
    sources, targets = directory.config.source_languages, directory.config.target_languages
    return given.source in (None, "auto", *sources) and given.target in (None, *targets)


def _options(given: argparse.Namespace, directory: ModelDirectory) -> Options:
    config = directory.config
    source, target = given.source or config.source_languages[0], given.target or config.target_languages[0]
    if source not in (*config.source_languages, target, "auto") or target not in config.target_languages:
        pairs = f"{'/'.join(config.source_languages)} -> {'/'.join(config.target_languages)}"
        raise ValueError(f"The model translates {pairs}, not {source} -> {target}.")
    glossary = _glossary(given.glossary, source, target) if given.glossary else None
    return Options(source, target, given.beam_size, 0, given.split_sentences, glossary=glossary)


def _glossary(path: Path, source: str, target: str) -> Glossary:
    form = "csv" if path.suffix.lower() == ".csv" else "tsv"
    return Glossary(read_entries(path.read_text(encoding="utf-8-sig"), form), source, target)


def _inputs(given: argparse.Namespace, target: str) -> Iterator[_Input]:
    if not given.files:
        yield _Input(None, None)
    for path in given.files:
        if str(path) == "-":
            yield _Input(None, None)
        elif given.output == Path("-"):
            yield _Input(path, None)
        else:
            yield _Input(path, (given.output or path.parent) / translated_name(path.name, target))


def _file(name: str) -> Path:
    if name != "-":
        try:
            ending_of(name)
        except UnknownFormat as error:
            raise argparse.ArgumentTypeError(str(error)) from None
    return Path(name)
