from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clocks import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS
from support.messages import MAX_EVENT_BYTES, Message, record, rows, track

from wakeline.clock import to_iso
from wakeline.pipeline.classify import LandingRow, classify, mark_as_landed, mark_duplicates
from wakeline.streams.protocol import Record

TRACK = track("Product Viewed", "m1", user="ann", device="phone")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
# Mostly what the code looks at, with anything at all in its place.
messages = st.fixed_dictionaries(
    {"type": st.just("track") | json_values, "messageId": texts | json_values},
    optional={
        name: texts | json_values
        for name in ("userId", "anonymousId", "event", "name", "properties", "traits", "context")
    }
    | {name: st.datetimes().map(str) | json_values for name in ("timestamp", "originalTimestamp", "sentAt")},
)
headers = st.fixed_dictionaries(
    {},
    optional={
        "receivedAt": st.integers(0, 2**63) | json_values,
        "source": texts | json_values,
        "sentAt": st.datetimes().map(str) | json_values,
    },
)
envelopes = st.tuples(headers | json_values, messages.map(orjson.dumps) | st.binary(max_size=40)).map(
    lambda parts: orjson.dumps(parts[0]) + b"\n" + parts[1]
)
values = st.binary(max_size=60) | envelopes


def one(message: Message | bytes, **how: Any) -> LandingRow:
    return classify(record(message, **how), MAX_EVENT_BYTES)


def without(*fields: str) -> Message:
    return {field: value for field, value in TRACK.items() if field not in fields}


def quarantined() -> Iterator[tuple[str, Message | bytes]]:
    yield "the message is not JSON", b'{"type": "track"'
    yield "the message is not an object", b'["track"]'
    yield "properties is not an object", TRACK | {"properties": "all of them"}
    yield "traits is not an object", TRACK | {"traits": [1]}
    yield "context is not an object", TRACK | {"context": 7}
    yield "type is missing", without("type")
    yield "type is none of the Segment spec's", TRACK | {"type": "tracked"}
    yield "type is none of the Segment spec's", TRACK | {"type": ["track"]}
    yield "userId is neither text nor a whole number", TRACK | {"userId": True}
    yield "anonymousId is neither text nor a whole number", TRACK | {"anonymousId": 1.5}
    yield "userId is longer than 255 characters", TRACK | {"userId": "a" * 256}
    yield "neither userId nor anonymousId, nor an e-mail address", without("userId", "anonymousId")
    yield "neither userId nor anonymousId, nor an e-mail address", TRACK | {"userId": "", "anonymousId": None}
    yield (
        "the e-mail address is longer than 254 characters",
        without("userId", "anonymousId") | {"traits": {"email": "a" * 255}},
    )
    yield "messageId is missing", without("messageId")
    yield "messageId is missing", TRACK | {"messageId": ""}
    yield "messageId is neither text nor a whole number", TRACK | {"messageId": ["m1"]}
    yield "a track message without an event name", without("event")
    yield "a track message without an event name", TRACK | {"event": 5}
    yield "timestamp is not an ISO 8601 time", TRACK | {"timestamp": "yesterday"}
    yield "originalTimestamp is not an ISO 8601 time", TRACK | {"originalTimestamp": 1_800_000_000}
    yield "sentAt is not an ISO 8601 time", TRACK | {"sentAt": "soon"}
    yield "the event time is before 1970", TRACK | {"timestamp": "1969-12-31T23:59:59Z"}
    yield f"the message is larger than {MAX_EVENT_BYTES} bytes", TRACK | {"properties": {"note": "x" * MAX_EVENT_BYTES}}


@pytest.mark.parametrize(("reason", "message"), [pytest.param(*case, id=case[0]) for case in quarantined()])
def test_a_message_that_breaks_the_contract_is_kept_with_its_reason_and_raw_bytes(
    reason: str, message: Message | bytes
) -> None:
    row = one(message)
    assert (row.status, row.reason) == ("quarantined", reason)
    assert row.message == (message if isinstance(message, bytes) else orjson.dumps(message))
    assert (row.received_at_ms, row.occurred_at_ms, row.parsed) == (NOW_MS, NOW_MS, None)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"not a header\n{}",
        b'{"source": "default", "sentAt": null}\n{}',
        b"[]\n{}",
        b'{"receivedAt": "now", "source": "default", "sentAt": null}\n{}',
        b'{"receivedAt": -1, "source": "default", "sentAt": null}\n{}',
        b'{"receivedAt": 99999999999999999, "source": "default", "sentAt": null}\n{}',
        b'{"receivedAt": 1800000000000, "source": null, "sentAt": null}\n{}',
        b'{"receivedAt": 1800000000000, "source": "default", "sentAt": 7}\n{}',
    ],
)
def test_a_record_whose_envelope_is_not_readable_is_kept_whole(value: bytes) -> None:
    row = classify(Record(3, 8, NOW_MS, "key", value), MAX_EVENT_BYTES)
    assert (row.status, row.reason) == ("quarantined", "the envelope is not readable")
    assert (row.partition, row.offset, row.message) == (3, 8, value)
    assert row.received_at_ms == row.occurred_at_ms == NOW_MS


def test_an_accepted_row_says_whose_event_it_is_and_what_happened() -> None:
    row = one(TRACK)
    assert (row.status, row.reason, row.message_id) == ("accepted", "", "m1")
    assert (row.id, row.user_id, row.anonymous_id) == ("user:ann", "ann", "phone")
    assert (row.type, row.event, row.source) == ("track", "Product Viewed", "default")
    assert row.parsed == TRACK


@pytest.mark.parametrize(
    "said",
    [
        {"properties": {"email": " Ann@Example.com"}},
        {"traits": {"email": "ann@example.com"}},
        {"context": {"traits": {"email": "ann@example.com"}}},
    ],
)
def test_an_event_without_ids_belongs_to_the_address_it_names(said: Message) -> None:
    row = one(without("userId", "anonymousId", "properties") | said)
    assert (row.status, row.id, row.user_id, row.anonymous_id) == ("accepted", "email:ann@example.com", "", "")
    assert one(TRACK | said).id == "user:ann"


def test_an_event_belongs_to_the_device_while_nobody_is_logged_in() -> None:
    assert one(without("userId")).id == "anonymous:phone"


def test_a_number_as_an_id_is_the_same_as_its_text() -> None:
    assert one(TRACK | {"userId": 17850}).id == one(TRACK | {"userId": "17850"}).id == "user:17850"


@pytest.mark.parametrize("kind", ["page", "screen", "identify", "group", "alias"])
def test_only_a_track_message_has_an_event_name_and_needs_one(kind: str) -> None:
    assert one(without("event") | {"type": kind}).status == "accepted"
    assert one(without("event") | {"type": kind, "name": "Order Completed"}).event == ""


def test_the_time_of_an_event_is_corrected_by_how_wrong_the_clients_clock_was_when_it_sent() -> None:
    an_hour_fast = {"timestamp": to_iso(NOW_MS + HOUR_MS - MINUTE_MS)}
    row = one(TRACK | an_hour_fast, sent_at=to_iso(NOW_MS + HOUR_MS))
    assert row.occurred_at_ms == NOW_MS - MINUTE_MS


def test_the_batchs_time_of_sending_counts_before_the_messages_own() -> None:
    message = TRACK | {"timestamp": to_iso(NOW_MS - MINUTE_MS), "sentAt": to_iso(NOW_MS + DAY_MS)}
    assert one(message, sent_at=to_iso(NOW_MS)).occurred_at_ms == NOW_MS - MINUTE_MS
    assert one(message | {"sentAt": to_iso(NOW_MS)}).occurred_at_ms == NOW_MS - MINUTE_MS


def test_the_clients_original_time_counts_before_a_corrected_one() -> None:
    message = TRACK | {"originalTimestamp": to_iso(NOW_MS - HOUR_MS), "timestamp": to_iso(NOW_MS - MINUTE_MS)}
    assert one(message).occurred_at_ms == NOW_MS - HOUR_MS


def test_a_time_without_a_zone_is_utc_and_one_with_a_zone_is_converted() -> None:
    assert one(TRACK | {"timestamp": "2027-01-15T07:00:00"}).occurred_at_ms == NOW_MS - HOUR_MS
    assert one(TRACK | {"timestamp": "2027-01-15T08:30:00+01:30"}).occurred_at_ms == NOW_MS - HOUR_MS


def test_an_event_without_a_time_happened_when_it_was_received() -> None:
    assert one(without("timestamp")).occurred_at_ms == NOW_MS


def test_no_event_happens_after_it_was_received() -> None:
    in_future = {"timestamp": to_iso(NOW_MS + DAY_MS)}
    assert one(TRACK | in_future).occurred_at_ms == NOW_MS
    assert one(TRACK | in_future, sent_at=to_iso(NOW_MS)).occurred_at_ms == NOW_MS


def test_the_second_of_two_messages_with_one_id_is_a_duplicate_that_says_nothing() -> None:
    first, second, other = mark_duplicates(rows(TRACK, TRACK, track("Product Viewed", "m2", user="ann")), seen=set())
    assert [row.status for row in (first, second, other)] == ["accepted", "duplicate", "accepted"]
    assert (second.reason, second.parsed) == ("the message id was accepted before", None)
    assert second.message == first.message


def test_a_message_accepted_in_an_earlier_batch_is_a_duplicate() -> None:
    [row] = mark_duplicates(rows(TRACK, partition=2), seen={"m1"})
    assert row.status == "duplicate"


def test_a_repetition_in_another_partition_is_a_duplicate_too() -> None:
    marked = mark_duplicates([*rows(TRACK, partition=0), *rows(TRACK, partition=1)], seen=set())
    assert [row.status for row in marked] == ["accepted", "duplicate"]


def test_a_batch_that_landing_has_keeps_the_duplicates_that_landing_knows() -> None:
    found = rows(TRACK, track("Product Viewed", "m2", user="ann"), TRACK, partition=3)
    known = {(3, 0): "accepted", (3, 1): "duplicate", (3, 2): "duplicate"}
    marked = mark_as_landed(found, known, seen={"m1", "m2"})
    assert [row.status for row in marked] == ["accepted", "duplicate", "duplicate"]


def test_of_a_batch_that_landing_has_in_part_the_rest_is_marked_anew() -> None:
    found = rows(TRACK, track("Product Viewed", "m2", user="ann"), TRACK, track("Product Viewed", "m3", user="ann"))
    marked = mark_as_landed(found, {(0, 0): "accepted"}, seen={"m3"})
    assert [row.status for row in marked] == ["accepted", "accepted", "duplicate", "duplicate"]


def test_a_message_in_quarantine_does_not_make_its_repaired_successor_a_duplicate() -> None:
    marked = mark_duplicates(rows(without("event"), TRACK), seen=set())
    assert [row.status for row in marked] == ["quarantined", "accepted"]


def test_marking_leaves_what_it_was_given_alone() -> None:
    seen: set[str] = set()
    mark_duplicates(rows(TRACK), seen)
    assert not seen


@given(st.lists(values, max_size=8))
def test_whatever_stands_in_the_stream_every_record_becomes_exactly_one_row(stream: list[bytes]) -> None:
    records = [Record(1, offset, NOW_MS, "key", value) for offset, value in enumerate(stream)]
    marked = mark_duplicates([classify(each, MAX_EVENT_BYTES) for each in records], seen=set())
    assert [row.offset for row in marked] == list(range(len(stream)))
    for row, value in zip(marked, stream, strict=True):
        assert row.status in ("accepted", "duplicate", "quarantined")
        assert (row.reason == "") == (row.status == "accepted")
        assert value.endswith(row.message)
        assert 0 <= row.occurred_at_ms <= row.received_at_ms
        assert isinstance(row.source, str)
    accepted = [row.message_id for row in marked if row.status == "accepted"]
    assert len(set(accepted)) == len(accepted)
