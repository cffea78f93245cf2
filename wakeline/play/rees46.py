"""The REES46 exports (https://rees46.com/en/datasets): a CSV row per view, cart, remove_from_cart or purchase.

Rows are in time order, as published. Purchases of one session at the same second are one order. A user is
introduced, with an address and consent that are made up, whenever half an hour has passed without a row:
remembering every user of a month would take memory without bound, and the same introduction twice changes
nothing. The data has no names, and a category without a code goes by its number.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from wakeline.clock import to_epoch_ms
from wakeline.play.message import (
    CHECKOUT,
    Moment,
    TimedMessage,
    article,
    article_page,
    identify,
    message_id,
    track,
)
from wakeline.play.ordering import gather, in_order
from wakeline.play.sessions import GapSessions
from wakeline.play.source import SourceFile, csv_rows, number

COLUMNS = (
    "event_time", "event_type", "product_id", "category_id", "category_code", "brand", "price", "user_id",
    "user_session",
)  # fmt: skip
EVENTS = {"view": "Product Viewed", "cart": "Product Added", "remove_from_cart": "Product Removed"}
ORDER = "purchase"


@dataclass(frozen=True, slots=True)
class Action:
    """A row; `session` is empty in a few rows of the published files."""

    line: int
    at_ms: int
    kind: str
    product_id: str
    category: str
    brand: str
    price: float
    person: str
    session: str


def read(source: SourceFile) -> Iterator[TimedMessage]:
    """The file's events in time order. Raises WakelineError naming the file and line that is wrong."""
    sessions = GapSessions()
    for actions in gather(in_order(source, _rows(source)), _together, window_ms=0):
        yield from _messages(actions, sessions)


def _rows(source: SourceFile) -> Iterator[Action]:
    for line, fields in csv_rows(source, COLUMNS):
        try:
            yield _row(line, fields)
        except ValueError as error:
            raise source.bad_line(line, error) from error


def _row(line: int, fields: list[str]) -> Action:
    time, kind, product_id, category_id, category_code, brand, price, user_id, session = fields
    if kind not in (*EVENTS, ORDER):
        raise ValueError(f"unknown event_type {kind!r}")
    category = category_code or category_id
    person = f"rees46-{user_id}"
    return Action(line, _at_ms(time), kind, product_id, category, brand, number(price), person, session)


def _messages(actions: list[Action], sessions: GapSessions) -> Iterator[TimedMessage]:
    first = actions[0]
    gap_session, is_new = sessions.touch(first.person, first.at_ms)
    page = CHECKOUT if first.kind == ORDER else article_page(first.product_id)
    moment = Moment(first.at_ms, first.person, first.person, first.session or gap_session, page)
    if is_new:
        yield _introduction(moment, gap_session)
    yield _message(moment, actions)


def _introduction(moment: Moment, gap_session: str) -> TimedMessage:
    traits = {"email": f"{moment.user_id}@example.com"}
    return identify(moment, traits, True, message_id("rees46", "identify", gap_session))


def _message(moment: Moment, actions: list[Action]) -> TimedMessage:
    first = actions[0]
    identity = message_id("rees46", first.person, first.at_ms, first.kind, first.product_id, first.line)
    if first.kind == ORDER:
        return track(moment, "Order Completed", _order(moment, actions), identity)
    return track(moment, EVENTS[first.kind], _product(first), identity)


def _order(moment: Moment, actions: list[Action]) -> dict[str, Any]:
    total = round(sum(action.price for action in actions), 2)
    order_id = f"{moment.session_id}-{moment.at_ms // 1000}"
    products = [_product(action) for action in actions]
    return {"order_id": order_id, "total": total, "revenue": total, "products": products}


def _product(action: Action) -> dict[str, Any]:
    named = {"category": action.category, "brand": action.brand}
    known = {key: value for key, value in named.items() if value}
    return article(action.product_id, **known, price=action.price, quantity=1)


def _together(action: Action) -> Hashable:
    return (action.person, action.session) if action.kind == ORDER else action.line


@lru_cache(maxsize=1024)
def _at_ms(time: str) -> int:
    return to_epoch_ms(datetime.strptime(time, "%Y-%m-%d %H:%M:%S UTC"))  # noqa: DTZ007 - to_epoch_ms takes UTC
