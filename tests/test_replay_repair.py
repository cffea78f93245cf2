"""Repairs of quarantined messages, and what a job asks to be confirmed: pure functions."""

from typing import Any

import orjson
import pytest

from wakeline.errors import ReplayError
from wakeline.replay.asking import Span, past_span, require_confirmed
from wakeline.replay.repair import Repair, merged, repaired


# The examples of RFC 7396, appendix A.
@pytest.mark.parametrize(
    ("content", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_is_that_of_the_rfc(content: Any, patch: Any, result: Any) -> None:
    assert merged(content, patch) == result


def test_without_a_repair_a_message_keeps_its_very_bytes() -> None:
    assert repaired(b'{ "a" : 1 }', "row", Repair()) == b'{ "a" : 1 }'


@pytest.mark.parametrize("message", [b"not json", b"[1]", b"\xff"])
def test_what_is_no_object_stays_as_it_is(message: bytes) -> None:
    assert repaired(message, "row", Repair({"type": "track"})) == message


def test_fields_are_set_times_are_taken_away_and_an_id_is_given_where_there_is_none() -> None:
    repair = Repair({"type": "track"}, times_of_receipt=True, give_message_ids=True)
    bare = {"timestamp": "yesterday", "sentAt": 7, "userId": "ann"}
    assert orjson.loads(repaired(orjson.dumps(bare), "row", repair)) == {
        "userId": "ann", "type": "track", "messageId": "row",
    }  # fmt: skip
    assert orjson.loads(repaired(b'{"messageId": "m1"}', "row", repair))["messageId"] == "m1"


def test_times_without_a_zone_are_utc() -> None:
    hour_ms = 3_600_000
    assert past_span("1970-01-01T01:00", "1970-01-01T03:00+01:00", 2 * hour_ms) == Span(hour_ms, 2 * hour_ms)


def test_a_number_is_asked_for_above_the_limit_and_must_be_right_whenever_it_is_given() -> None:
    require_confirmed(5, "sends", None, 5)
    require_confirmed(6, "sends", 6, 5)
    with pytest.raises(ReplayError, match="give confirm_count: 6"):
        require_confirmed(6, "sends", None, 5)
    with pytest.raises(ReplayError, match="confirm_count is 4, but it is 5 sends now"):
        require_confirmed(5, "sends", 4, 5)
