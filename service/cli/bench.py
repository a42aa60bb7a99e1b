"""`sub3 bench`: how fast a model is on this machine, by the engine itself."""

import argparse
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kernels.engine import EngineError, set_threads
from models.format import store
from models.format.directory import open_model
from models.format.files import sentence
from models.format.schema import ModelError, UnavailableConfiguration
from service.cli.arguments import model_path, positive
from service.live.configurations import by_name
from service.process import process_peak_rss_bytes, usable_cores
from service.translation.results import Options
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator

HELP = "measure how fast a model translates on this machine"
DESCRIPTION = """\
Translates sentences one by one by one thread, then all of them by every thread, and prints milliseconds and sentences a
second. Without --text, ten sentences of everyday language stand in."""
EPILOG = """\
examples:
  sub3 bench                                    the first model, as it is served
  sub3 bench --model en-de --config flat-4      a configuration of another
  sub3 bench --text sentences.txt --threads 1   sentences of your own, on one core"""
_BATCH_TOKENS = 4096
_SENTENCES = {
    "en": [
        "Would you like another cup of coffee?",
        "The train to Berlin leaves at a quarter past nine.",
        "I have never seen such a beautiful garden.",
        "Please send me the documents by the end of the week.",
        "She said that she would be a little late today.",
        "Where can I buy a ticket for the museum?",
        "It has been raining for three days.",
        "The children are playing in the park behind the school.",
        "He opened the window because it was too warm in the room.",
        "We should talk about it tomorrow.",
    ],
    "de": [
        "Möchten Sie noch eine Tasse Kaffee?",
        "Der Zug nach Berlin fährt um Viertel nach neun.",
        "Ich habe noch nie einen so schönen Garten gesehen.",
        "Bitte schicken Sie mir die Unterlagen bis Ende der Woche.",
        "Sie hat gesagt, dass sie heute etwas später kommt.",
        "Wo kann ich eine Karte für das Museum kaufen?",
        "Es regnet seit drei Tagen.",
        "Die Kinder spielen im Park hinter der Schule.",
        "Er öffnete das Fenster, weil es im Zimmer zu warm war.",
        "Wir sollten morgen darüber sprechen.",
    ],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--model", metavar="NAME", help="name of a model, or a model directory (default: the first)")
    parser.add_argument("--config", metavar="NAME", help="configuration (default: the model's default)")
    parser.add_argument("--text", type=Path, metavar="FILE", help="sentences, one a line")
    parser.add_argument("--threads", type=positive, default=usable_cores(), metavar="N", help="(default: every core)")
    parser.add_argument("--rounds", type=positive, default=20, metavar="N", help="over the text (default: 20)")


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print the figures; return 2 with a sentence on stderr if the model or the text is refused."""
    try:
        directory = open_model(model_path(arguments.model) if arguments.model else next(iter(store.found().values())))
        source, target = directory.config.source_languages[0], directory.config.target_languages[0]
        texts = _texts(arguments.text, source)
        started = time.perf_counter()
        choice = by_name(directory, arguments.config or directory.config.default_configuration)
        translator = Translator(directory, Tokenizer(directory), *choice, max_batch_tokens=_BATCH_TOKENS)
        options = Options(source, target)
        translator.translate(texts[:1], options)
    except (OSError, ModelError, UnavailableConfiguration, EngineError, ValueError) as error:
        print(sentence(error), file=sys.stderr)
        return 2
    loaded_ms = 1e3 * (time.perf_counter() - started)
    set_threads(1)
    alone = []
    for _ in range(arguments.rounds):
        for text in texts:
            started = time.perf_counter()
            translator.translate([text], options)
            alone.append(1e3 * (time.perf_counter() - started))
    set_threads(arguments.threads)
    with ThreadPoolExecutor(arguments.threads) as pool:
        started = time.perf_counter()
        list(pool.map(lambda _: translator.translate(texts, options), range(arguments.rounds)))
        together_s = time.perf_counter() - started
    identity = translator.identity
    print(f"{identity.name} {identity.config}: {identity.bits_per_weight:.2f} bits a weight, {source} -> {target}")
    print(f"loading and the first sentence   {loaded_ms:9.1f} ms")
    print(f"a sentence, one thread, median   {statistics.median(alone):9.2f} ms")
    print(f"the slowest of {len(alone):<6}            {max(alone):9.2f} ms")
    rate = arguments.rounds * len(texts) / together_s
    print(f"sentences a second, {arguments.threads:>2} threads   {rate:9.0f}")
    print(f"memory of the process, at most   {process_peak_rss_bytes() / 1e6:9.1f} MB")
    translator.close()
    return 0


def _texts(path: Path | None, source: str) -> list[str]:
    """Read the sentences, or take our own.

    Raises:
        ValueError: there are none of this language.
    """
    if path is None:
        if source not in _SENTENCES:
            raise ValueError(f"There are no sentences of the language {source} here; give a file by --text.")
        return _SENTENCES[source]
    texts = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if not texts:
        raise ValueError(f"{path}: there is no sentence in it.")
    return texts
