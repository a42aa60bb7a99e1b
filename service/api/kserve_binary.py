"""Binary tensors of KServe v2: behind a head of JSON, the length of each text in four bytes, and its UTF-8."""

import struct
from collections.abc import Iterable

from starlette.exceptions import HTTPException

HEAD_LENGTH = "Inference-Header-Content-Length"  # header of requests and replies
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
