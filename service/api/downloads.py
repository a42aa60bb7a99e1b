"""Sending the translated file of a job."""

import mimetypes
import os
from collections.abc import AsyncIterator
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from fastapi import Response
from fastapi.responses import StreamingResponse

from service.files import ENDINGS, translated_name
from service.requests.file_jobs import FileJob

_CHUNK = 1 << 16
_ANY = "application/octet-stream"
_MEDIA_TYPES = {".md": "text/markdown", ".po": "text/x-gettext-translation", ".srt": "application/x-subrip"}


def _media_type(ending: str) -> str:
    return _MEDIA_TYPES.get(ending) or mimetypes.guess_type(f"file{ending}")[0] or _ANY


# Describes `download` in the OpenAPI.
FILE_REPLY: dict[str, Any] = {
    "content": {
        kind: {"schema": {"type": "string", "format": "binary"}}
        for kind in dict.fromkeys([_ANY, *map(_media_type, ENDINGS)])
    }
}


def download(job: FileJob) -> Response:
    """Return a reply with the translated file of a finished job."""
    assert job.result is not None
    handle = os.dup(job.result.fileno())  # the job may be removed while the file is sent
    size = os.fstat(handle).st_size

    async def chunks() -> AsyncIterator[bytes]:
        try:
            position = 0
            while chunk := os.pread(handle, _CHUNK, position):
                yield chunk
                position += len(chunk)
        finally:
            os.close(handle)

    name = translated_name(job.name, job.options.target)
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Length": str(size),
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    return StreamingResponse(chunks(), media_type=_media_type(PurePath(name).suffix), headers=headers)
