"""The form of a request that uploads a file."""

from typing import IO

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from service.api.fields import Fields
from service.api.json_route import MAX_FIELDS, media_type
from service.files.room import room_needed


class Upload:
    """A form with a file."""

    def __init__(self, form: FormData, file: UploadFile) -> None:
        """Wrap a form and the file in it."""
        self._form = form
        self.file: IO[bytes] = file.file
        self.name = file.filename or ""

    def field(self, name: str) -> str | None:
        """Return the first value of a field, or None if it is missing or empty."""
        value = self._form.get(name)
        return value if isinstance(value, str) and value else None

    def fields(self, *names: str) -> Fields:
        """Return the named fields that have a value."""
        return Fields({name: [value] for name in names if (value := self.field(name))}, False)


async def read_upload(request: Request, missing: str) -> Upload:
    """Read the form of a request. Large files are spooled to an unnamed file on disk while they arrive.

    Args:
        request: Its body has not been read.
        missing: The sentence of the error if the form has no file.

    Raises:
        HTTPException: 400, the form has no file; 415, the body is not multipart/form-data.
        NoRoom: the disk is full.
    """
    if media_type(request) != "multipart/form-data":
        raise HTTPException(415, "Send the file as multipart/form-data.")
    with room_needed():
        form = await request.form(max_files=1, max_fields=MAX_FIELDS)
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise HTTPException(400, missing)
    return Upload(form, file)
