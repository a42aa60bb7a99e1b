"""Translation through several models: each takes on the sentences that the one before it made.

The first one cuts the texts; what stands around its sentences stays as it was, and each sentence goes on by itself. The
models work one after the other, so that of the request's sentences only one model's are in batches at any time.
"""

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import replace

from service.live.registry import Step
from service.text.alignment import through
from service.translation.preparing import prepared
from service.translation.results import Candidate, OnSentence, Options, Translated, TranslatedSentence, Translation
from service.translation.scheduler import Scheduler


async def translate(
    steps: Sequence[Step],
    texts: Sequence[str],
    options: Options,
    scheduler: Scheduler,
    on_sentence: OnSentence | None = None,
    *,
    is_admitted: bool = False,
) -> list[Translated]:
    """Translate texts by each of the steps; return the work of each, the first with the translations of the last.

    A score is the sum of the steps' scores. Alternatives are the last step's, of the best translation by those before
    it. A link goes from a word of the translation through the words between to a word of the text.

    Args:
        steps: the leased translators, in order; two or more.
        texts: in the source language of the first step.
        options: of the first source and the last target.
        scheduler: of the engine threads.
        on_sentence: is called with each sentence of the texts once the last step is done with it, those of a text in
            its order.
        is_admitted: the texts belong to a request that has been admitted.

    Raises:
        GlossaryRefused: a vocabulary cannot spell the translation of a term.
        QueueFull: too much work is waiting; only before the first step.
        SchedulerClosed: the server is shutting down.
        EngineError: the engine failed.
    """
    step, *rest = steps
    own = replace(options, source=step.source, target=step.target)
    if not rest:
        return [await step.translator.serve(texts, own, scheduler, on_sentence, is_admitted=is_admitted)]
    later: list[Translated] = []
    cuts: dict[int, int] = defaultdict(int)  # sentences of a text that a later step had to cut

    async def continuation(sentences: Sequence[TranslatedSentence]) -> list[list[Candidate]]:
        relay = None if on_sentence is None else _Relay(sentences, on_sentence)
        passed_on = None if relay is None else relay.take
        made = [sentence.best.text for sentence in sentences]
        whole = replace(options, split_sentences="0", prefix="", max_sentences=None)  # each is a sentence already
        later.extend(await translate(rest, made, whole, scheduler, passed_on, is_admitted=True))
        for sentence, translation in zip(sentences, later[0].translations, strict=True):
            cuts[sentence.text] += translation.cut_sentences
        candidates = await prepared(sum(map(len, made)), _candidates, sentences, later[0].translations)
        if relay is not None:
            relay.finish([best for best, *_ in candidates])
        return candidates

    # the next step reads this target and no other
    own = replace(own, alternatives=0, prefix="", obeys_marks=False)
    first = await step.translator.serve(texts, own, scheduler, continuation=continuation, is_admitted=is_admitted)
    translations = [
        translation._replace(cut_sentences=translation.cut_sentences + cuts[text])
        for text, translation in enumerate(first.translations)
    ]
    return [replace(first, translations=translations), *later]


def _candidates(sentences: Sequence[TranslatedSentence], translations: Sequence[Translation]) -> list[list[Candidate]]:
    """Return the candidates of each sentence."""
    return [
        [_joined(sentence.best, end) for end in (translation.best, *translation.alternatives)]
        for sentence, translation in zip(sentences, translations, strict=True)
    ]


def _joined(begin: Candidate, end: Candidate) -> Candidate:
    """Return a translation by two steps."""
    return Candidate(end.text, begin.score + end.score, through(begin.alignment, end.alignment))


class _Relay:
    """Passes the sentences of the texts on, each with its last translation, those of a text in order."""

    def __init__(self, sentences: Sequence[TranslatedSentence], on_sentence: OnSentence) -> None:
        self._sentences, self._on_sentence = sentences, on_sentence
        self._pending: dict[int, deque[int]] = defaultdict(deque)  # of each text, what wasn't passed on yet
        for index, sentence in enumerate(sentences):
            self._pending[sentence.text].append(index)
        self._parts: dict[int, list[TranslatedSentence]] = defaultdict(list)
        self._ready: dict[int, Candidate] = {}

    def take(self, part: TranslatedSentence) -> None:
        """Take the next step's translation of a sentence, or of a part of one that was too long for that step."""
        parts = self._parts[part.text]
        parts.append(part)
        if part.is_last:
            begin = self._sentences[part.text].best
            score = begin.score + sum(made.best.score for made in parts) / len(parts)
            self._pass_on(part.text, Candidate(_replaced(begin.text, parts), round(score, 6)))

    def finish(self, translations: Sequence[Candidate]) -> None:
        """Pass on the sentences in which the next step found nothing to translate."""
        for index, translation in enumerate(translations):
            if index not in self._ready:
                self._pass_on(index, translation._replace(score=round(translation.score, 6)))

    def _pass_on(self, index: int, best: Candidate) -> None:
        self._ready[index] = best
        pending = self._pending[self._sentences[index].text]
        while pending and pending[0] in self._ready:
            done = pending.popleft()
            self._on_sentence(self._sentences[done]._replace(best=self._ready[done]))


def _replaced(text: str, parts: Sequence[TranslatedSentence]) -> str:
    """Return a text with its sentences replaced by their translations."""
    position, pieces = 0, []
    for part in parts:
        pieces += [text[position : part.begin], part.best.text]
        position = part.begin + len(part.source)
    return "".join([*pieces, text[position:]])
