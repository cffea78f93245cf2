"""A request as an access log tells it, whatever the log's format."""

from dataclasses import dataclass, field
from http import HTTPStatus


class BadLineError(Exception):
    """A line of the log cannot be understood; says why in half a sentence."""


# The year 5138; messages tell years of four digits only.
_TIME_LIMIT_MS = 100_000_000_000_000


class OtherFormatError(BadLineError):
    """The line is not in the format that was tried."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; what the log does not tell is empty.

    `at_ms` is milliseconds since the Unix epoch, `target` the request target (RFC 9112, 3.2) as it was sent,
    `host` comes without scheme, `content_type` is that of the answer, `cookie` is the Cookie header.
    `fields` holds every field of the line by its dotted name.
    """

    at_ms: int
    ip: str
    method: str
    target: str
    status: int
    user_agent: str = ""
    referrer: str = ""
    host: str = ""
    scheme: str = ""
    content_type: str = ""
    cookie: str = ""
    fields: dict[str, str] = field(default_factory=dict)


def sound_time_ms(at_ms: float) -> int:
    """The time as a whole number; raises BadLineError for one that no message can tell."""
    if not 0 <= at_ms < _TIME_LIMIT_MS:
        raise BadLineError("the time is out of range")
    return round(at_ms)


def method_and_target(request_line: str, status: int) -> tuple[str, str]:
    """Both from a request line (RFC 9112, 3), empty for one that the server refused to read.

    Raises BadLineError when the server took what is no request line.
    """
    parts = request_line.split(" ")
    if len(parts) in (2, 3) and parts[0].isalpha():
        return parts[0].upper(), parts[1]
    if status >= HTTPStatus.BAD_REQUEST:
        return "", ""
    raise BadLineError("the request line is not METHOD TARGET VERSION")
