"""Bodies of KServe v2 and Triton: JSON of any content type, since clients send none, and binary tensors behind it.

A binary tensor is the length of each text in four bytes, and its UTF-8.
"""

import struct
from collections.abc import Iterable
from typing import TypeVar

import orjson
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from service.api.schemas import Body

HEAD_LENGTH = "Inference-Header-Content-Length"  # header of requests and replies
BodyT = TypeVar("BodyT", bound=Body)
_LENGTH = struct.Struct("<I")  # little-endian


def split(body: bytes, head_length: str | None) -> tuple[bytes, bytes]:
    """Return the head of a body, and the tensor behind it; without the header all is head.

    Raises:
        HTTPException: 400, the header is not a number of bytes that the body has.
    """
    if head_length is None:
        return body, b""
    if not (head_length.isascii() and head_length.isdecimal() and int(head_length[:20]) <= len(body)):
        raise HTTPException(400, f"{HEAD_LENGTH} is not a number of bytes that the body has.")
    return body[: int(head_length)], body[int(head_length) :]


def decode(tensor: bytes) -> list[str]:
    """Return the texts of a tensor.

    Raises:
        HTTPException: 400, a text is not whole or not UTF-8.
    """
    texts: list[str] = []
    place = 0
    while place < len(tensor):
        begin = place + _LENGTH.size
        place = begin + _LENGTH.unpack_from(tensor, place)[0] if begin <= len(tensor) else begin
        if place > len(tensor):
            raise HTTPException(400, f"Text {len(texts) + 1} of the binary tensor is cut off.")
        try:
            texts.append(tensor[begin:place].decode())
        except UnicodeDecodeError:
            raise HTTPException(400, f"Text {len(texts) + 1} of the binary tensor is not UTF-8.") from None
    return texts


def encode(texts: Iterable[str]) -> bytes:
    """Return the tensor of texts."""
    return b"".join(_LENGTH.pack(len(text)) + text for text in map(str.encode, texts))


def parsed(content: bytes, kind: type[BodyT], taken: str) -> BodyT:
    """Parse a body, or the head of one; an empty one counts as {}.

    Args:
        content: The bytes.
        kind: What the body has to be.
        taken: Says in an error what a body of this kind may have.

    Raises:
        HTTPException: 400, it is not JSON or not of this kind.
    """
    try:
        return kind.model_validate(orjson.loads(content) if content else {})
    except orjson.JSONDecodeError as error:
        raise HTTPException(400, f"The body is not valid JSON: {error.msg} at character {error.pos}.") from None
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))[:100]
        if problem["type"] == "extra_forbidden":
            sentence = f"{place!r} is not taken: no files, addresses or settings, only {taken}."
            raise HTTPException(400, sentence) from None
        raise HTTPException(400, f"The field {place!r} is refused: {problem['msg']}.") from None
