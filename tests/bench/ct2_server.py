"""`python -m tests.bench.ct2_server MODEL TOKENIZER`: a translation server over CTranslate2, to be measured against.

Same requests and replies as /v1/translate less the cost record, same sentences, same pieces, greedy as we are.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import ctranslate2
import sentencepiece
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, Field

from service.text.sentences import split


class Request(BaseModel):
    """A text or a list, which is one batch."""

    text: str | list[str]
    source: str
    target: str
    beam_size: int = Field(default=1, ge=1, le=8)


class Translation(BaseModel):
    """Of one text."""

    text: str
    score: float
    alternatives: list[str] = []


class Model(BaseModel):
    """What answered."""

    name: str
    config: str


class Reply(BaseModel):
    """In the order of the texts."""

    translations: list[Translation]
    model: Model


class _Sentence(NamedTuple):
    text: str
    score: float


class Translator:
    """Text to text. `threads` requests are translated at a time, each by one thread; the GIL is released."""

    def __init__(self, model: Path, tokenizer: Path, threads: int) -> None:
        """Load `model`, as CTranslate2 converted it, and `tokenizer`, the directory of source.spm and target.spm."""
        self._model = ctranslate2.Translator(
            str(model), device="cpu", compute_type="int8", inter_threads=threads, intra_threads=1
        )
        self._source = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer / "source.spm"))
        self._target = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer / "target.spm"))

    def translate(self, texts: Sequence[str], language: str, beam_size: int = 1) -> list[Translation]:
        """Translate all sentences of all texts in one batch; copy what holds no text."""
        documents = [split(text, language) for text in texts]
        pieces = [piece.text for document in documents for piece in document if piece.translate]
        answers = iter(self._sentences(pieces, beam_size))
        translations = []
        for document in documents:
            answered = [next(answers) if piece.translate else None for piece in document]
            parts = [piece.text if a is None else a.text for piece, a in zip(document, answered, strict=True)]
            scores = [answer.score for answer in answered if answer is not None]
            translations.append(Translation(text="".join(parts), score=sum(scores) / len(scores) if scores else 0.0))
        return translations

    def _sentences(self, sentences: list[str], beam_size: int) -> list[_Sentence]:
        if not sentences:
            return []
        sources = [[*tokens, "</s>"] for tokens in self._source.encode(sentences, out_type=str)]
        results = self._model.translate_batch(
            sources,
            beam_size=beam_size,
            return_scores=True,
            max_decoding_length=2 * max(map(len, sources)) + 20,
        )
        texts = self._target.decode([result.hypotheses[0] for result in results])
        return [_Sentence(text, result.scores[0]) for text, result in zip(texts, results, strict=True)]


def create_app(translator: Translator) -> FastAPI:
    """Make the app. `translate` is not a coroutine: FastAPI runs it in a thread pool, so the event loop stays free."""
    app = FastAPI()

    @app.post("/v1/translate")
    def translate(request: Request) -> Reply:
        texts = [request.text] if isinstance(request.text, str) else request.text
        translations = translator.translate(texts, request.source, request.beam_size)
        return Reply(translations=translations, model=Model(name="en-de", config="ctranslate2-int8"))

    @app.get("/health/ready")
    async def ready() -> dict[str, str]:
        return {"status": "ready"}

    return app


def main() -> None:
    """Serve on PORT."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.ct2_server", description=__doc__)
    parser.add_argument("model", type=Path, help="CTranslate2's directory")
    parser.add_argument("tokenizer", type=Path, help="directory of source.spm and target.spm")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    translator = Translator(arguments.model, arguments.tokenizer, arguments.threads)
    translator.translate(["The train was late."], "en")  # warm
    uvicorn.run(create_app(translator), host="127.0.0.1", port=int(os.environ["PORT"]), access_log=False)


if __name__ == "__main__":
    main()
