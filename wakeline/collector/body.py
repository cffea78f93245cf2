"""Reads a request's body, never keeping more of it in memory than allowed."""

import asyncio
import zlib
from collections.abc import Callable

from starlette.requests import Request

from wakeline.collector.refused import RefusedError

#: Bodies that never end must not keep the room of others.
MAX_SECONDS = 60.0

#: A client that appends one gzip file to another has a few of them; each costs as much as a small request.
MAX_GZIP_MEMBERS = 1_000

# zlib's "expect a gzip header" (https://zlib.net/manual.html, inflateInit2).
_GZIP_WINDOW_BITS = 31

# zlib copies what stands behind a member: of the whole body, for every member, it would be quadratic.
_PIECE_BYTES = 16_384


async def read_body(request: Request, max_bytes: int, hold: Callable[[int], None]) -> bytes:
    """The body, unpacked when its Content-Encoding is gzip; `hold` is told the size of every piece that arrives.

    Raises RefusedError: 413 when it is larger than `max_bytes`, packed or unpacked; 415 for another encoding;
    400 when it is not gzip though it says so; 408 when it takes too long.
    """
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip"):
        raise RefusedError(415, "The Content-Encoding is not supported; send the body as gzip or as it is.")
    try:
        async with asyncio.timeout(MAX_SECONDS):
            body = await _received(request, max_bytes, hold)
    except TimeoutError as error:
        raise RefusedError(408, f"The body took longer than {MAX_SECONDS:g} s.", {"Connection": "close"}) from error
    return gunzip(body, max_bytes) if encoding == "gzip" else body


def gunzip(packed: bytes, max_bytes: int) -> bytes:
    """The unpacked bytes; stops, with RefusedError (413), at the first byte beyond `max_bytes`."""
    unpacked = bytearray()
    position = members = 0
    while position < len(packed):
        members += 1
        if members > MAX_GZIP_MEMBERS:
            raise RefusedError(400, f"The gzip body has more than {MAX_GZIP_MEMBERS} members.")
        position = _unpack_member(packed, position, unpacked, max_bytes)
    return bytes(unpacked)


def _unpack_member(packed: bytes, position: int, unpacked: bytearray, max_bytes: int) -> int:
    """Where the next member begins; a gzip file may be several, one after the other."""
    unpacker = zlib.decompressobj(wbits=_GZIP_WINDOW_BITS)
    while not unpacker.eof:
        piece = packed[position : position + _PIECE_BYTES]
        if not piece:
            raise RefusedError(400, "The gzip body is cut short.")
        position += len(piece)
        try:
            unpacked += unpacker.decompress(piece, max_bytes + 1 - len(unpacked))
        except zlib.error as error:
            raise RefusedError(400, "The body is not valid gzip though its Content-Encoding says so.") from error
        if len(unpacked) > max_bytes:
            raise _too_large(max_bytes)
    return position - len(unpacker.unused_data)


async def _received(request: Request, max_bytes: int, hold: Callable[[int], None]) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        hold(len(chunk))
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


def _too_large(max_bytes: int) -> RefusedError:
    return RefusedError(413, f"The body is larger than {max_bytes} bytes; send smaller batches.")
