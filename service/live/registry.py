"""The live models. A request leases one configuration; a change loads beside, tests, switches; the last reader closes.

Which configurations are live follows from one value, the model's `Desired` state: `change` takes the model from one to
the next, or, when anything fails, leaves it as it was.
"""

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from models.format.directory import ModelDirectory
from service.live.canary import Canary
from service.live.configurations import Choice, by_name
from service.live.desired import Desired
from service.live.memory import InsufficientMemory, give_back, own_bytes, resident_weight_bytes
from service.live.routing import Leg, Pair, Way, ways
from service.observability.metrics import LiveFacts, ModelFacts, milliseconds_since, process_rss_bytes
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Options, Translator

WARM_UP_TEXT = "Hello, world."
Policy = Literal["availability", "resource"]
# What must answer: a live configuration's name, or what chooses one among those that are live.
Pin = str | Callable[[Sequence[ModelFacts]], str]
_MOST_NAMED = 30  # pairs in a sentence


class NotReady(Exception):
    """No model has translated its warm-up sentence yet, or the server is about to end."""

    def __init__(self) -> None:
        """The sentence that the client reads."""
        super().__init__("The model is still loading, or the server is shutting down; retry in a moment.")


class UnknownModel(Exception):
    """A name that no live model has; the sentence lists those that there are."""


class UnsupportedPair(Exception):
    """A language pair that no live model translates; the sentence lists those that there are."""


class LastModel(Exception):
    """The only model was to be removed."""


class NotLive(Exception):
    """A request pins a configuration that isn't live; the sentence lists those that are."""


class SwapInProgress(Exception):
    """Another swap of the same model hasn't ended."""


class SwapTookTooLong(Exception):
    """A swap under the policy `resource` kept requests waiting, or was kept waiting by them, for too long."""


class SelfTestFailed(Exception):
    """The loaded weights did not give a finite score to the warm-up sentence."""


class Change(NamedTuple):
    """A finished change: what was wanted and what answered, before and now, what it took and what it left.

    `rss_before` and `rss_after` are resident bytes of the process; what still answers requests in flight is in both.
    """

    before: Desired
    after: Desired
    answered: Translator
    answers: Translator
    milliseconds: float
    rss_before: int
    rss_after: int

    @property
    def unchanged(self) -> bool:
        """Whether nothing was to be done."""
        return self.before == self.after


class Move(NamedTuple):
    """A model that came or went: its active configuration, what that took, resident bytes before and after."""

    active: ModelFacts
    milliseconds: float
    rss_before: int
    rss_after: int


class Step(NamedTuple):
    """A leased translator, and the languages that it is asked for."""

    translator: Translator
    source: str
    target: str


@dataclass(eq=False, slots=True)
class _Live:
    """A translator and the requests that read it. `retired` is set when it is no longer wanted."""

    translator: Translator
    readers: int = 0
    retired: bool = False


@dataclass(eq=False, slots=True)
class Model:
    """A directory and its live configurations by name. `desired` and `answers` are None until it has started."""

    directory: ModelDirectory
    tokenizer: Tokenizer
    desired: Desired | None = None
    answers: Translator | None = None  # what requests get that pin nothing; closed while `held`
    canary: Canary | None = None
    live: dict[str, _Live] = field(default_factory=dict)
    held: dict[str, _Live] = field(default_factory=dict)  # on their way out; requests for them wait for `reopened`
    reopened: Future[None] | None = None
    loading: tuple[str, ...] = ()  # on their way in
    changing: threading.Lock = field(default_factory=threading.Lock)

    @property
    def active(self) -> Translator:
        """What answers requests that pin nothing.

        Raises:
            NotReady: nothing does yet.
        """
        if self.answers is None:
            raise NotReady
        return self.answers

    @property
    def wanted(self) -> Desired:
        """What is to be live.

        Raises:
            NotReady: nothing is yet.
        """
        if self.desired is None:
            raise NotReady
        return self.desired


class Registry:
    """Models by name, in the order of their names.

    `change`, `add` and `remove` may be called from any thread, `steps` on any event loop.
    """

    def __init__(
        self,
        directories: list[ModelDirectory],
        max_batch_tokens: int,
        swap_wait_s: float = 10.0,
        memory_limit_bytes: int | None = None,
        max_pivots: int = 1,
    ) -> None:
        """Read the tokenizers; nothing serves before `start`.

        Args:
            swap_wait_s: longest time that a request waits for a swap under `resource`, or it for requests.
            memory_limit_bytes: resident bytes that the process may have after a change.
            max_pivots: most languages that a translation may go through where no model translates a pair.
        """
        self._max_pivots = max_pivots
        self.models: Mapping[str, Model] = {}
        self.ways: Mapping[Pair, Way] = {}
        self._list(Model(directory, Tokenizer(directory)) for directory in directories)
        self._max_batch_tokens = max_batch_tokens
        self._swap_wait_s = swap_wait_s
        self._draining = False
        self.memory_limit_bytes = memory_limit_bytes
        self._lock = threading.Lock()  # guards models, desired, live, held and readers; held for a few instructions
        self._released = threading.Condition(self._lock)

    def start(self) -> None:
        """Load and test every model in its default configuration."""
        for name, model in self.models.items():
            self.start_model(name, Desired(by_name(model.directory, model.directory.config.default_configuration)))

    def start_model(self, name: str, desired: Desired) -> None:
        """Load and test what a model that serves nothing yet is to serve.

        Raises:
            Exception: as `change` says; nothing is loaded then.
        """
        model = self.find(name)
        model.loading = tuple(desired.choices)
        try:
            self._switch(model, desired, self._load(model, desired.choices.values()))
        finally:
            model.loading = ()

    def enlist(self, directory: ModelDirectory) -> None:
        """List a model that `start_model` is to start; until then the registry is not ready."""
        self._list([*self.models.values(), Model(directory, Tokenizer(directory))])

    def strike(self, name: str) -> None:
        """List a model that serves nothing no longer."""
        self._list(model for other, model in self.models.items() if other != name)

    def drain(self) -> None:
        """Be not ready from now on, so that balancers turn away; requests are served as before."""
        self._draining = True

    @property
    def ready(self) -> bool:
        """Whether every model has translated its warm-up sentence, and the server isn't about to end."""
        return (
            not self._draining
            and bool(self.models)
            and all(model.answers is not None for model in self.models.values())
        )

    def facts(self) -> Iterator[LiveFacts]:
        """The live configurations, with their bytes and their measured quality; a custom one has none."""
        for model in self.models.values():
            measured = model.directory.config.configurations
            for translator in self.translators(model):
                facts, size = translator.facts, translator.model_bytes
                quality = measured[facts.config].quality if facts.config in measured else {}
                yield LiveFacts(facts, size, size + own_bytes(model.directory), quality)

    def direct_pairs(self) -> list[Pair]:
        """The language pairs that a model translates itself."""
        return [pair for pair, way in self.ways.items() if len(way) == 1]

    def pairs(self) -> list[Pair]:
        """The language pairs that there is a way for; those that a model translates itself come first."""
        return list(self.ways)

    def sources(self, target: str, model: str | None = None) -> list[str]:
        """The languages that can be translated into another one (by a model itself), likewise."""
        if model is not None:
            pairs: Iterable[Pair] = _pairs_of(self.models[model]) if model in self.models else []
        else:
            pairs = self.ways
        return [source for source, other in pairs if other == target]

    def way(self, source: str, target: str, model: str | None = None) -> Way:
        """Which models translate a pair, in order: the named one, or else as `routing.ways` says.

        Raises:
            UnsupportedPair: none does, or the named one doesn't.
        """
        pair = (source, target)
        if model is not None:
            able = [name for name, other in self.models.items() if pair in _pairs_of(other)]
            if model not in able:
                raise UnsupportedPair(
                    f"No model {model[:100]!r} translates this language pair itself; {', '.join(able) or 'none'} can."
                )
            return (Leg(model, source, target),)
        if pair not in self.ways:
            pairs = [f"{known} -> {other}" for known, other in self.ways]
            more = f" and {len(pairs) - _MOST_NAMED} more" if len(pairs) > _MOST_NAMED else ""
            raise UnsupportedPair(
                f"This language pair is not supported; the supported ones are {', '.join(pairs[:_MOST_NAMED])}{more}."
            )
        return self.ways[pair]

    def find(self, name: str) -> Model:
        """The model of a name.

        Raises:
            UnknownModel: there is none.
        """
        if name not in self.models:
            raise UnknownModel(f"There is no model of that name; the models are {', '.join(self.models)}.")
        return self.models[name]

    def translators(self, model: Model) -> list[Translator]:
        """The live ones."""
        with self._lock:
            return [live.translator for live in model.live.values()]

    @asynccontextmanager
    async def steps(
        self, source: str, target: str, configuration: Pin | None = None, model: str | None = None
    ) -> AsyncIterator[tuple[Step, ...]]:
        """The translators of a language pair, in order, kept alive until the block ends, whatever is changed meanwhile.

        Args:
            configuration: the live one that must answer, of each model on the way, or what chooses it, which is called
                at the instant of the lease, so that no swap comes between; without it the active ones do, or their
                canaries.
            model: the one that must answer.

        Raises:
            UnsupportedPair: no model translates it, or the named one doesn't.
            NotReady: a model hasn't translated its warm-up sentence yet.
            NotLive: the configuration is not among the live ones.
            SwapTookTooLong: the configuration was being replaced under `resource` for longer than a request may wait.
        """
        with ExitStack() as leases:
            steps: list[Step] = []
            while not steps:
                for leg in self.way(source, target, model):
                    live = await self._admit(leg.model, configuration, leases)
                    if live is None:  # the model was removed since the way was found: there may be another one
                        leases.close()
                        steps.clear()
                        break
                    steps.append(Step(live.translator, leg.source, leg.target))
            yield tuple(steps)

    @asynccontextmanager
    async def lease(
        self, source: str, target: str, configuration: Pin | None = None, model: str | None = None
    ) -> AsyncIterator[Translator]:
        """The only one of `steps`, of a pair that a model translates itself."""
        async with self.steps(source, target, configuration, model) as (step,):
            yield step.translator

    def change(
        self, name: str, evolve: Callable[[ModelDirectory, Desired], Desired], policy: Policy = "availability"
    ) -> Change:
        """Take a model to another desired state; blocks while it loads. If anything fails, nothing has changed.

        Args:
            evolve: from the state that there is to the one that there shall be.
            policy: `availability` loads beside what serves; `resource` first drops what is no longer wanted, while
                the requests for it wait.

        Raises:
            UnknownModel: there is no such model.
            SwapInProgress: another change of it is running.
            InsufficientMemory: what is to be loaded does not fit the limit.
            UnavailableConfiguration: the choice can't be served.
            SelfTestFailed: what was loaded gives no finite scores.
            SwapTookTooLong: requests in flight did not let go of what was to be dropped.
        """
        started = time.perf_counter()
        model = self.find(name)
        if not model.changing.acquire(blocking=False):
            raise SwapInProgress(f"Another swap of {name} is running; retry when it has ended.")
        try:
            if self.models.get(name) is not model:  # it was removed meanwhile
                self.find(name)
                raise SwapInProgress(f"The model {name} was just replaced; retry.")
            before, answered, rss_before = model.wanted, model.active, process_rss_bytes()
            after = evolve(model.directory, before)
            for choice in after.choices.values():
                model.directory.check(choice.allocation)
            missing = [choice for known, choice in after.choices.items() if known not in model.live]
            surplus = [known for known in model.live if known not in after.choices]
            model.loading = tuple(choice.name for choice in missing)
            dropped_first = surplus if policy == "resource" and missing else []
            self._check_fits(model, missing, dropped_first, policy)
            if dropped_first:
                self._replace(model, after, missing, surplus)
            elif before != after:
                self._switch(model, after, self._load(model, missing))
            milliseconds = milliseconds_since(started)
            return Change(before, after, answered, model.active, milliseconds, rss_before, process_rss_bytes())
        finally:
            model.loading = ()
            model.changing.release()

    def add(self, directory: ModelDirectory, first: Callable[[ModelDirectory], Desired]) -> Move:
        """One more model serves; blocks while it is loaded and tested. If anything fails, nothing has changed.

        Args:
            directory: of a model whose name no other one has.
            first: what it is to serve.

        Raises:
            Exception: as `change` says.
        """
        started, rss_before = time.perf_counter(), process_rss_bytes()
        model = Model(directory, Tokenizer(directory))
        desired = first(directory)
        choices = list(desired.choices.values())
        self._check_fits(model, choices, [], "resource")  # nothing is dropped for it
        self._switch(model, desired, self._load(model, choices))
        with self._lock:
            self._list([*self.models.values(), model])
        return Move(model.active.facts, milliseconds_since(started), rss_before, process_rss_bytes())

    def remove(self, name: str) -> Move:
        """A model serves no longer; requests in flight finish, and the last of them frees it.

        Raises:
            UnknownModel: there is no such model.
            SwapInProgress: a change of it is running.
            LastModel: there is no other one.
        """
        started, rss_before = time.perf_counter(), process_rss_bytes()
        model = self.find(name)
        if not model.changing.acquire(blocking=False):
            raise SwapInProgress(f"A swap of {name} is running; retry when it has ended.")
        try:
            with self._lock:
                if self.models.get(name) is model and len(self.models) == 1:
                    raise LastModel(f"{name} is the only model; add another one first.")
                self._list(other for other in self.models.values() if other is not model)
                surplus, model.live, model.canary = list(model.live.values()), {}, None
                for live in surplus:
                    live.retired = True
                unused = [live for live in surplus if live.readers == 0]
            self._drop(model, unused)
        finally:
            model.changing.release()
        return Move(model.active.facts, milliseconds_since(started), rss_before, process_rss_bytes())

    def close(self) -> None:
        """Free every engine; no lease may be held."""
        for model in self.models.values():
            live, model.live, model.answers, model.desired = model.live, {}, None, None
            for entry in live.values():
                entry.translator.close()

    def _list(self, models: Iterable[Model]) -> None:
        """Have these models; who goes through the old ones at this moment is not disturbed."""
        by_name = {model.directory.config.name: model for model in models}
        self.models = {name: by_name[name] for name in sorted(by_name)}
        self.ways = ways({name: _pairs_of(model) for name, model in self.models.items()}, self._max_pivots)

    async def _admit(self, name: str, configuration: Pin | None, leases: ExitStack) -> _Live | None:
        """Count a reader in until the leases end, after the swap that holds the configuration, if one does.

        None if the model is no longer there.
        """
        deadline = time.monotonic() + self._swap_wait_s
        while True:
            with self._lock:
                model = self.models.get(name)
                if model is None:
                    return None
                chosen = _answering(model, configuration)
                live = model.live.get(chosen)
                if live is not None:
                    live.readers += 1
                    leases.callback(self._release, model, live)
                    return live
                if chosen not in model.held or model.reopened is None:
                    raise NotLive(
                        f"{chosen[:100]!r} is not live in {name}; live are {', '.join([*model.live, *model.held])}."
                    )
                reopened = asyncio.wrap_future(model.reopened)
            await asyncio.wait((reopened,), timeout=deadline - time.monotonic())
            if not reopened.done():
                raise SwapTookTooLong("The configuration is still being swapped; retry in a moment.")

    def _release(self, model: Model, live: _Live) -> None:
        with self._lock:
            live.readers -= 1
            unused = live.retired and live.readers == 0
            self._released.notify_all()
        if unused:
            self._drop(model, [live])

    def _load(self, model: Model, choices: Iterable[Choice]) -> list[Translator]:
        """Translators that have passed their self-test, which also warms them up; all of them or none."""
        loaded: list[Translator] = []
        try:
            for choice in choices:
                loaded.append(self._translator(model, choice))
                _self_test(loaded[-1], model.directory)
        except BaseException:
            for translator in loaded:
                translator.close()
            raise
        return loaded

    def _translator(self, model: Model, choice: Choice) -> Translator:
        return Translator(model.directory, model.tokenizer, choice.name, choice.allocation, self._max_batch_tokens)

    def _switch(self, model: Model, after: Desired, loaded: Iterable[Translator]) -> None:
        """The instant at which another state serves; what it does not want is closed by its last reader."""
        with self._lock:
            model.live |= {translator.facts.config: _Live(translator) for translator in loaded}
            surplus = [model.live.pop(name) for name in list(model.live) if name not in after.choices]
            for live in surplus:
                live.retired = True
            unused = [live for live in surplus if live.readers == 0]
            model.answers = model.live[after.active.name].translator
            model.canary = self._canary(model, after)
            model.desired = after
            model.loading = ()
        self._drop(model, unused)

    def _canary(self, model: Model, after: Desired) -> Canary | None:
        """The tally that goes on, with the new share, or the one that begins."""
        if after.canary is None:
            return None
        before = model.desired
        if model.canary is None or before is None or (before.active, before.canary) != (after.active, after.canary):
            canary = model.live[after.canary.name].translator
            return Canary(model.live[after.active.name].translator, canary, after.canary_percent)
        model.canary.percent = after.canary_percent
        return model.canary

    def _drop(self, model: Model, unused: Iterable[_Live]) -> None:
        for live in unused:
            live.translator.close()
        give_back(model.directory)

    def _check_fits(self, model: Model, missing: list[Choice], dropped_first: list[str], policy: Policy) -> None:
        limit = self.memory_limit_bytes
        if limit is None or not missing:
            return
        has = process_rss_bytes()
        stay = [live.translator.allocation for name, live in model.live.items() if name not in dropped_first]
        # configurations share planes, and not every page of those that are live need be resident now
        weights = model.directory.union_bytes([*stay, *(choice.allocation for choice in missing)])
        own = own_bytes(model.directory) * (len(missing) - len(dropped_first))
        needs = weights - resident_weight_bytes(model.directory) + own
        if has + needs > limit:
            names = " and ".join(choice.name for choice in missing)
            raise InsufficientMemory(
                f"Loading {names} takes up to {needs:,} bytes, the process has {has:,} and may have {limit:,}; "
                + (
                    'use the policy "resource", or unload what is not needed.'
                    if policy == "availability"
                    else "choose a narrower configuration, or raise the limit."
                )
            )

    def _replace(self, model: Model, after: Desired, missing: list[Choice], surplus: list[str]) -> None:
        """The policy `resource`: hold requests, drain, drop, load, let the requests in again."""
        before = model.wanted
        with self._lock:
            model.held = {name: model.live.pop(name) for name in surplus}
            model.reopened = reopened = Future[None]()
        held = model.held
        try:
            if not self._drained(held.values()):
                with self._lock:
                    model.live |= held
                raise SwapTookTooLong("Requests in flight did not end in time; the swap was given up, retry it.")
            self._drop(model, held.values())
            try:
                self._switch(model, after, self._load(model, missing))
            except BaseException:
                again = [choice for name, choice in before.choices.items() if name in held]
                self._switch(model, before, self._load(model, again))
                raise
        finally:
            with self._lock:
                model.held, model.reopened = {}, None
            reopened.set_result(None)

    def _drained(self, held: Iterable[_Live]) -> bool:
        with self._lock:
            return self._released.wait_for(lambda: not any(live.readers for live in held), self._swap_wait_s)


def _pairs_of(model: Model) -> list[Pair]:
    config = model.directory.config
    return [(source, target) for source in config.source_languages for target in config.target_languages]


def _answering(model: Model, configuration: Pin | None) -> str:
    """The configuration that answers the next request. Raises NotReady."""
    active = model.wanted.active.name
    if callable(configuration):
        return configuration([live.translator.facts for live in (*model.live.values(), *model.held.values())])
    if configuration is not None:
        return configuration
    if model.canary is not None and model.canary.takes_next():
        return model.canary.name
    return active


def _self_test(translator: Translator, directory: ModelDirectory) -> None:
    config = directory.config
    options = Options(source=config.source_languages[0], target=config.target_languages[0])
    translator.translate([WARM_UP_TEXT], options)
    # Again, past what copies words that a vocabulary can't spell: the engine must have decoded something.
    if not math.isfinite(translator.score(WARM_UP_TEXT, options)):
        name = translator.facts.config
        raise SelfTestFailed(f"{name} of {config.name} gave its warm-up text a score that isn't finite.")
