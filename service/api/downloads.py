"""Sending the translated file of a job."""

import mimetypes
import os
from collections.abc import AsyncIterator
from pathlib import PurePath
from urllib.parse import quote

from fastapi import Response
from fastapi.responses import StreamingResponse

from service.files import translated_name
from service.requests.file_jobs import FileJob

_CHUNK = 1 << 16
_MEDIA_TYPES = {".md": "text/markdown", ".po": "text/x-gettext-translation", ".srt": "application/x-subrip"}


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
    kind = _MEDIA_TYPES.get(PurePath(name).suffix) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Length": str(size),
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    return StreamingResponse(chunks(), media_type=kind, headers=headers)
