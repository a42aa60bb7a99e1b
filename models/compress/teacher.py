"""The fp32 model as a translator of plain text: in eight planes by the engine, with a beam.

On the shared checkpoint (500 Tatoeba sentences, seconds of a processor) a beam of 4 takes 7.1 and has 29.6 BLEU; greedy
search has 25.9 in 3.0, and by torch in fp32 25.7 in 3.8. The codes take 12 and diverge from fp32 by 0.0003.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from models.codes.bit_config import find_config
from models.evaluate.evaluate import max_length, tokenizers
from models.format.directory import open_model
from models.format.schema import MAX_PLANES
from models.marian.checkpoint import Checkpoint
from models.quantize.export import Request, export

BEAM_SIZE = 4  # one of 6 has 30.0 BLEU in 11.6 seconds
BATCH = 16  # sentences that a thread decodes together


class Teacher:
    """A checkpoint in the engine."""

    def __init__(self, checkpoint: Checkpoint, path: Path, threads: int) -> None:
        """Take the model directory of an earlier call, or write it.

        Args:
            checkpoint: the fp32 model.
            path: of the model directory.
            threads: that translate.
        """
        if not path.exists():
            request = Request("teacher", find_config("full-8"), (), "progressive", MAX_PLANES, "refined", None)
            export(checkpoint, (), request, path, notes="", overwrite=False)
        model = open_model(path)
        self._config, self._engine, self._threads = model.config, model.engine(), threads
        self._reader, self._writer = tokenizers(model)

    def translate(self, sources: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield each source with its translation; "" for one that is longer than the model can read."""
        config, most = self._config, self._config.architecture.max_positions
        read = []
        for text in sources:
            rows, begins = self._reader.encode_marked(text, config.tokens)
            read.append(_Read(text, config.ids.ended(rows), [*map(self._writer.row, begins)]))
        yield from ((each.text, "") for each in read if len(each.rows) > most)
        fitting = sorted((each for each in read if len(each.rows) <= most), key=lambda each: len(each.rows))
        batches = [fitting[begin : begin + BATCH] for begin in range(0, len(fitting), BATCH)]
        with ThreadPoolExecutor(self._threads) as threads:
            for batch, translations in zip(batches, threads.map(self._translate, batches), strict=True):
                yield from zip((each.text for each in batch), translations, strict=True)

    def _translate(self, batch: Sequence["_Read"]) -> list[str]:
        architecture = self._config.architecture
        result = self._engine.translate(
            [each.rows for each in batch],
            max_lengths=[max_length(len(each.rows), architecture.max_positions) for each in batch],
            beam_size=BEAM_SIZE,
            length_penalty=self._config.length_penalty,
            prefixes=[each.begins for each in batch],
        )
        return [self._writer.decode(best.ids) for best, *_ in result.hypotheses]


class _Read(NamedTuple):
    text: str
    rows: list[int]
    begins: list[int]  # rows that its translation begins with
