"""The Common Log Format and the Combined one: https://httpd.apache.org/docs/current/logs.html#accesslog."""

from functools import cache

import apachelogs

from wakeline.clock import to_epoch_ms
from wakeline.shipping.request import OtherFormatError, Request, method_and_target

FORMATS = {"combined": apachelogs.COMBINED, "common": apachelogs.COMMON}


def read_clf(text: str, format_name: str) -> Request:
    """The request of a line in the format of this name; raises BadLineError, OtherFormatError when not in it."""
    try:
        entry = _parser(format_name).parse(text)
    except ValueError as error:  # Also of a time that there is not, such as 31/Feb.
        raise OtherFormatError(f"it is not in the {format_name} log format") from error
    status = entry.final_status or 0
    method, target = method_and_target(entry.request_line or "", status)
    headers = getattr(entry, "headers_in", {})
    return Request(
        at_ms=to_epoch_ms(entry.request_time),
        ip=entry.remote_host or "",
        method=method,
        target=target,
        status=status,
        user_agent=headers.get("User-Agent") or "",
        referrer=headers.get("Referer") or "",
        fields={"remote_user": entry.remote_user} if entry.remote_user else {},
    )


@cache
def _parser(format_name: str) -> apachelogs.LogParser:
    return apachelogs.LogParser(FORMATS[format_name], encoding="utf-8", errors="replace")
