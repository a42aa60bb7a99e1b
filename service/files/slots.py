"""Files as text with slots: what is translated has a slot, all else comes back to the letter."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from service.files import Aligned
from service.files.html import MarkedUp
from service.text.markup_tokens import SOFTWARE, Markup
from service.text.message_format import Message, NotAMessage, with_choices


class Slot(Protocol):
    """A place in a file."""

    texts: Sequence[str]  # to translate; none where only the language is noted

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        """Render what stands there in the translated file."""


class SlottedText:
    """The text of a file: strings that are copied, and slots."""

    def __init__(self, parts: Iterable[str | Slot]) -> None:
        """Join with the parts in their order."""
        self._parts = list(parts)
        self.texts: Sequence[str] = [text for part in self._parts if not isinstance(part, str) for text in part.texts]

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        """Render the text with the translations in the slots."""
        position, rendered = 0, []
        for part in self._parts:
            if isinstance(part, str):
                rendered.append(part)
                continue
            count = len(part.texts)
            rendered.append(part.render(translations[position : position + count], target))
            position += count
        return "".join(rendered)


class SlottedFile:
    """A file whose text has slots."""

    def __init__(self, parts: Iterable[str | Slot], encode: Callable[[str], bytes]) -> None:
        """Take the parts of the text, and what makes bytes of it."""
        self._text, self._encode = SlottedText(parts), encode
        self.texts = self._text.texts

    def render(self, translations: Sequence[Aligned], target: str) -> bytes:
        """Render the file."""
        return self._encode(self._text.render(translations, target))


class Value:
    """A value with placeholders and tags; a line of it is a text."""

    def __init__(self, source: str, value: str, spell: Callable[[str], str], markup: Markup = SOFTWARE) -> None:
        """Take a value apart.

        Args:
            source: as the file spells it; stays where nothing in it is translated.
            value: the text that it stands for.
            spell: returns how the file spells a translation.
            markup: of the value.
        """
        self._source, self._value, self._spell = source, value, spell
        self._marked = MarkedUp(value, markup)
        self.texts = self._marked.texts

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        """Render the value as the file spells it."""
        text = self._marked.render(translations, target)
        return self._source if text == self._value else self._spell(text)


class MessageValue:
    """A value in ICU MessageFormat."""

    def __init__(self, source: str, value: str, spell: Callable[[str], str], message: Message) -> None:
        """Take a value apart.

        Args:
            source: the value as the file spells it.
            value: the text that it stands for.
            spell: returns how the file spells a text.
            message: the value, parsed.
        """
        self._source, self._value, self._spell, self._message = source, value, spell, message
        self._branches = [MarkedUp(text, SOFTWARE) for text in message.texts]
        self.texts: Sequence[str] = [text for branch in self._branches for text in branch.texts]

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        """Render the value as the file spells it, with the plural branches of the target language."""
        position, rendered = 0, []
        for branch in self._branches:
            count = len(branch.texts)
            rendered.append(branch.render(translations[position : position + count], target))
            position += count
        text = self._message.render(rendered, target)
        return self._source if text == self._value else self._spell(text)


class Language:
    """The place where a file names its language."""

    texts: Sequence[str] = ()

    def __init__(self, spell: Callable[[str], str]) -> None:
        """Take a function that returns how the file spells a language code."""
        self._spell = spell

    def render(self, translations: Sequence[Aligned], target: str) -> str:
        """Render the target language."""
        return self._spell(target)


def with_slots(text: str, slots: Iterable[tuple[int, int, Slot]]) -> Iterator[str | Slot]:
    """Yield the parts of a text in which slots stand, each with its span, in order."""
    position = 0
    for begin, end, slot in slots:
        yield text[position:begin]
        yield slot
        position = end
    yield text[position:]


def whole_characters(text: str) -> str | None:
    """Join escaped surrogates to the characters that they are; None if one lacks its other half."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        return None


def value_slot(source: str, value: str, spell: Callable[[str], str], *, doubles: bool = False) -> Slot:
    """Make the slot of a value: in ICU MessageFormat if it has choices or its apostrophes are spelt twice.

    Args:
        source: as the file spells it.
        value: the text that it stands for.
        spell: returns how the file spells a translation.
        doubles: whether it is a message of Java, whose apostrophes are always spelt twice.
    """
    message = with_choices(value, doubles=doubles)
    if message is None and "{" in value and (doubles or "''" in value):
        try:
            message = Message(value, doubles=doubles)
        except NotAMessage:
            message = None
    return Value(source, value, spell) if message is None else MessageValue(source, value, spell, message)
