"""The live models. A request leases one; a swap loads beside, tests, switches one reference; the last reader closes."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from models.format import ModelDirectory
from service.configurations import Choice, by_name
from service.metrics import ModelFacts, milliseconds_since
from service.tokenizer import Tokenizer
from service.translator import Options, Translator

WARM_UP_TEXT = "Hello, world."


class NotReady(Exception):
    """No model has translated its warm-up sentence yet."""

    def __init__(self) -> None:
        """The sentence that the client reads."""
        super().__init__("The model is still loading; retry in a moment.")


class UnknownModel(Exception):
    """A name that no live model has; the sentence lists those that there are."""


class UnsupportedPair(Exception):
    """A language pair that no live model translates; the sentence lists those that there are."""


class SwapInProgress(Exception):
    """Another swap of the same model hasn't ended."""


class SelfTestFailed(Exception):
    """The loaded weights did not give a finite score to the warm-up sentence."""


class Swap(NamedTuple):
    """A finished swap: what served before, what serves now, and the milliseconds until it did."""

    before: Translator
    after: Translator
    milliseconds: float


@dataclass(eq=False, slots=True)
class _Live:
    """A translator and the requests that read it. `retired` is set when another one has taken its place."""

    translator: Translator
    readers: int = 0
    retired: bool = False


@dataclass(eq=False, slots=True)
class Model:
    """A directory with the one configuration of it that serves."""

    directory: ModelDirectory
    tokenizer: Tokenizer
    live: _Live | None = None
    swapping: threading.Lock = field(default_factory=threading.Lock)

    @property
    def active(self) -> Translator:
        """What serves now.

        Raises:
            NotReady: nothing does yet.
        """
        live = self.live
        if live is None:
            raise NotReady
        return live.translator


class Registry:
    """Models by name. `lease` and `swap` may be called from any thread."""

    def __init__(self, directories: list[ModelDirectory], max_batch_tokens: int) -> None:
        """Read the tokenizers; nothing serves before `start`."""
        self.models = {directory.config.name: Model(directory, Tokenizer(directory)) for directory in directories}
        self._max_batch_tokens = max_batch_tokens
        self._lock = threading.Lock()  # guards live, readers and retired; held for a few instructions

    def start(self, configuration: str | None = None) -> None:
        """Load and test every model in the configuration, or in its directory's default one."""
        for model in self.models.values():
            name = configuration or model.directory.config.default_configuration
            model.live = _Live(self._load(model, by_name(model.directory, name)))

    @property
    def ready(self) -> bool:
        """Whether every model has translated its warm-up sentence."""
        return all(model.live is not None for model in self.models.values())

    def facts(self) -> Iterator[tuple[ModelFacts, int]]:
        """The live models with their bytes."""
        for model in self.models.values():
            if model.live is not None:
                yield model.live.translator.facts, model.live.translator.model_bytes

    def find(self, name: str) -> Model:
        """The model of a name.

        Raises:
            UnknownModel: there is none.
        """
        if name not in self.models:
            raise UnknownModel(f"There is no model of that name; the models are {', '.join(self.models)}.")
        return self.models[name]

    @contextmanager
    def lease(self, source: str, target: str) -> Iterator[Translator]:
        """The translator of a language pair, kept alive until the block ends, whatever is swapped meanwhile.

        Raises:
            UnsupportedPair: no model translates it.
            NotReady: the model hasn't translated its warm-up sentence yet.
        """
        model = self._of_pair(source, target)
        with self._lock:
            live = model.live
            if live is None:
                raise NotReady
            live.readers += 1
        try:
            yield live.translator
        finally:
            with self._lock:
                live.readers -= 1
                unused = live.retired and live.readers == 0
            if unused:
                live.translator.close()

    def swap(self, name: str, choose: Callable[[ModelDirectory], Choice]) -> Swap:
        """Serve another configuration of a model; blocks while it loads. If anything fails, nothing has changed.

        Raises:
            UnknownModel: there is no such model.
            SwapInProgress: another swap of it is running.
            UnavailableConfiguration: the choice can't be served.
            SelfTestFailed: what was loaded gives no finite scores.
        """
        started = time.perf_counter()
        model = self.find(name)
        if not model.swapping.acquire(blocking=False):
            raise SwapInProgress(f"Another swap of {name} is running; retry when it has ended.")
        try:
            before = model.active
            after = self._load(model, choose(model.directory))
            self._switch(model, after)
            return Swap(before, after, milliseconds_since(started))
        finally:
            model.swapping.release()

    def close(self) -> None:
        """Free every engine; no lease may be held."""
        for model in self.models.values():
            live, model.live = model.live, None
            if live is not None:
                live.translator.close()

    def _of_pair(self, source: str, target: str) -> Model:
        for model in self.models.values():
            config = model.directory.config
            if source in config.source_languages and target in config.target_languages:
                return model
        pairs = ", ".join(
            f"{known} -> {other}"
            for model in self.models.values()
            for known in model.directory.config.source_languages
            for other in model.directory.config.target_languages
        )
        raise UnsupportedPair(f"This language pair is not supported; the supported ones are {pairs}.")

    def _load(self, model: Model, choice: Choice) -> Translator:
        """A translator that has passed its self-test, which also warms it up."""
        config = model.directory.config
        translator = Translator(
            model.directory, model.tokenizer, choice.name, choice.allocation, self._max_batch_tokens
        )
        try:
            options = Options(source=config.source_languages[0], target=config.target_languages[0])
            translated = translator.translate([WARM_UP_TEXT], options)
            if not math.isfinite(translated.translations[0].best.score):
                raise SelfTestFailed(f"{choice.name} of {config.name} gave its warm-up text a score that isn't finite.")
        except BaseException:
            translator.close()
            raise
        return translator

    def _switch(self, model: Model, after: Translator) -> None:
        with self._lock:
            old, model.live = model.live, _Live(after)
            if old is None:
                return
            old.retired = True
            unused = old.readers == 0
        if unused:
            old.translator.close()
