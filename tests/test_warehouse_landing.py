from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.clocks import DAY_MS, HOUR_MS, NOW_MS
from support.messages import MAX_EVENT_BYTES, Message, identify, record, rows, track
from support.warehouse import CHAIN, Site, empty

from wakeline.clock import to_iso
from wakeline.errors import WarehouseError
from wakeline.pipeline.classify import LandingRow, classify, mark_duplicates
from wakeline.warehouse.landing import Landing, token

pytestmark = pytest.mark.stack

RANGES = {0: (0, 8)}

#: A batch that puts at least one row into every table of the chain.
EVERYTHING = [
    identify("m1", user="ann", device="phone", email="ann@example.com", marketing=False),
    track("Product Viewed", "m2", user="ann", product_id="p1", category="bags"),
    track("Page Engaged", "m3", user="ann", product_id="p1", category="bags", engaged_seconds=15),
    track("Product Added", "m4", user="ann", product_id="p1", quantity=2, cart_id="c1"),
    track("Order Completed", "m5", user="ann", order_id="o1", total=20, products=[{"product_id": "p1"}]),
    track("Product Viewed", "m6", device="tablet", product_id="p2", category="bags"),
    track("Email Delivered", "m7", user="ann", campaign="order_confirmation"),
    {"type": "track", "messageId": "m8", "userId": "ann"},
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
texts = st.text(min_size=1, max_size=6)
PROPERTIES = (
    "product_id", "name", "category", "price", "currency", "quantity", "url", "image_url", "cart_id", "order_id",
    "total", "engaged_seconds", "scroll_depth_percent", "path", "products",
)  # fmt: skip
EVENTS = (
    "Product Added", "Product Viewed", "Order Completed", "Page Engaged", "Unsubscribed",
    "Segment Consent Preference Updated",
)  # fmt: skip
preferences = st.fixed_dictionaries({"categoryPreferences": st.dictionaries(texts, json_values, max_size=3)})
wild_messages = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["track", "identify", "page"]),
        "messageId": texts,
        "userId": texts,
        "event": st.sampled_from(EVENTS) | texts,
        "timestamp": st.datetimes().map(lambda moment: moment.isoformat()),
        "properties": st.dictionaries(st.sampled_from(PROPERTIES), json_values, max_size=6),
    },
    optional={
        "anonymousId": texts,
        "traits": st.dictionaries(st.sampled_from(["email", "firstName", "timezone"]), json_values),
        "context": st.dictionaries(st.sampled_from(["sessionId", "traits", "page", "consent"]), json_values)
        | st.fixed_dictionaries({"consent": preferences}),
    },
)


@pytest.fixture
def landing(site: Site) -> Landing:
    return Landing(site.client, site.settings.stream.name)


@pytest.fixture
def unmerged(site: Site) -> Iterator[None]:
    """No rows of a table are put together in the background, so that rows inserted twice stay visible."""
    for table in CHAIN:
        site.client.command(f"SYSTEM STOP MERGES {table}")
    yield
    for table in CHAIN:
        site.client.command(f"SYSTEM START MERGES {table}")


def inserted(site: Site) -> dict[str, int]:
    """How many rows were inserted into each table of the chain."""
    return {table: site.rows(f"SELECT count() FROM {table}")[0][0] for table in CHAIN}  # noqa: S608


def statuses_of(messages: list[LandingRow]) -> Counter[str]:
    return Counter(row.status for row in messages)


@pytest.mark.usefixtures("unmerged")
def test_the_same_ranges_count_once_in_every_table_of_the_chain(site: Site, landing: Landing) -> None:
    landing.insert(rows(*EVERYTHING), RANGES)
    once, profiles = inserted(site), site.profiles()
    assert all(once.values()), once
    for _ in range(3):
        landing.insert(rows(*EVERYTHING), RANGES)
    assert inserted(site) == once
    assert site.profiles() == profiles


@pytest.mark.usefixtures("unmerged")
def test_the_same_ranges_count_once_even_when_a_newer_version_reads_their_rows_differently(
    site: Site, landing: Landing
) -> None:
    landing.insert(rows(*EVERYTHING), RANGES)
    once, profiles = inserted(site), site.profiles()
    changed = [{**message, "timestamp": to_iso(NOW_MS - HOUR_MS)} for message in EVERYTHING]
    landing.insert(rows(*changed), RANGES)
    assert inserted(site) == once
    assert site.profiles() == profiles


@pytest.mark.usefixtures("unmerged")
def test_the_same_rows_in_other_ranges_or_of_another_stream_are_another_batch(site: Site, landing: Landing) -> None:
    landing.insert(rows(*EVERYTHING), RANGES)
    once = inserted(site)
    landing.insert(rows(*EVERYTHING, first=8), {0: (8, 16)})
    landing.insert(rows(*EVERYTHING, partition=1), {1: (0, 8)})
    Landing(site.client, "another").insert(rows(*EVERYTHING), RANGES)
    assert inserted(site) == {table: 4 * count for table, count in once.items()}


@pytest.mark.usefixtures("unmerged")
@pytest.mark.parametrize("table", CHAIN[1:])
def test_a_batch_that_was_cut_off_before_a_table_of_the_chain_is_healed_by_doing_it_again(
    site: Site, landing: Landing, table: str
) -> None:
    landing.insert(rows(*EVERYTHING), RANGES)
    whole, profiles = inserted(site), site.profiles()
    empty(site.client)

    site.client.command(f"ALTER TABLE {table} ADD CONSTRAINT cut_off CHECK 0")
    try:
        with pytest.raises(WarehouseError, match="ClickHouse did not take a batch of landing"):
            landing.insert(rows(*EVERYTHING), RANGES)
    finally:
        site.client.command(f"ALTER TABLE {table} DROP CONSTRAINT cut_off")
    cut = inserted(site)
    assert (cut["landing"], cut[table]) == (whole["landing"], 0), "The batch was not cut off in the middle."

    landing.insert(rows(*EVERYTHING), RANGES)
    assert inserted(site) == whole
    assert site.profiles() == profiles


@pytest.mark.usefixtures("unmerged")
def test_a_batch_over_many_months_and_days_is_one_batch_too(site: Site, landing: Landing) -> None:
    messages = [
        track("Product Added", f"m{age}", user="ann", product_id="p1", at_ms=NOW_MS - age * 31 * DAY_MS)
        for age in range(300)
    ]
    found = [
        classify(record(message, 0, offset, received_at_ms=NOW_MS - offset * DAY_MS), MAX_EVENT_BYTES)
        for offset, message in enumerate(messages)
    ]
    for _ in range(2):
        landing.insert(found, {0: (0, 300)})
        assert site.counts()["wakeups"] == site.counts()["events"] == site.counts()["landing"] == 300


@pytest.mark.usefixtures("unmerged")
def test_a_batch_as_large_as_it_may_be_is_one_batch_too(site: Site, landing: Landing) -> None:
    lane = site.settings.lane
    note = "x" * (lane.batch_bytes // lane.batch_rows)
    messages = [
        track("Product Viewed", f"m{number}", user=f"{number}", product_id="p1", note=note)
        for number in range(lane.batch_rows)
    ]
    for _ in range(2):
        landing.insert(rows(*messages), {0: (0, lane.batch_rows)})
        assert {site.counts()[table] for table in ("landing", "events", "person_states", "product_states")} == {
            lane.batch_rows
        }


def test_every_row_is_kept_as_it_came_whatever_its_status(site: Site, landing: Landing) -> None:
    raw = [orjson.dumps(EVERYTHING[0]), orjson.dumps(EVERYTHING[0]), b"\xff\x00 no JSON \r\n\t\\"]
    found = mark_duplicates(rows(*raw), seen=set())
    landing.insert(found, {0: (0, 3)})
    assert site.statuses() == {"accepted": 1, "duplicate": 1, "quarantined": 1}
    kept = site.rows("SELECT offset, hex(message), schema_version, reason != '' FROM landing ORDER BY offset")
    assert kept == [(offset, each.hex().upper(), 1, int(offset > 0)) for offset, each in enumerate(raw)]
    assert site.counts()["events"] == 1


@pytest.mark.parametrize(("stream", "partition", "first"), [("events-0", 3, 1), ("events-0", 2, 0), ("another", 3, 0)])
def test_a_message_accepted_before_is_found_again_in_whatever_partition_and_stream(
    site: Site, stream: str, partition: int, first: int
) -> None:
    Landing(site.client, "events-0").insert(rows(EVERYTHING[0], partition=3), {3: (0, 1)})
    again = rows(EVERYTHING[0], EVERYTHING[1], partition=partition, first=first)
    assert Landing(site.client, stream).earlier(again, {partition: (first, first + 2)}) == {"m1"}


def test_landing_knows_what_became_of_a_batch_and_where_its_records_stand(site: Site, landing: Landing) -> None:
    first, second = rows(EVERYTHING[0], EVERYTHING[0], partition=3)
    found = mark_duplicates([replace(first, position="s1"), replace(second, position="s2")], seen=set())
    landing.insert(found, {3: (0, 2)})
    assert landing.statuses({3: (0, 2)}) == {(3, 0): "accepted", (3, 1): "duplicate"}
    assert landing.statuses({3: (2, 4), 1: (0, 5)}) == {}
    assert (landing.ends(), landing.position(3, 0), landing.position(3, 7)) == ({3: (2, "s2")}, "s1", "")


def test_a_batch_done_again_does_not_find_itself(site: Site, landing: Landing) -> None:
    first, second = rows(EVERYTHING[0]), rows(EVERYTHING[1], EVERYTHING[0], first=1)
    landing.insert(first, {0: (0, 1)})
    seen = landing.earlier(second, {0: (1, 3)})
    marked = mark_duplicates(second, seen)
    landing.insert(marked, {0: (1, 3)})
    assert statuses_of(marked) == {"accepted": 1, "duplicate": 1}
    assert mark_duplicates(second, landing.earlier(second, {0: (1, 3)})) == marked
    assert mark_duplicates(first, landing.earlier(first, {0: (0, 1)})) == first


def test_what_lies_in_quarantine_makes_nothing_a_duplicate(site: Site, landing: Landing) -> None:
    broken = {**EVERYTHING[1], "event": ""}
    landing.insert(rows(broken), {0: (0, 1)})
    assert landing.earlier(rows(EVERYTHING[1], first=1), {0: (1, 2)}) == set()


@pytest.mark.parametrize("message_id", ["m\r", "\r", "\\N", "a\tb", "a\nb", "a\\b", "\x00", " ", "'", '"', "ü", "{"])
def test_a_message_id_is_found_again_whatever_characters_it_has(site: Site, landing: Landing, message_id: str) -> None:
    found = rows(track("Product Viewed", message_id, user="ann"), track("Product Viewed", "other", user="ann"))
    landing.insert(found, {0: (0, 2)})
    assert landing.earlier(found, {0: (2, 4)}) == {message_id, "other"}


def test_landing_knows_how_far_each_partition_of_its_own_stream_is(site: Site, landing: Landing) -> None:
    assert landing.committed() == {}
    landing.insert([*rows(*EVERYTHING[:2]), *rows(EVERYTHING[2], partition=3, first=9)], {0: (0, 2), 3: (9, 10)})
    landing.insert(rows(EVERYTHING[3], first=2), {0: (2, 3)})
    assert landing.committed() == {0: 3, 3: 10}
    assert Landing(site.client, "another").committed() == {}


def test_a_token_names_the_ranges_whatever_their_order() -> None:
    assert token("events", {1: (3, 5), 0: (0, 2)}) == token("events", {0: (0, 2), 1: (3, 5)}) == "events/0:0-2,1:3-5"


@settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(wild_messages, min_size=1, max_size=25))
def test_whatever_clients_send_the_chain_takes_the_batch_and_counts_every_event(
    site: Site, landing: Landing, messages: list[Message]
) -> None:
    empty(site.client)
    found = mark_duplicates(rows(*messages), seen=set())
    landing.insert(found, {0: (0, len(found))})
    statuses = statuses_of(found)
    assert site.statuses() == statuses
    counted = site.counts()
    assert counted["landing"] == len(messages)
    assert counted["events"] == counted["person_states"] == counted["session_states"] == statuses["accepted"]
    assert landing.earlier(found, {0: (len(found), len(found) + 1)}) == {
        row.message_id for row in found if row.status == "accepted"
    }
    site.profiles()


def test_dwell_and_order_values_that_are_no_numbers_count_as_nothing(site: Site, landing: Landing) -> None:
    def engaged(message_id: str, value: Any) -> Message:
        return track("Page Engaged", message_id, user="ann", category="bags", engaged_seconds=value)

    values = [15, "15", -5, 10**12, None, "long", [15], {"seconds": 15}, True]
    landing.insert(rows(*(engaged(f"m{number}", value) for number, value in enumerate(values))), {0: (0, 9)})
    [(seconds,)] = site.rows("SELECT engaged_seconds FROM person_categories")
    assert seconds == 15 + 15 + DAY_MS / 1000 + 1
