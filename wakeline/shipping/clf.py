"""The Common Log Format and the Combined one: https://httpd.apache.org/docs/current/logs.html#accesslog."""

import re

from apachelogs import parse_apache_timestamp

from wakeline.clock import to_epoch_ms
from wakeline.shipping.request import OtherFormatError, Request, method_and_target, sound_time_ms

# apachelogs' own patterns are not used: they can read \x16 in two ways, so a line with thirty of them that ends
# otherwise than expected takes them hours. Here nothing is tried twice (possessive quantifiers).
_QUOTED = r'"([^"\\]*+(?:\\.[^"\\]*+)*+)"'
_COMMON = rf"(\S*+) \S*+ (.*?) \[(\d\d/\w{{3}}/\d{{4}}:[\d:]{{8}} [+-]\d{{4}})\] {_QUOTED} (\d{{3}}|-) (?:\d++|-)"
FORMATS = {"combined": re.compile(rf"{_COMMON} {_QUOTED} {_QUOTED}"), "common": re.compile(_COMMON)}

# As Apache and nginx write what would break the line.
_ESCAPED = re.compile(rb"\\(x[0-9A-Fa-f]{2}|.)")
_ESCAPES = {b"t": b"\t", b"n": b"\n", b"r": b"\r", b"b": b"\b", b"v": b"\v", b"f": b"\f"}


def read_clf(text: str, format_name: str) -> Request:
    """The request of a line in the format of this name; raises BadLineError, OtherFormatError when not in it."""
    found = FORMATS[format_name].fullmatch(text)
    if not found:
        raise OtherFormatError(f"it is not in the {format_name} log format")
    ip, user, time_told, request_line, status_told, *headers = ("" if one == "-" else one for one in found.groups())
    status = int(status_told or 0)
    method, target = method_and_target(_unescaped(request_line), status)
    referrer, user_agent = map(_unescaped, headers or ("", ""))
    return Request(
        at_ms=_time_ms(time_told, format_name),
        ip=_unescaped(ip),
        method=method,
        target=target,
        status=status,
        user_agent=user_agent,
        referrer=referrer,
        fields={"remote_user": _unescaped(user)} if user not in ("", '""') else {},
    )


def _time_ms(time_told: str, format_name: str) -> int:
    try:
        moment = parse_apache_timestamp(time_told)
    except ValueError as error:  # There is no 31/Feb.
        raise OtherFormatError(f"it is not in the {format_name} log format") from error
    return sound_time_ms(to_epoch_ms(moment))


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: _byte(found[1]), text.encode()).decode(errors="replace")


def _byte(escape: bytes) -> bytes:
    return bytes.fromhex(escape[1:].decode()) if len(escape) == 3 else _ESCAPES.get(escape, escape)
