"""Access logs as JSON lines, with the names of nginx's variables and of Caddy's log unless told otherwise.

nginx: https://nginx.org/en/docs/http/ngx_http_log_module.html#log_format with escape=json.
Caddy: https://caddyserver.com/docs/logging.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import orjson
from apachelogs import parse_apache_timestamp

from wakeline.clock import to_epoch_ms
from wakeline.shipping.request import BadLineError, Request, method_and_target, sound_time_ms

#: What a line tells, and the names it is looked for under; a dot goes into an object, a number into a list.
DEFAULT_NAMES: Mapping[str, tuple[str, ...]] = {
    "time": ("time_iso8601", "time_local", "msec", "ts", "@timestamp", "timestamp", "time"),
    "ip": ("remote_addr", "request.client_ip", "request.remote_ip", "client_ip", "ip"),
    "request": ("request",),
    "method": ("request_method", "request.method", "method"),
    "target": ("request_uri", "request.uri", "uri", "path"),
    "status": ("status",),
    "user_agent": ("http_user_agent", "request.headers.User-Agent.0", "user_agent"),
    "referrer": ("http_referer", "request.headers.Referer.0", "referer", "referrer"),
    "host": ("host", "http_host", "request.host"),
    "scheme": ("scheme",),
    "content_type": ("sent_http_content_type", "resp_headers.Content-Type.0"),
    "cookie": ("http_cookie", "request.headers.Cookie.0"),
}
_TEXTS = ("ip", "user_agent", "referrer", "host", "scheme", "content_type", "cookie")
_STATUS_DIGITS = 3
# Seconds since 1970 stay below this for 3,000 years; a larger number is in milliseconds.
_LARGEST_SECONDS = 1e11
# Servers write three levels. A line of 1,000 would exhaust Python's stack.
_MAX_LEVELS = 32
# Nobody asks for a longer name, and one long name before a long list would fill the memory.
_MAX_NAME_CHARACTERS = 256


def read_json(text: str, names: Mapping[str, tuple[str, ...]]) -> Request:
    """The request of a JSON line; raises BadLineError when it is none or lacks what every request has."""
    fields = dict(_flat(_object(text)))

    def value(what: str) -> str:
        return next((fields[name] for name in names[what] if fields.get(name) not in (None, "", "-")), "")

    status = _status(_needed(value("status"), "status", names))
    method, target = value("method"), value("target")
    if not (method and target):
        method, target = method_and_target(value("request"), status)
    return Request(
        at_ms=_time_ms(_needed(value("time"), "time", names)),
        method=method.upper(),
        target=target,
        status=status,
        fields=fields,
        **{name: value(name) for name in _TEXTS},
    )


def _object(text: str) -> dict[str, Any]:
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadLineError("it is not JSON") from error
    if not isinstance(content, dict):
        raise BadLineError("it is not a JSON object")
    return content


def _flat(content: dict[str, Any] | list[Any], prefix: str = "", level: int = 1) -> Iterator[tuple[str, str]]:
    if level > _MAX_LEVELS:
        raise BadLineError(f"it is nested deeper than {_MAX_LEVELS} levels")
    for part, value in content.items() if isinstance(content, dict) else enumerate(content):
        name = f"{prefix}{part}"
        if len(name) > _MAX_NAME_CHARACTERS or value is None:
            continue
        if isinstance(value, dict | list):
            yield from _flat(value, f"{name}.", level + 1)
        else:
            yield name, str(value)


def _needed(value: str, what: str, names: Mapping[str, tuple[str, ...]]) -> str:
    if not value:
        raise BadLineError(f"it has no {what} (looked for {', '.join(names[what])})")
    return value


def _status(value: str) -> int:
    if not value.isdecimal() or len(value) > _STATUS_DIGITS:
        raise BadLineError("the status is not a number of three digits")
    return int(value)


def _time_ms(value: str) -> int:
    try:
        number = float(value)
    except ValueError:
        return _written_time_ms(value)
    return sound_time_ms(number if number > _LARGEST_SECONDS else number * 1000)


def _written_time_ms(value: str) -> int:
    for read in (datetime.fromisoformat, parse_apache_timestamp):
        try:
            moment = read(value)
        except ValueError:
            continue
        return sound_time_ms(to_epoch_ms(moment))
    raise BadLineError("the time is neither ISO 8601, nor day/month/year:time zone, nor a number")
