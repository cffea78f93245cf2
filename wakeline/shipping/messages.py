"""Which requests are page views, and the Segment `page` messages they become.

https://segment.com/docs/connections/spec/page/
"""

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from crawleruseragents import is_crawler

from wakeline.clock import to_iso
from wakeline.collector.visitor import truncated_ip
from wakeline.shipping.identity import field_value, visitor_id
from wakeline.shipping.request import BadLineError, Request

LIBRARY = {"name": "wakeline-ship-log"}
# The collector quarantines messages with longer ones.
_MAX_ID_CHARACTERS = 255
# No crawler's name stands behind it, and thousands of agents are remembered.
_MAX_AGENT_CHARACTERS = 1_024
# A page that the browser still had is seen all the same.
_SEEN = (*range(200, 300), 304)
_PAGE_SUFFIXES = frozenset({"", ".asp", ".aspx", ".htm", ".html", ".jsp", ".php", ".shtml", ".xhtml"})
_CAMPAIGN = {"utm_source": "source", "utm_medium": "medium", "utm_campaign": "name", "utm_term": "term"}

#: Makes the message of a request with this messageId; None for a request that is no page view.
Convert = Callable[[Request, str], dict[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Rules:
    """What is sent, and as whom.

    `include` and `exclude` are path globs; with `include` only those paths count, whatever their suffix.
    `site` is what page addresses begin with when the log does not tell the host. `user_field` and
    `anonymous_field` are as `field_value` takes them, empty for none.
    """

    signing_key: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    site: str = ""
    user_field: str = ""
    anonymous_field: str = ""
    crawlers: bool = False


def page_message(request: Request, message_id: str, rules: Rules) -> dict[str, Any] | None:
    """The `page` message of a request, None when it is no page view. Raises BadLineError."""
    path, query = _path_and_query(request.target)
    if not _is_page_view(request, path, rules):
        return None
    page = _page(request, path, query, rules.site)
    return {
        "messageId": message_id,
        "type": "page",
        "timestamp": to_iso(request.at_ms),
        **_who(request, rules),
        "properties": page,
        "context": _context(request, page, query),
    }


def _path_and_query(target: str) -> tuple[str, str]:
    if target.startswith("/"):  # In //a/b the a is no host (RFC 9112, 3.2.1).
        path, _, query = target.partition("?")
        return path, query
    try:
        parts = urlsplit(target)
    except ValueError as error:
        raise BadLineError("the request target is no address") from error
    return parts.path or "/", parts.query


def _is_page_view(request: Request, path: str, rules: Rules) -> bool:
    if request.method != "GET" or request.status not in _SEEN:
        return False
    if any(fnmatchcase(path, glob) for glob in rules.exclude):
        return False
    if not rules.crawlers and _is_crawler(request.user_agent[:_MAX_AGENT_CHARACTERS]):
        return False
    if rules.include:
        return any(fnmatchcase(path, glob) for glob in rules.include)
    return _is_html(request, path)


def _is_html(request: Request, path: str) -> bool:
    if request.content_type:
        return request.content_type.partition(";")[0].strip().lower() in ("text/html", "application/xhtml+xml")
    return PurePosixPath(path).suffix.lower() in _PAGE_SUFFIXES


@lru_cache(maxsize=4096)
def _is_crawler(user_agent: str) -> bool:
    return bool(is_crawler(user_agent))


def _who(request: Request, rules: Rules) -> dict[str, str]:
    user_id = field_value(request, rules.user_field) if rules.user_field else ""
    anonymous_id = field_value(request, rules.anonymous_field) if rules.anonymous_field else ""
    if not user_id and not anonymous_id:
        # Not next to a user id: many people can share an address and a browser.
        anonymous_id = visitor_id(request, rules.signing_key)
    ids = {"userId": user_id, "anonymousId": anonymous_id}
    for name, value in ids.items():
        if len(value) > _MAX_ID_CHARACTERS:
            raise BadLineError(f"its {name} is longer than {_MAX_ID_CHARACTERS} characters")
    return {name: value for name, value in ids.items() if value}


def _page(request: Request, path: str, query: str, site: str) -> dict[str, str]:
    start = f"{request.scheme or 'https'}://{request.host}" if request.host else site.rstrip("/")
    search = f"?{query}" if query else ""
    page = {
        "path": path,
        "search": search,
        "url": f"{start}{path}{search}" if start else "",
        "referrer": request.referrer,
    }
    return {name: value for name, value in page.items() if value}


def _context(request: Request, page: dict[str, str], query: str) -> dict[str, Any]:
    told = dict(parse_qsl(query))
    context = {
        "library": LIBRARY,
        "page": page,
        "userAgent": request.user_agent,
        "ip": truncated_ip(request.ip),
        "campaign": {name: told[key] for key, name in _CAMPAIGN.items() if key in told},
    }
    return {name: value for name, value in context.items() if value}
