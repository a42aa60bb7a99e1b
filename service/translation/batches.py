"""The running batches of one engine thread, one for each engine; a key identifies each sentence."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kernels.engine import Batch, Engine, Interrupt, Sentence, SentenceResult

_UNTIL_ONE_FINISHES = 1 << 30  # steps: more than any sentence takes


class Run(NamedTuple):
    """Steps that a batch took with the same sentences in it."""

    steps: int
    sentences: int


class Turn(NamedTuple):
    """The outcome of a turn; sentences that finished or failed in it have left."""

    results: dict[int, SentenceResult]
    failures: dict[int, Exception]
    runs: list[Run]


class Batches:
    """Sentences join and leave in turns. An empty batch is closed at once, so that its engine may be closed too."""

    def __init__(self) -> None:
        """Begin without a batch."""
        self._batches: dict[Engine, Batch] = {}
        self._engines: dict[int, Engine] = {}  # of each sentence

    def __len__(self) -> int:
        """Count the running sentences."""
        return len(self._engines)

    def remove(self, keys: Iterable[int]) -> None:
        """Remove sentences before they have finished."""
        for key in keys:
            self._batches[self._engines.pop(key)].remove(key)
        self._close_the_empty()

    def turn(self, joining: Mapping[Engine, Mapping[int, Sentence]], interrupt: Interrupt) -> Turn:
        """Let sentences join, then take steps until one finishes or `interrupt` is set.

        Where several engines have sentences, their steps alternate: each takes one step in a turn.
        """
        turn = Turn({}, {}, [])
        for engine, sentences in joining.items():
            self._join(engine, sentences, turn)
        if turn.failures:  # delivered before the steps of the others, which may take long
            self._close_the_empty()
            return turn
        for engine, batch in self._batches.items():
            try:
                sentences_in_it = len(batch)
                progress = batch.step(1 if len(self._batches) > 1 else _UNTIL_ONE_FINISHES, interrupt)
                turn.runs.append(Run(progress.steps, sentences_in_it))
                turn.results.update({key: batch.take(key) for key in progress.ended})
            except Exception as error:  # the batch is lost with all that are in it; the thread is not
                turn.failures.update({key: error for key, other in self._engines.items() if other is engine})
                batch.close()
        for key in (*turn.results, *turn.failures):
            self._engines.pop(key, None)
        self._close_the_empty()
        return turn

    def _join(self, engine: Engine, sentences: Mapping[int, Sentence], turn: Turn) -> None:
        if engine not in self._batches:
            self._batches[engine] = Batch(engine)
        try:
            self._batches[engine].add(sentences)
            self._engines |= dict.fromkeys(sentences, engine)
        except Exception as error:  # it belongs to a request, not to this thread
            if len(sentences) == 1:
                turn.failures[next(iter(sentences))] = error
                return
            for key, sentence in sentences.items():  # one's fault is not the others'
                self._join(engine, {key: sentence}, turn)

    def _close_the_empty(self) -> None:
        for engine, batch in list(self._batches.items()):
            if len(batch) == 0:
                batch.close()
                del self._batches[engine]
