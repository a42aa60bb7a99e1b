"""The least that a FastAPI server over the engine could be: one route, which computes on the event loop.

No scheduler, threads, limits, keys, metrics, log or sentence splitting, one request at a time: what its client waits
beyond the engine's own time is what Python, FastAPI and SentencePiece take with the caches that the engine leaves.
"""

import os
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Response

from kernels.engine import set_threads
from service.translation.tokenizer import Tokenizer
from tests.bench.bare_server import Reply, Request, Translation
from tests.bench.subjects import Ours


def create_app(directory: Path, configuration: str) -> FastAPI:
    """Make the app."""
    app = FastAPI()
    ours = Ours(directory, configuration)
    tokenizer, engine = Tokenizer(ours.directory), ours.engine

    @app.post("/v1/translate")
    async def translate(request: Request, response: Response) -> Reply:
        ids = tokenizer.encode(request.text, request.target)
        result = engine.translate([ids], max_lengths=[2 * len(ids) + 20])
        response.headers["X-Sub3-Encode-Ms"] = f"{result.encode_ms:.3f}"
        response.headers["X-Sub3-Decode-Ms"] = f"{result.decode_ms:.3f}"
        return Reply(translations=[Translation(text=tokenizer.decode(result.hypotheses[0][0].ids))])

    @app.get("/health/ready")
    async def ready() -> dict[str, str]:
        return {"status": "ready"}

    return app


if __name__ == "__main__":
    set_threads(int(os.environ["SUB3_THREADS"]))
    app = create_app(Path(os.environ["SUB3_MODEL_DIRECTORY"]), os.environ["SUB3_CONFIGURATION"])
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), access_log=False, http="h11")
