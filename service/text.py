"""Text -> pieces to translate and pieces to copy. The pieces joined are the text, so nothing is lost between them."""

import re
import unicodedata
from typing import NamedTuple

import sentencex

_CLAUSE_END = re.compile(r"[,;:.!?)\]–—…、，；：。！？](?=\s)|[、，；：。！？]|\s[–—-](?=\s)")
_SPACE = re.compile(r"\s+")
# Emoji and their modifiers: symbols, joiners and other format characters, variation selectors, skin tones.
_COPIED_CATEGORIES = frozenset({"So", "Cf", "Cc", "Co", "Cn"})
_EMOJI_MODIFIERS = frozenset("\ufe0e\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")


class Piece(NamedTuple):
    """A run of characters of a text, to be translated or copied as it is."""

    text: str
    translate: bool


def split(text: str, language: str, sentences: bool = True) -> list[Piece]:
    """Cut a text into sentences to translate and the line breaks, spaces and emoji around them to copy.

    Without `sentences` a line is not cut.
    """
    pieces: list[Piece] = []
    for line in text.splitlines(keepends=True):
        if not sentences:
            pieces += _edges(line)
            continue
        # sentencex 1.0 panics on an initial followed by a space outside ASCII: it reads a copy with plain spaces of
        # the same length, and its sentences' lengths cut the true line
        plain = "".join(" " if character.isspace() else character for character in line)
        position = 0
        for sentence in sentencex.segment(language, plain):
            pieces += _edges(line[position : position + len(sentence)])
            position += len(sentence)
        pieces += _edges(line[position:])
    return pieces


def halve(sentence: str) -> list[Piece]:
    """Cut an over-long sentence in two, near its middle: after a clause, else at a space, else in a word."""
    middle = len(sentence) // 2
    low, high = len(sentence) // 4, len(sentence) - len(sentence) // 4
    clauses = [match.end() for match in _CLAUSE_END.finditer(sentence) if low <= match.end() <= high]
    spaces = [match.end() for match in _SPACE.finditer(sentence) if match.start() > 0 and match.end() < len(sentence)]
    cut = min(clauses or spaces or [middle], key=lambda position: abs(position - middle))
    return _edges(sentence[:cut]) + _edges(sentence[cut:])


def _edges(run: str) -> list[Piece]:
    """A run as [copied start, core to translate, copied end]; all of it is copied if it holds no letter."""
    if not any(character.isalpha() for character in run):
        return [Piece(run, False)] if run else []
    begin, end = 0, len(run)
    while _is_copied(run[begin]):
        begin += 1
    while _is_copied(run[end - 1]):
        end -= 1
    pieces = [Piece(run[:begin], False), Piece(run[begin:end], True), Piece(run[end:], False)]
    return [piece for piece in pieces if piece.text]


def _is_copied(character: str) -> bool:
    return character.isspace() or character in _EMOJI_MODIFIERS or unicodedata.category(character) in _COPIED_CATEGORIES
