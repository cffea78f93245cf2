"""Messages in the Segment spec's shapes, with their original time.

The spec: https://segment.com/docs/connections/spec/.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Imported pages have no address of their own; example.com is reserved for such use (RFC 2606).
SHOP_URL = "https://shop.example.com"
LIBRARY = {"name": "wakeline-play"}
_NAMESPACE = uuid.UUID("6f5f1c1e-93a4-4f0c-9f5e-1d7f0a7f6b52")


@dataclass(frozen=True, slots=True)
class TimedMessage:
    """A Segment message without timestamps; `at_ms` is when it originally happened, in milliseconds.

    Imported times count from the Unix epoch, simulated times from the start of the simulation.
    """

    at_ms: int
    message: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the shop at `site`; `path` starts with a slash."""

    path: str
    title: str
    site: str = SHOP_URL


#: Where imported orders happen.
CHECKOUT = Page("/checkout", "Checkout")


@dataclass(frozen=True, slots=True)
class Moment:
    """Who did something, when and where; an empty id is left out of the message."""

    at_ms: int
    anonymous_id: str
    user_id: str
    session_id: str
    page: Page


def message_id(*identity: str | int) -> str:
    """The same id for the same source row, whenever and wherever it is read."""
    return str(uuid.uuid5(_NAMESPACE, "/".join(map(str, identity))))


def track(moment: Moment, event: str, properties: Mapping[str, Any], identity: str) -> TimedMessage:
    """A `track` call; `identity` becomes its messageId."""
    body = {**_common(moment, "track", identity), "event": event, "properties": properties}
    return TimedMessage(moment.at_ms, body)


def page_view(moment: Moment, category: str, identity: str) -> TimedMessage:
    """A `page` call for the moment's page; an empty category is left out."""
    properties = _page(moment.page) | ({"category": category} if category else {})
    body = {**_common(moment, "page", identity), "name": moment.page.title, "properties": properties}
    return TimedMessage(moment.at_ms, body)


def identify(moment: Moment, traits: Mapping[str, str], marketing: bool, identity: str) -> TimedMessage:
    """An `identify` call with the marketing consent in the Segment consent spec's place."""
    body = {**_common(moment, "identify", identity), "traits": traits}
    body["context"]["consent"] = {"categoryPreferences": {"marketing": marketing}}
    return TimedMessage(moment.at_ms, body)


def article(product_id: str, **known: str | float) -> dict[str, Any]:
    """Properties of a product that a data set knows by its number, with whatever else is `known` of it."""
    name, url = f"Article {product_id}", f"{SHOP_URL}/products/{product_id}"
    return {"product_id": product_id, "name": name, **known, "url": url}


def article_page(product_id: str) -> Page:
    """The page of a product that a data set knows by its number."""
    return Page(f"/products/{product_id}", f"Article {product_id}")


def _common(moment: Moment, kind: str, identity: str) -> dict[str, Any]:
    body: dict[str, Any] = {"messageId": identity, "type": kind}
    if moment.anonymous_id:
        body["anonymousId"] = moment.anonymous_id
    if moment.user_id:
        body["userId"] = moment.user_id
    body["context"] = {"sessionId": moment.session_id, "page": _page(moment.page), "library": LIBRARY}
    return body


def _page(page: Page) -> dict[str, str]:
    return {"path": page.path, "url": page.site + page.path, "title": page.title}
