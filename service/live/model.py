"""One served model: its directory, its live configurations, and the leases of the requests that read them.

A configuration that is no longer wanted is freed when its last lease ends.
"""

import asyncio
import itertools
import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass

from models.format.directory import ModelDirectory
from service.live.canary import Canary
from service.live.configurations import Choice
from service.live.desired import Desired
from service.live.memory import give_back
from service.live.routing import Pair
from service.translation.cost import ModelIdentity
from service.translation.results import Options
from service.translation.tokenizer import Tokenizer
from service.translation.translator import Translator

WARM_UP_TEXT = "Hello, world."
# The configuration that must answer: the name of a live one, or a function that chooses among those that are live.
Pin = str | Callable[[Sequence[ModelIdentity]], str]


class NotReady(Exception):
    """A model has not translated its warm-up sentence yet, its files were altered, or the server is shutting down."""

    def __init__(self, altered: Sequence[str] = ()) -> None:
        """Build the sentence that the client reads; `altered` are the names of models."""
        super().__init__(
            f"The files of {', '.join(altered)} were written to in place; restart the server, and replace directories."
            if altered
            else "The model is still loading, or the server is shutting down; retry in a moment."
        )


class UnknownModel(Exception):
    """There is no model of that name, or none for the language pair; the sentence lists the models."""


class NotLive(Exception):
    """A request pins a configuration that is not live; the sentence lists those that are."""


class SwapTookTooLong(Exception):
    """Under the policy `resource`, a swap waited for requests or they waited for it longer than they may."""


class SelfTestFailed(Exception):
    """The loaded weights did not give the warm-up sentence a finite score."""


@dataclass(eq=False, slots=True)
class _Live:
    """A translator and the number of its leases. `retired` is set when it is no longer wanted."""

    translator: Translator
    leases: int = 0
    retired: bool = False


class Model:
    """A model directory and its live configurations. Thread-safe, but only one change may run at a time."""

    def __init__(self, directory: ModelDirectory, max_batch_tokens: int, swap_wait_s: float) -> None:
        """Read the tokenizer; nothing serves before the first `switch`.

        Args:
            directory: the model's.
            max_batch_tokens: source tokens times beam size that a thread decodes together.
            swap_wait_s: longest time that a request waits for `replace`, and `replace` for requests.
        """
        self.directory, self.tokenizer = directory, Tokenizer(directory)
        self.desired: Desired | None = None  # None until it has started
        self.answers: Translator | None = None  # the active configuration; closed while it is `held`
        self.canary: Canary | None = None
        self.loading: tuple[str, ...] = ()  # configurations on their way in
        self.held: dict[str, _Live] = {}  # on their way out; requests for them wait for `_reopened`
        self._live: dict[str, _Live] = {}
        self._reopened: Future[None] | None = None
        self._removed = False
        self._max_batch_tokens, self._swap_wait_s = max_batch_tokens, swap_wait_s
        self._lock = threading.Lock()  # guards all of the above; held for a few instructions
        self._released = threading.Condition(self._lock)

    @property
    def name(self) -> str:
        """The name in config.json, or its directory's."""
        return self.directory.config.name

    @property
    def pairs(self) -> list[Pair]:
        """The language pairs that the model translates, in small letters as requests name them."""
        config = self.directory.config
        sources, targets = (map(str.lower, codes) for codes in (config.source_languages, config.target_languages))
        return list(itertools.product(sources, targets))

    @property
    def active(self) -> Translator:
        """The configuration that answers requests without a pin.

        Raises:
            NotReady: the model has not started.
        """
        if self.answers is None:
            raise NotReady
        return self.answers

    @property
    def wanted(self) -> Desired:
        """The desired state.

        Raises:
            NotReady: the model has not started.
        """
        if self.desired is None:
            raise NotReady
        return self.desired

    def translators(self) -> list[Translator]:
        """Return the live configurations."""
        with self._lock:
            return [live.translator for live in self._live.values()]

    async def lease(self, pin: Pin | None, leases: ExitStack) -> Translator | None:
        """Keep a configuration alive until `leases` closes; waits while a swap holds it.

        Args:
            pin: what must answer; without it the active configuration does, or the canary.
            leases: gets the callback that ends the lease.

        Returns:
            The configuration; None if the model has been removed.

        Raises:
            NotReady: the model has not started.
            NotLive: the pinned configuration is not live.
            SwapTookTooLong: it was held by a swap for longer than a request may wait.
        """
        deadline = time.monotonic() + self._swap_wait_s
        while True:
            with self._lock:
                if self._removed:
                    return None
                chosen = self._answering(pin)
                live = self._live.get(chosen)
                if live is not None:
                    live.leases += 1
                    leases.callback(self._release, live)
                    return live.translator
                if chosen not in self.held or self._reopened is None:
                    names = ", ".join([*self._live, *self.held])
                    raise NotLive(f"{chosen[:100]!r} is not live in {self.name}; live are {names}.")
                reopened = asyncio.wrap_future(self._reopened)
            await asyncio.wait((reopened,), timeout=deadline - time.monotonic())
            if not reopened.done():
                raise SwapTookTooLong("The configuration is still being swapped; retry in a moment.")

    def load(self, choices: Iterable[Choice]) -> list[Translator]:
        """Load configurations and self-test them, which also warms them up; all of them or none.

        Raises:
            UnavailableConfiguration: the directory cannot serve a choice.
            SelfTestFailed: the weights give no finite scores.
        """
        loaded: list[Translator] = []
        try:
            for choice in choices:
                loaded.append(
                    Translator(self.directory, self.tokenizer, choice.name, choice.allocation, self._max_batch_tokens)
                )
                _self_test(loaded[-1], self.directory)
        except BaseException:
            for translator in loaded:
                translator.close()
            raise
        return loaded

    def switch(self, after: Desired, loaded: Iterable[Translator]) -> None:
        """Go over to another state at one instant; what it does not want is freed when its last lease ends.

        Args:
            after: the state.
            loaded: what it wants and is not live yet.
        """
        with self._lock:
            self._live |= {translator.identity.config: _Live(translator) for translator in loaded}
            unused = self._retire([name for name in self._live if name not in after.choices])
            self.answers = self._live[after.active.name].translator
            self.canary = self._next_canary(after)
            self.desired = after
            self.loading = ()
        self._free(unused)

    def replace(self, after: Desired, missing: Sequence[Choice], surplus: Sequence[str]) -> None:
        """Go over to another state by the policy `resource`: hold requests, drain, free, load, let the requests in.

        If anything fails, the state of before is loaded again.

        Args:
            after: the state.
            missing: what it wants and is not live.
            surplus: live configurations that it does not want.

        Raises:
            SwapTookTooLong: the requests in flight did not end in time.
            SelfTestFailed: the weights give no finite scores.
        """
        before = self.wanted
        with self._lock:
            self.held = held = {name: self._live.pop(name) for name in surplus}
            self._reopened = reopened = Future[None]()
        try:
            if not self._drained(held.values()):
                with self._lock:
                    self._live |= held
                raise SwapTookTooLong("Requests in flight did not end in time; the swap was given up, retry it.")
            self._free(held.values())
            try:
                self.switch(after, self.load(missing))
            except BaseException:
                self.switch(before, self.load([choice for name, choice in before.choices.items() if name in held]))
                raise
        finally:
            with self._lock:
                self.held, self._reopened = {}, None
            reopened.set_result(None)

    def remove(self) -> None:
        """Let no request in any more; what is live is freed when its last lease ends."""
        with self._lock:
            self._removed, self.canary = True, None
            unused = self._retire(list(self._live))
        self._free(unused)

    def close(self) -> None:
        """Free every engine; no lease may be held."""
        live, self._live, self.answers, self.desired = self._live, {}, None, None
        for entry in live.values():
            entry.translator.close()

    def _answering(self, pin: Pin | None) -> str:
        """Name the configuration that answers the next request. Raises NotReady."""
        active = self.wanted.active.name
        if callable(pin):
            return pin([live.translator.identity for live in (*self._live.values(), *self.held.values())])
        if pin is not None:
            return pin
        if self.canary is not None and self.canary.takes_next():
            return self.canary.name
        return active

    def _release(self, live: _Live) -> None:
        with self._lock:
            live.leases -= 1
            unused = live.retired and live.leases == 0
            self._released.notify_all()
        if unused:
            self._free([live])

    def _retire(self, names: Iterable[str]) -> list[_Live]:
        """Make configurations live no longer, and return those without a lease. The lock is held."""
        retired = [self._live.pop(name) for name in names]
        for live in retired:
            live.retired = True
        return [live for live in retired if live.leases == 0]

    def _next_canary(self, after: Desired) -> Canary | None:
        """Return the running canary with the new share, or a new one."""
        if after.canary is None:
            return None
        before = self.desired
        if self.canary is None or before is None or (before.active, before.canary) != (after.active, after.canary):
            active, canary = (self._live[choice.name].translator for choice in (after.active, after.canary))
            return Canary(active, canary, after.canary_percent)
        self.canary.percent = after.canary_percent
        return self.canary

    def _free(self, unused: Iterable[_Live]) -> None:
        for live in unused:
            live.translator.close()
        give_back(self.directory)

    def _drained(self, held: Iterable[_Live]) -> bool:
        with self._lock:
            return self._released.wait_for(lambda: not any(live.leases for live in held), self._swap_wait_s)


def _self_test(translator: Translator, directory: ModelDirectory) -> None:
    config = directory.config
    options = Options(source=config.source_languages[0], target=config.target_languages[0])
    translator.translate([WARM_UP_TEXT], options)
    # Scored as well, because a word that the vocabulary can't spell is copied: the engine must have decoded something.
    if not math.isfinite(translator.score(WARM_UP_TEXT, options)):
        name = translator.identity.config
        raise SelfTestFailed(f"{name} of {config.name} gave its warm-up text a score that isn't finite.")
