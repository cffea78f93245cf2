"""Reads a request's body, never keeping more of it in memory than allowed."""

import zlib

from starlette.requests import Request

from wakeline.collector.refused import RefusedError

# zlib's "expect a gzip header" (https://zlib.net/manual.html, inflateInit2).
_GZIP_WINDOW_BITS = 31


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body, unpacked when its Content-Encoding is gzip.

    Raises RefusedError: 413 when it is larger than `max_bytes`, packed or unpacked; 415 for another encoding;
    400 when it is not gzip though it says so.
    """
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip"):
        raise RefusedError(415, "The Content-Encoding is not supported; send the body as gzip or as it is.")
    body = await _received(request, max_bytes)
    return gunzip(body, max_bytes) if encoding == "gzip" else body


def gunzip(packed: bytes, max_bytes: int) -> bytes:
    """The unpacked bytes; stops, with RefusedError (413), at the first byte beyond `max_bytes`."""
    unpacked = bytearray()
    while packed:
        unpacker = zlib.decompressobj(wbits=_GZIP_WINDOW_BITS)
        try:
            unpacked += unpacker.decompress(packed, max_bytes + 1 - len(unpacked))
        except zlib.error as error:
            raise RefusedError(400, "The body is not valid gzip though its Content-Encoding says so.") from error
        if len(unpacked) > max_bytes:
            raise _too_large(max_bytes)
        if not unpacker.eof:
            raise RefusedError(400, "The gzip body is cut short.")
        packed = unpacker.unused_data  # A gzip file may be several, one after the other.
    return bytes(unpacked)


async def _received(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


def _too_large(max_bytes: int) -> RefusedError:
    return RefusedError(413, f"The body is larger than {max_bytes} bytes; send smaller batches.")
