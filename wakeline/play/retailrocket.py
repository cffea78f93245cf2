"""The Retailrocket data set, its events.csv: a row per view, addtocart or transaction.

https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset. The published file is not in time order, so it
is sorted by way of temporary files first. Rows of one transaction are one order. A visitor is introduced, with
an address and consent that are made up, whenever half an hour has passed without a row, so that memory stays
bounded. The data knows items by number only: no names, categories or prices.
"""

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

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
from wakeline.play.ordering import gather, sorted_lines
from wakeline.play.sessions import GapSessions
from wakeline.play.source import SourceFile, csv_rows

COLUMNS = ("timestamp", "visitorid", "event", "itemid", "transactionid")
EVENTS = {"view": "Product Viewed", "addtocart": "Product Added"}
ORDER = "transaction"
# Rows of one transaction are written within moments of each other.
_TRANSACTION_WINDOW_MS = 10 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Action:
    """A row; `transaction` is empty unless it is a transaction."""

    line: int
    at_ms: int
    person: str
    kind: str
    product_id: str
    transaction: str


def read(source: SourceFile) -> Iterator[TimedMessage]:
    """The file's events in time order. Raises WakelineError naming the file and line that is wrong."""
    sessions = GapSessions()
    for actions in gather(_rows(source), _together, _TRANSACTION_WINDOW_MS):
        yield from _messages(actions, sessions)


def _rows(source: SourceFile) -> Iterator[Action]:
    tally: Counter[str] = Counter()
    source.count_from(lambda: source.size_bytes * tally["given"] // max(tally["read"], 1))
    for text in sorted_lines(_sortable(source, tally)):
        tally["given"] += 1
        at_ms, line, visitor, kind, item, transaction = text.rstrip("\n").split(",")
        yield Action(int(line), int(at_ms), f"retailrocket-{visitor}", kind, item, transaction)


def _sortable(source: SourceFile, tally: Counter[str]) -> Iterator[str]:
    for line, fields in csv_rows(source, COLUMNS):
        tally["read"] += 1
        try:
            yield _row(line, fields)
        except ValueError as error:
            raise source.bad_line(line, error) from error


def _row(line: int, fields: list[str]) -> str:
    timestamp, visitor, kind, item, transaction = map(str.strip, fields)
    if kind not in (*EVENTS, ORDER):
        raise ValueError(f"unknown event {kind!r}")
    if (kind == ORDER) != (transaction != ""):
        raise ValueError("a transaction needs a transactionid, and nothing else has one")
    order = int(transaction) if transaction else ""
    return f"{int(timestamp):015d},{line:012d},{int(visitor)},{kind},{int(item)},{order}\n"


def _messages(actions: list[Action], sessions: GapSessions) -> Iterator[TimedMessage]:
    first = actions[0]
    session_id, is_new = sessions.touch(first.person, first.at_ms)
    page = CHECKOUT if first.kind == ORDER else article_page(first.product_id)
    moment = Moment(first.at_ms, first.person, first.person, session_id, page)
    if is_new:
        yield _introduction(moment)
    yield _message(moment, actions)


def _introduction(moment: Moment) -> TimedMessage:
    traits = {"email": f"{moment.user_id}@example.com"}
    return identify(moment, traits, True, message_id("retailrocket", "identify", moment.session_id))


def _message(moment: Moment, actions: list[Action]) -> TimedMessage:
    first = actions[0]
    identity = message_id("retailrocket", first.person, first.at_ms, first.kind, first.product_id, first.line)
    if first.kind == ORDER:
        return track(moment, "Order Completed", _order(actions), identity)
    return track(moment, EVENTS[first.kind], article(first.product_id, quantity=1), identity)


def _order(actions: list[Action]) -> dict[str, Any]:
    products = [article(action.product_id, quantity=1) for action in actions]
    return {"order_id": f"retailrocket-{actions[0].transaction}", "products": products}


def _together(action: Action) -> Hashable:
    return (action.person, action.transaction) if action.kind == ORDER else action.line
