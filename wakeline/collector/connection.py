"""A client's connection to the server."""

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

#: What is not body: the address, headers, trailers and the sizes of chunks. Snowplow's GETs are the longest, and stay
#: far below.
MAX_HEAD_BYTES = 65_536

_TOO_LARGE = orjson.dumps({"error": f"The address and the headers are larger than {MAX_HEAD_BYTES} bytes."})


class Connection(HttpToolsProtocol):
    """uvicorn's, but for a limit to the head of a request: httptools has none and would fill the memory."""

    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse()

    def on_body(self, body: bytes) -> None:
        self._head_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._head_bytes = 0
        super().on_message_complete()

    def _refuse(self) -> None:
        headers = f"content-type: application/json\r\ncontent-length: {len(_TOO_LARGE)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[431] + headers.encode() + _TOO_LARGE)
        self.transport.close()
