"""A text taken apart: what there is to translate of it, without its markup, its messages and its pairs of tags."""

from dataclasses import replace

from service.text.alignment import Link
from service.text.markup import Document, with_pairs
from service.text.message_format import Choices
from service.translation.results import Candidate, Options, Translation


class TakenApart:
    """A text, of which `plain` is to be translated.

    A plain text is taken apart, too, where it has choices of ICU MessageFormat, or pairs of tags around its words.
    """

    def __init__(self, given: str, options: Options, document: Document | None = None) -> None:
        """Take a text apart.

        Args:
            given: the text.
            options: of its translation.
            document: the text, if it is markup.
        """
        self._document = document
        text = given if document is None else document.text
        choices = Choices([text] if document is None else text.split("\n"), options.target)
        self._choices = choices if choices else None
        text = choices.text if choices else text
        # where a sentence may go over line breaks, it is no line of a document
        is_free = options.split_sentences == "1" or "\n" not in text
        self._pairs = with_pairs(text) if document is None and is_free else None
        self.plain = text if self._pairs is None else self._pairs.text

    @property
    def is_in_lines(self) -> bool:
        """Whether each line of what there is to translate is a run of text, or of a message."""
        return self._document is not None or self._choices is not None or self._pairs is not None

    @property
    def needs_alignment(self) -> bool:
        """Whether the links between the words tell where pairs of tags stand."""
        return any(each is not None and each.needs_alignment for each in (self._document, self._pairs))

    def options(self, options: Options) -> Options:
        """Return the options with which what there is to translate is translated."""
        if self.is_in_lines:
            options = replace(options, split_sentences="lines" if options.split_sentences == "0" else "1")
        return options

    def rendered(self, translation: Translation, *, with_links: bool) -> Translation:
        """Put the markup and the messages around a translation and its alternatives; links are those of plain text."""
        if not self.is_in_lines:
            return translation
        best, *alternatives = [
            candidate._replace(text=self._around(candidate), alignment=self._linked(candidate) if with_links else ())
            for candidate in (translation.best, *translation.alternatives)
        ]
        return translation._replace(best=best, alternatives=tuple(alternatives))

    def _around(self, candidate: Candidate) -> str:
        text, links = candidate.text, candidate.alignment
        if self._pairs is not None:
            text = self._pairs.render(text, links)
        if self._choices is not None:  # the words of its branches have other places in the text
            text, links = "\n".join(self._choices.render(text)), ()
        return text if self._document is None else self._document.render(text, links)

    def _linked(self, candidate: Candidate) -> tuple[Link, ...]:
        """Return the links between the words of the text and of the whole translation; of a message there are none."""
        if self._pairs is None or self._choices is not None:
            return ()
        return self._pairs.linked(candidate.text, candidate.alignment)
