"""A FastAPI process with one route and no model: what Python, FastAPI and uvicorn take by themselves."""

import os

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()


class Request(BaseModel):
    """The request of the other servers."""

    text: str
    source: str
    target: str


class Translation(BaseModel):
    """As theirs."""

    text: str


class Reply(BaseModel):
    """The least that a client reads."""

    translations: list[Translation]


@app.post("/v1/translate")
async def translate(request: Request) -> Reply:
    """Return the text itself."""
    return Reply(translations=[Translation(text=request.text)])


@app.get("/health/ready")
async def ready() -> dict[str, str]:
    """Answer that the server is ready, always."""
    return {"status": "ready"}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), access_log=False)
