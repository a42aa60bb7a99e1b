"""SentencePiece: text <-> ids. An id is a row of the model's vocabulary."""

import itertools
import re
import unicodedata
from collections.abc import Mapping, Sequence

import sentencepiece

from models.format.directory import ModelDirectory
from models.format.punctuation import followed, normalized, rules
from models.format.schema import ModelError
from models.format.vocabulary import Pieces
from service.text.composed import composed
from service.text.placeholders import Span

# Invisible characters that models have not seen: soft hyphens, zero-width spaces, direction and byte order marks.
_INVISIBLE = re.compile("[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_UNSEEN = -1


class Tokenizer:
    """The two SentencePiece models of a directory and its vocabulary; immutable, so threads share it."""

    def __init__(self, directory: ModelDirectory) -> None:
        """Load source.spm and target.spm.

        Raises:
            ModelError: a file is not a SentencePiece model, or the vocabulary lacks a target language's token.
        """
        vocabulary, ids = directory.vocabulary, directory.config.ids
        self._source = _load(directory, "source.spm")
        checksums = directory.config.checksums
        alike = checksums["source.spm"] == checksums["target.spm"]  # then one serves both: 1.6 MB less for 8,000 pieces
        self._target = self._source if alike else _load(directory, "target.spm")
        self._source_pieces, self._target_pieces = vocabulary.source, vocabulary.target_pieces
        self._rows = [_UNSEEN] * self._source.get_piece_size()  # by SentencePiece's own ids
        self._ended, self.unknown = ids.ended, ids.unk_source
        self._punctuation = rules(directory.config.moses_punctuation, directory.config.source_languages)
        self.behind = int(ids.ends_sources)  # ids behind those of a source's pieces
        tokens = directory.config.tokens
        self._begins_targets = tokens.begin_targets
        self._told: dict[str, int] = {}  # rows of the tokens, by language in small letters: of sources
        self._asked: dict[str, int] = {}  # and of targets
        self._read_tokens(directory, vocabulary.source, tokens.source, self._told)
        asking = vocabulary.target_pieces if tokens.begin_targets else vocabulary.source
        self._read_tokens(directory, asking, tokens.target, self._asked)
        self._silent = ids.silent | (frozenset(self._asked.values()) if tokens.begin_targets else frozenset())

    @staticmethod
    def _read_tokens(
        directory: ModelDirectory, pieces: Pieces, tokens: Mapping[str, str], rows: dict[str, int]
    ) -> None:
        for language, token in tokens.items():
            if (row := pieces.find(token)) is None:
                path = directory.path / directory.config.vocabulary_file
                raise ModelError(f"{path}: no row for {token}, the token of language {language}.")
            rows[language.lower()] = row

    def encode(self, text: str, target: str, source: str = "") -> list[int]:
        """Return the ids of one sentence: the tokens of its languages where the model reads such, the pieces, eos.

        Some models read no eos (`Ids.ends_sources`).

        The text is composed (NFC) and loses invisible characters before, and Moses normalises its punctuation where the
        model was trained so; spans that are copied keep theirs.
        """
        plain = normalized(_plain(text), self._punctuation)
        ids = self._source.encode(plain)
        if self._source.unk_id() in ids:  # one side's SentencePiece may not know a piece that the vocabulary has
            rows = list(map(self._row, self._source.encode(plain, out_type=str)))
        else:
            rows = [row if (row := self._rows[id_]) != _UNSEEN else self._look_up(id_) for id_ in ids]
        heads = [None if self._begins_targets else self._asked.get(target.lower()), self._told.get(source.lower())]
        return self._ended([*(row for row in heads if row is not None), *rows])

    def begins(self, target: str) -> tuple[int, ...]:
        """Return the ids that ask for a language at the beginning of a translation; none where the source asks."""
        row = self._asked.get(target.lower()) if self._begins_targets else None
        return () if row is None else (row,)

    def spans(self, text: str) -> list[Span]:
        """Return where each piece of a text stands in it, in characters; a piece includes the space before it."""
        plain = _plain(text)
        origins = _origins(text, plain)
        if self._punctuation is not None:
            plain, places = followed(plain, self._punctuation)
            origins = [origins[place] for place in places]
        offsets: list[Span] = self._source.encode(plain, return_type="offset_mapping")["offsets"]
        return [(origins[begin], origins[end]) for begin, end in offsets]

    def knows(self, word: str) -> bool:
        """Tell whether the vocabulary has a piece for every part of a word."""
        return self.unknown not in self.encode(word, "")

    def is_commoner(self, word: str, other: str) -> bool:
        """Tell whether the target's vocabulary spells a word in fewer pieces than another, or in commoner ones."""

        def rarity(text: str) -> tuple[int, int]:
            rows = [self._target_pieces.find(piece) for piece in self._target.encode(text, out_type=str)]
            return len(rows), sum(len(self._rows) if row is None else row for row in rows)

        return rarity(word) < rarity(other)

    def phrases(self, text: str, *, follows_mark: bool) -> list[list[int]]:
        """Return the ids of each way to spell a text within a translation; none if the vocabulary cannot.

        Args:
            text: a term's translation.
            follows_mark: it may follow a quotation mark or the like; then the second way begins without a space.
        """
        ways = [self._target.encode(text, out_type=str)]
        if follows_mark:
            mark, *pieces = self._target.encode('"' + text, out_type=str)
            ways += [pieces] if mark.endswith('"') else []
        spelt = [[self._target_pieces.find(piece) for piece in pieces] for pieces in ways]
        known = [[row for row in rows if row is not None and row not in self._silent] for rows in spelt]
        return [
            rows
            for rows, pieces in zip(known, ways, strict=True)
            if len(rows) == len(pieces) and self.decode(rows) == text
        ]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids without special tokens and the unknown piece; one line, whatever byte pieces spell."""
        text: str = self._target.decode([self._target_pieces.piece(row) for row in ids if row not in self._silent])
        return " ".join(text.splitlines())

    def decoded_spans(self, ids: Sequence[int]) -> list[Span]:
        """Return where each id stands in the text that `decode` makes of them; (0, 0) for an id without text."""
        has_text = [row not in self._silent for row in ids]
        pieces = [self._target_pieces.piece(row) for row in itertools.compress(ids, has_text)]
        offsets: list[Span] = self._target.decode(pieces, return_type="offset_mapping")["offsets"]
        if len(offsets) != len(pieces):  # several spell one character
            return [(0, 0)] * len(ids)
        following = iter(offsets)
        return [next(following) if spelt else (0, 0) for spelt in has_text]

    def _row(self, piece: str) -> int:
        row = self._source_pieces.find(piece)
        return self.unknown if row is None else row

    def _look_up(self, id_: int) -> int:
        self._rows[id_] = self._row(self._source.id_to_piece(id_))
        return self._rows[id_]


def _load(directory: ModelDirectory, name: str) -> sentencepiece.SentencePieceProcessor:
    processor = sentencepiece.SentencePieceProcessor()
    try:
        # from bytes: the library reports a file that it can't read on stderr only
        processor.LoadFromSerializedProto((directory.path / name).read_bytes())
    except (OSError, RuntimeError) as error:
        raise ModelError(f"{directory.path}/{name}: not a SentencePiece model ({error}).") from None
    return processor


def _plain(text: str) -> str:
    """Compose a text (NFC) and drop its invisible characters."""
    return text if text.isascii() else _INVISIBLE.sub("", composed(text))


def _origins(text: str, plain: str) -> Sequence[int]:
    """Return the place in the text of each character of the plain text, and of its end."""
    if text == plain:
        return range(len(text) + 1)
    begins = [place for place, character in enumerate(text) if not place or not unicodedata.combining(character)]
    origins: list[int] = []
    for begin, end in itertools.pairwise([*begins, len(text)]):
        origins += [begin] * len(_plain(text[begin:end]))
    if len(origins) != len(plain):  # letters that are composed of letters
        origins = [place * len(text) // max(len(plain), 1) for place in range(len(plain))]
    return [*origins, len(text)]
