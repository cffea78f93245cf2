"""Stream, warehouse, ledger and outbox of a stack, against each other and against what was played into it."""

from typing import Any

import sqlalchemy as sa

from support.stack import RunningStack
from wakeline.clock import system_clock
from wakeline.database import offsets, sends
from wakeline.events import stream_key
from wakeline.report import build_report

# Everything below is filled in the same insert as landing: a difference is a view that lost or repeated a batch.
_VIEW_TOTALS = """
    SELECT
        (SELECT count() FROM landing_message_ids) AS message_ids,
        (SELECT count() FROM events) AS events,
        (SELECT sum(event_count) FROM person_states) AS of_persons,
        (SELECT sum(event_count) FROM session_states) AS of_sessions,
        (SELECT sum(view_count) FROM product_states) AS product_views,
        (SELECT sum(engaged_ms) FROM category_states) AS engaged_ms,
        (SELECT count() FROM wakeups) AS wakeups
"""
_TRIGGERS = ("abandoned_cart", "category_dwell", "order_confirmation")


def assert_everything_adds_up(stack: RunningStack) -> None:
    """Stream, warehouse, ledger and outbox against each other and against what the simulator generated."""
    whole = {one["messageId"]: one for one in stack.messages if is_whole(one)}
    report = build_report(stack.settings, system_clock)
    assert report["received"] == report["accepted"] + report["duplicate"] + report["quarantined"]
    assert report["received"] >= len(stack.messages)
    assert report["accepted"] == len(whole)
    assert {row[0] for row in stack.warehouse("SELECT message_id FROM landing WHERE status = 'accepted'")} == set(whole)
    assert list(stack.warehouse(_VIEW_TOTALS)[0]) == view_totals(list(whole.values()))
    assert_ledger_and_outbox_agree(stack)
    assert_everything_that_happened_was_decided(stack, list(whole.values()))


def is_whole(message: dict[str, Any]) -> bool:
    """Whether the simulator left of the message what it takes: somebody, or an address, and an event's name."""
    somebody = message.get("anonymousId") or message.get("userId") or message.get("traits", {}).get("email")
    return bool(somebody and (message["type"] != "track" or "event" in message))


def view_totals(messages: list[dict[str, Any]]) -> list[int]:
    """What the views must add up to, in the order of _VIEW_TOTALS."""
    count, events = len(messages), [one.get("event") for one in messages]
    engaged = [one["properties"] for one in messages if one.get("event") == "Page Engaged"]
    engaged_ms = sum(one["engaged_seconds"] * 1000 for one in engaged if one.get("category"))
    return [count, count, count, count, events.count("Product Viewed"), engaged_ms, events.count("Product Added")]


def assert_ledger_and_outbox_agree(stack: RunningStack) -> None:
    """Every decision is final, and every sent key has its one mail, written once."""
    rows = stack.ledger(sa.select(sends.c.idempotency_key, sends.c.state))
    assert {row["state"] for row in rows} == {"sent", "skipped"}
    sent = [row["idempotency_key"] for row in rows if row["state"] == "sent"]
    assert len(sent) == len(set(sent)) == len(stack.mails())
    assert set(sent) == set(stack.mails())


def assert_everything_that_happened_was_decided(stack: RunningStack, messages: list[dict[str, Any]]) -> None:
    """Each order is confirmed, and each occurrence that the triggers see in the whole history has a decision."""
    rows = stack.ledger(sa.select(sends.c.campaign, sends.c.profile_id, sends.c.occurrence_key, sends.c.state))
    orders = [one["properties"]["order_id"] for one in messages if one.get("event") == "Order Completed"]
    confirmed = [row for row in rows if row["campaign"] == "order_confirmation" and row["state"] == "sent"]
    assert sorted(row["occurrence_key"] for row in confirmed) == sorted(f"order/{order}" for order in orders)
    decided = {(row["campaign"], row["profile_id"], row["occurrence_key"]) for row in rows}
    for trigger in _TRIGGERS:
        happened = stack.warehouse(f"SELECT profile_id, occurrence_key FROM {trigger}")  # noqa: S608 - a constant
        assert {(trigger, *row) for row in happened} <= decided


def everything_written(stack: RunningStack) -> list[Any]:
    """All that a run writes, except the heartbeat of the one that holds the lane."""
    lane = stack.lane()
    return [
        stack.ledger(sa.select(sends).order_by(sends.c.idempotency_key)),
        stack.ledger(sa.select(offsets).order_by(offsets.c.partition)),
        (lane.holder, lane.fencing_token),
        stack.mails(),
        stack.warehouse("SELECT status, count() FROM landing GROUP BY status ORDER BY status"),
        stack.warehouse(_VIEW_TOTALS),
    ]


def as_posted(messages: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Stream key -> the ids of its messages in the order they were made, each once."""
    order: dict[str, dict[str, None]] = {}
    for message in filter(is_whole, messages):
        order.setdefault(stream_key(message), {})[message["messageId"]] = None
    return {key: list(ids) for key, ids in order.items()}


def in_landing(stack: RunningStack) -> dict[str, list[str]]:
    """The same in the order of the stream."""
    query = "SELECT user_id, anonymous_id, message_id FROM landing WHERE status = 'accepted' ORDER BY partition, offset"
    order: dict[str, list[str]] = {}
    for user_id, anonymous_id, message_id in stack.warehouse(query):
        key = stream_key({"anonymousId": anonymous_id, "userId": user_id, "messageId": message_id})
        order.setdefault(key, []).append(message_id)
    return order
