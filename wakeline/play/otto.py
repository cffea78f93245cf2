"""The OTTO data set (https://github.com/otto-de/recsys-dataset, CC BY 4.0): a shopper session per JSON line.

Each session is taken as one person with an address and consent of its own, both made up. The data knows
articles by number only: no names, categories or prices. Lines must be in the order of their first event, as
published.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import orjson

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
from wakeline.play.ordering import in_order, interleave
from wakeline.play.sessions import GapSessions
from wakeline.play.source import SourceFile

EVENTS = {"clicks": "Product Viewed", "carts": "Product Added"}
ORDER = "orders"


@dataclass(frozen=True, slots=True)
class Action:
    """One thing a person did: `kind` is clicks, carts or orders; `number` counts within the session."""

    number: int
    at_ms: int
    product_id: str
    kind: str


@dataclass(frozen=True, slots=True)
class Session:
    """A line of the file; `at_ms` is its first action."""

    line: int
    at_ms: int
    person: str
    actions: list[Action]


def read(source: SourceFile) -> Iterator[TimedMessage]:
    """The file's events in time order. Raises WakelineError naming the file and line that is wrong."""
    return interleave(_messages(session) for session in in_order(source, _rows(source)))


def _rows(source: SourceFile) -> Iterator[Session]:
    for line, text in enumerate(source.lines(), start=1):
        try:
            yield _row(line, orjson.loads(text))
        except KeyError as error:
            raise source.bad_line(line, f"the key {error} is missing, so this is not OTTO data") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise source.bad_line(line, f"not a session of OTTO data ({error})") from error


def _row(line: int, record: dict[str, Any]) -> Session:
    events = sorted(record["events"], key=lambda event: int(event["ts"]))
    actions = [_action(count, event) for count, event in enumerate(events)]
    if not actions:
        raise ValueError("it has no events")
    return Session(line, actions[0].at_ms, f"otto-{record['session']}", actions)


def _action(number: int, event: dict[str, Any]) -> Action:
    if event["type"] not in (*EVENTS, ORDER):
        raise ValueError(f"unknown event type {event['type']!r}")
    return Action(number, int(event["ts"]), str(event["aid"]), event["type"])


def _messages(session: Session) -> Iterator[TimedMessage]:
    sessions = GapSessions()
    yield _introduction(session)
    # The lines of one order are consecutive and have the same time; other actions stand alone.
    for _, actions in groupby(session.actions, lambda it: (it.at_ms, -1 if it.kind == ORDER else it.number)):
        together = list(actions)
        session_id, _ = sessions.touch(session.person, together[0].at_ms)
        yield _message(session.person, session_id, together)


def _introduction(session: Session) -> TimedMessage:
    session_id, _ = GapSessions().touch(session.person, session.at_ms)
    page = article_page(session.actions[0].product_id)
    moment = Moment(session.at_ms, session.person, session.person, session_id, page)
    traits = {"email": f"{session.person}@example.com"}
    return identify(moment, traits, True, message_id("otto", "identify", session.person))


def _message(person: str, session_id: str, actions: list[Action]) -> TimedMessage:
    first = actions[0]
    page = CHECKOUT if first.kind == ORDER else article_page(first.product_id)
    moment = Moment(first.at_ms, person, person, session_id, page)
    identity = message_id("otto", person, first.at_ms, first.number)
    if first.kind == ORDER:
        return track(moment, "Order Completed", _order(person, actions), identity)
    return track(moment, EVENTS[first.kind], article(first.product_id, quantity=1), identity)


def _order(person: str, actions: list[Action]) -> dict[str, Any]:
    products = [article(action.product_id, quantity=1) for action in actions]
    return {"order_id": f"{person}-{actions[0].at_ms}", "products": products}
