"""The web links of a mail's HTML, found and replaced without touching anything else of it.

Only start tags are read, by the grammar of https://html.spec.whatwg.org/multipage/syntax.html#start-tags. A parser
that writes the whole document anew would cost half as much as rendering, and could lose what MJML writes into
conditional comments for Outlook; links in these are found as well.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape, unescape
from urllib.parse import urlsplit

#: A link's name becomes part of addresses.
MAX_NAME_CHARACTERS = 100

_START_TAG = re.compile(r"""<(?:a|area)(?=[\s/])(?:[^>"']|"[^"]*"|'[^']*')*>""", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""([^\s"'<>/=]+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")
#: MJML takes `name` on a button and on a picture; `data-link-id` is for links written in HTML.
_NAMES = ("data-link-id", "name")


@dataclass(frozen=True, slots=True)
class Anchor:
    """A link with a web address; `start` and `end` enclose the attribute's value, `name` is empty without one."""

    start: int
    end: int
    address: str
    name: str


def find_anchors(html: str) -> list[Anchor]:
    """The links to http and https addresses, in order."""
    return [anchor for tag in _START_TAG.finditer(html) for anchor in _anchors(tag)]


def replace_addresses(html: str, anchors: Sequence[Anchor], addresses: Sequence[str]) -> str:
    """The HTML with each anchor's address replaced by the one at its place in `addresses`."""
    parts, position = [], 0
    for anchor, address in zip(anchors, addresses, strict=True):
        parts += [html[position : anchor.start], escape(address)]
        position = anchor.end
    return "".join([*parts, html[position:]])


def _anchors(tag: re.Match[str]) -> Iterator[Anchor]:
    found = {match[1].lower(): match for match in reversed(list(_ATTRIBUTE.finditer(tag[0])))}
    href = found.get("href")
    if href is None:
        return
    address = unescape(_value(href)).strip()
    if _is_web(address):
        group = 2 if href[2] is not None else 3
        names = (unescape(_value(found[name])).strip() for name in _NAMES if name in found)
        name = next((name for name in names if name), "")
        yield Anchor(
            tag.start() + href.start(group), tag.start() + href.end(group), address, name[:MAX_NAME_CHARACTERS]
        )


def _value(attribute: re.Match[str]) -> str:
    return attribute[3] if attribute[2] is None else attribute[2]


def _is_web(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)
