"""Registry of all live models: lease configurations, and change which are live.

A swap loads the new configuration beside the old one, self-tests it and switches at one instant; the old one is freed
when its last lease ends. Which configurations are live follows from one value, the model's `Desired` state: `change`
takes the model from one to the next, or leaves it as it was if anything fails.
"""

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Literal, NamedTuple

from models.format.directory import ModelDirectory
from service.live.configurations import Choice, by_name
from service.live.desired import Desired
from service.live.memory import InsufficientMemory, own_bytes, resident_weight_bytes
from service.live.model import Model, Pin, UnknownModel
from service.live.routing import Leg, Pair, UnsupportedPair, Way, ways
from service.process import process_rss_bytes
from service.translation.cost import LiveConfiguration, ModelIdentity, milliseconds_since
from service.translation.translator import Translator

Policy = Literal["availability", "resource"]
_MOST_NAMED = 30  # pairs in a sentence


class LastModel(Exception):
    """The only model was to be removed."""


class SwapInProgress(Exception):
    """Another swap of the same model is running."""


class Change(NamedTuple):
    """A finished change: the desired state and the active configuration before and after, the time and the memory.

    `rss_before` and `rss_after` are resident bytes of the process; both include what still answers requests in flight.
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
    """An added or removed model: its active configuration, the time, resident bytes of the process before and after."""

    active: ModelIdentity
    milliseconds: float
    rss_before: int
    rss_after: int


class Step(NamedTuple):
    """A leased translator and the language pair to translate."""

    translator: Translator
    source: str
    target: str


class Registry:
    """Models by name, in the order of their names.

    `change`, `add` and `remove` may be called from any thread, `steps` on any event loop.
    """

    def __init__(
        self,
        directories: Sequence[ModelDirectory],
        max_batch_tokens: int,
        swap_wait_s: float = 10.0,
        memory_limit_bytes: int | None = None,
        max_pivots: int = 1,
    ) -> None:
        """Read the tokenizers; nothing serves before `start`.

        Args:
            directories: of models with different names.
            max_batch_tokens: source tokens times beam size that a thread decodes together.
            swap_wait_s: longest time that a request waits for a swap under `resource`, and such a swap for requests.
            memory_limit_bytes: resident bytes that the process may have after a change; None is unlimited.
            max_pivots: most intermediate languages where no model translates a pair directly.
        """
        self.memory_limit_bytes = memory_limit_bytes
        self._max_batch_tokens, self._swap_wait_s, self._max_pivots = max_batch_tokens, swap_wait_s, max_pivots
        self.models: Mapping[str, Model] = {}
        self.ways: Mapping[Pair, Way] = {}
        self.languages: frozenset[str] = frozenset()  # read or written by some model
        self._list(self._model(directory) for directory in directories)
        self._draining = False
        self._lock = threading.Lock()  # guards the list of models; held for a few instructions
        self._turns: dict[str, threading.RLock] = {}
        self._changing: set[str] = set()

    def start(self) -> None:
        """Load and test every model in its default configuration."""
        for name, model in self.models.items():
            self.start_model(name, Desired(by_name(model.directory, model.directory.config.default_configuration)))

    def start_model(self, name: str, desired: Desired) -> None:
        """Load and test the configurations of a model that serves nothing yet.

        Raises:
            UnknownModel: there is no such model.
            UnavailableConfiguration, SelfTestFailed: the state cannot be served; nothing is loaded then.
        """
        model = self.find(name)
        model.loading = tuple(desired.choices)
        try:
            model.switch(desired, model.load(desired.choices.values()))
        finally:
            model.loading = ()

    def enlist(self, directory: ModelDirectory) -> None:
        """List a model that `start_model` is to start; until then the registry is not ready."""
        self._list([*self.models.values(), self._model(directory)])

    def strike(self, name: str) -> None:
        """Take a model that serves nothing off the list."""
        self._list(model for other, model in self.models.items() if other != name)

    def drain(self) -> None:
        """Report `ready` as false from now on, so that load balancers stop routing here; requests are served on."""
        self._draining = True

    @property
    def altered(self) -> list[str]:
        """The models whose files were written to in place: what they say now is nonsense, or the end of the process."""
        return [name for name, model in self.models.items() if model.directory.altered_file() is not None]

    @property
    def ready(self) -> bool:
        """Whether every model has translated its warm-up sentence from files that are as they were, and no shutdown."""
        return (
            not self._draining
            and not self.altered
            and bool(self.models)
            and all(model.answers is not None for model in self.models.values())
        )

    def live_configurations(self) -> Iterator[LiveConfiguration]:
        """Yield the live configurations with their bytes and their measured quality; a custom one has none."""
        for model in self.models.values():
            measured = model.directory.config.configurations
            for translator in model.translators():
                identity, size = translator.identity, translator.model_bytes
                quality = measured[identity.config].quality if identity.config in measured else {}
                yield LiveConfiguration(identity, size, size + own_bytes(model.directory), quality)

    def direct_pairs(self) -> list[Pair]:
        """List the language pairs that a model translates directly."""
        return [pair for pair, way in self.ways.items() if len(way) == 1]

    def pairs(self) -> list[Pair]:
        """List the language pairs that can be translated; those that a model translates directly come first."""
        return list(self.ways)

    def sources(self, target: str, model: str | None = None) -> list[str]:
        """List the languages that can be translated into another one (by one model directly), direct ones first."""
        if model is not None:
            pairs: Iterable[Pair] = self.models[model].pairs if model in self.models else []
        else:
            pairs = self.ways
        return [source for source, other in pairs if other == target]

    def way(self, source: str, target: str, model: str | None = None) -> Way:
        """Find the models that translate a pair, in order: the named one alone, or the way of `routing.ways`.

        Raises:
            UnsupportedPair: none does.
            UnknownModel: the named one doesn't.
        """
        pair = (source, target)
        if model is not None:
            able = [name for name, other in self.models.items() if pair in other.pairs]
            if model not in able:
                raise UnknownModel(
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
        """Return the model of a name.

        Raises:
            UnknownModel: there is no such model.
        """
        if name not in self.models:
            raise UnknownModel(f"There is no model of that name; the models are {', '.join(self.models)}.")
        return self.models[name]

    def active_name(self, name: str) -> str:
        """Return the name of a model's active configuration; "" if the model isn't served."""
        model = self.models.get(name)
        return "" if model is None or model.answers is None else model.answers.identity.config

    @asynccontextmanager
    async def steps(
        self, source: str, target: str, configuration: Pin | None = None, model: str | None = None
    ) -> AsyncIterator[tuple[Step, ...]]:
        """Lease the translators of a language pair, in order; they live until the block ends, whatever is swapped.

        Args:
            source: language of the text.
            target: language of the translation.
            configuration: the live one that must answer, of each model on the way; or a function that chooses it. The
                function is called at the instant of the lease, so that no swap comes between. Without it the active
                ones answer, or their canaries.
            model: the only one that may answer.

        Raises:
            UnsupportedPair: no model translates it.
            UnknownModel: the named one doesn't.
            NotReady: a model hasn't translated its warm-up sentence yet.
            NotLive: the configuration is not live.
            SwapTookTooLong: the configuration was being replaced under `resource` for longer than a request may wait.
        """
        with ExitStack() as leases:
            steps: list[Step] = []
            while not steps:
                for leg in self.way(source, target, model):
                    found = self.models.get(leg.model)
                    translator = await found.lease(configuration, leases) if found else None
                    if translator is None:  # the model was removed since the way was found: there may be another one
                        leases.close()
                        steps.clear()
                        break
                    steps.append(Step(translator, leg.source, leg.target))
            yield tuple(steps)

    @asynccontextmanager
    async def lease(
        self, source: str, target: str, configuration: Pin | None = None, model: str | None = None
    ) -> AsyncIterator[Translator]:
        """Lease the translator of a pair that a model translates directly; see `steps`.

        Args:
            source: language of the text.
            target: language of the translation.
            configuration: the live one that must answer, or a function that chooses it.
            model: the only one that may answer.

        Raises:
            UnsupportedPair, UnknownModel, NotReady, NotLive, SwapTookTooLong: see `steps`.
        """
        async with self.steps(source, target, configuration, model) as (step,):
            yield step.translator

    @contextmanager
    def changing(self, name: str, *, wait: bool = False) -> Iterator[None]:
        """Keep other threads from changing a model, or adding one of this name, while the block runs; re-entrant.

        Raises:
            SwapInProgress: another thread is changing it, and this one is not to wait.
        """
        with self._lock:
            turn = self._turns.setdefault(name, threading.RLock())
        if not turn.acquire(blocking=wait):
            raise SwapInProgress(f"Another swap of {name} is running; retry when it has ended.")
        outermost = name not in self._changing
        self._changing.add(name)
        try:
            yield
        finally:
            if outermost:
                self._changing.discard(name)
            turn.release()

    def is_changing(self, name: str) -> bool:
        """Tell whether a model of this name is being changed, added or removed."""
        return name in self._changing

    def change(
        self, name: str, evolve: Callable[[ModelDirectory, Desired], Desired], policy: Policy = "availability"
    ) -> Change:
        """Take a model to another desired state; blocks while it loads. If anything fails, nothing has changed.

        Args:
            name: the model's.
            evolve: returns the next state from the directory and the present state.
            policy: `availability` loads beside what serves; `resource` first frees what is no longer wanted, while the
                requests for it wait.

        Raises:
            UnknownModel: there is no such model.
            SwapInProgress: another change of it is running.
            InsufficientMemory: what is to be loaded does not fit the limit.
            UnavailableConfiguration: the choice can't be served.
            SelfTestFailed: what was loaded gives no finite scores.
            SwapTookTooLong: requests in flight did not end in time.
        """
        started = time.perf_counter()
        self.find(name)
        with self.changing(name):
            model = self.find(name)  # it may have been removed or replaced meanwhile
            before, answered, rss_before = model.wanted, model.active, process_rss_bytes()
            after = evolve(model.directory, before)
            live = [translator.identity.config for translator in model.translators()]
            missing = [choice for known, choice in after.choices.items() if known not in live]
            surplus = [known for known in live if known not in after.choices]
            freed_first = surplus if policy == "resource" and missing else []
            model.loading = tuple(choice.name for choice in missing)
            try:
                self._check_fits(model, missing, freed_first, policy)
                if freed_first:
                    model.replace(after, missing, surplus)
                elif before != after:
                    model.switch(after, model.load(missing))
            finally:
                model.loading = ()
            milliseconds = milliseconds_since(started)
            return Change(before, after, answered, model.active, milliseconds, rss_before, process_rss_bytes())

    def add(self, directory: ModelDirectory, first: Callable[[ModelDirectory], Desired]) -> Move:
        """Serve one more model; blocks while it is loaded and tested. If anything fails, nothing has changed.

        Args:
            directory: of a model with a new name.
            first: returns the state that it is to serve.

        Raises:
            SwapInProgress: another thread is adding it.
            InsufficientMemory: it does not fit the limit.
            UnavailableConfiguration: the directory can't serve the state.
            SelfTestFailed: what was loaded gives no finite scores.
        """
        started, rss_before = time.perf_counter(), process_rss_bytes()
        with self.changing(directory.config.name):
            model = self._model(directory)
            desired = first(directory)
            choices = list(desired.choices.values())
            self._check_fits(model, choices, [], "resource")  # nothing can be freed for it
            model.switch(desired, model.load(choices))
            with self._lock:
                self._list([*self.models.values(), model])
        return Move(model.active.identity, milliseconds_since(started), rss_before, process_rss_bytes())

    def remove(self, name: str) -> Move:
        """Stop serving a model; requests in flight finish, and the last of them frees it.

        Raises:
            UnknownModel: there is no such model.
            SwapInProgress: a change of it is running.
            LastModel: there is no other one.
        """
        started, rss_before = time.perf_counter(), process_rss_bytes()
        self.find(name)
        with self.changing(name):
            with self._lock:
                model = self.find(name)
                if len(self.models) == 1:
                    raise LastModel(f"{name} is the only model; add another one first.")
                self._list(other for other in self.models.values() if other is not model)
            model.remove()
        return Move(model.active.identity, milliseconds_since(started), rss_before, process_rss_bytes())

    def close(self) -> None:
        """Free every engine; no lease may be held."""
        for model in self.models.values():
            model.close()

    def _model(self, directory: ModelDirectory) -> Model:
        return Model(directory, self._max_batch_tokens, self._swap_wait_s)

    def _list(self, models: Iterable[Model]) -> None:
        """Replace the list of models; a thread that iterates over the old one is not disturbed."""
        by_name = {model.name: model for model in models}
        self.models = {name: by_name[name] for name in sorted(by_name)}
        self.ways = ways({name: model.pairs for name, model in self.models.items()}, self._max_pivots)
        self.languages = frozenset(code for pair in self.ways for code in pair)

    def _check_fits(self, model: Model, missing: Sequence[Choice], freed_first: Sequence[str], policy: Policy) -> None:
        limit = self.memory_limit_bytes
        if limit is None or not missing:
            return
        has = process_rss_bytes()
        stay = [live.allocation for live in model.translators() if live.identity.config not in freed_first]
        # configurations share planes, and some pages of the live ones may not be resident now
        weights = model.directory.union_bytes([*stay, *(choice.allocation for choice in missing)])
        own = own_bytes(model.directory) * (len(missing) - len(freed_first))
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
