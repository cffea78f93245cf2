"""What any other system tells, by the rules of the settings."""

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clocks import MINUTE_MS, NOW_MS, SECOND_MS
from support.collecting import Collector
from support.webhooks_crm import JSON_VALUES, accepted, hmac_base64, hmac_hex, refusals

from wakeline.clock import to_iso
from wakeline.collector.webhooks.mapping import KEPT
from wakeline.errors import ConfigError
from wakeline.settings import Settings, load_settings

MakeCollector = Callable[..., Collector]

TOKEN = {"X-Token": "the-shared-secret"}
SHARED = {"header": "X-Token", "value": "the-shared-secret"}
SECRET = "a-signing-secret"
RULE = {"type": "track", "event": "'Thing Done'", "user_id": "user"}
PAGE = Path(__file__).parents[1] / "docs" / "webhooks.md"


@pytest.fixture
def make_collector(tmp_path: Path) -> Iterator[MakeCollector]:
    made: list[Collector] = []

    def make(*rules: dict[str, Any], **section: Any) -> Collector:
        made.append(Collector(tmp_path / str(len(made)), sections=sections(*rules, **section)))
        return made[-1]

    yield make
    for collector in made:
        collector.stream.close()


def sections(*rules: dict[str, Any], **section: Any) -> dict[str, Any]:
    """The settings of a webhook `shop`, which proves by a shared secret unless the section says otherwise."""
    proof = {} if "signature" in section else {"shared_secret": SHARED}
    return {"webhooks": {"shop": {"kind": "mapped", "rules": list(rules), **proof, **section}}}


def post(collector: Collector, content: Any, headers: dict[str, str] | None = None) -> tuple[int, str]:
    """Status and error of a request to the webhook `shop`."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    answer = collector.call("POST", "/v1/webhooks/shop", content=body, headers=TOKEN if headers is None else headers)
    return answer.status_code, answer.json()["error"] if answer.text else ""


# Proof


@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "sha512"])
@pytest.mark.parametrize("encoding", ["hex", "base64"])
@pytest.mark.parametrize("prefix", ["", "sha=", "v1,"])
def test_a_signed_body_is_taken(make_collector: MakeCollector, algorithm: str, encoding: str, prefix: str) -> None:
    signature = {
        "secret": SECRET,
        "header": "X-Signature",
        "algorithm": algorithm,
        "encoding": encoding,
        "prefix": prefix,
    }
    collector = make_collector(RULE, signature=signature)
    body = b'{"user": "u1"}'
    sign = hmac_hex if encoding == "hex" else hmac_base64
    good = {"X-Signature": prefix + sign(SECRET, body, algorithm)}
    assert post(collector, body, good) == (200, "")
    assert post(collector, body + b" ", good) == (401, "The signature in the header X-Signature is wrong.")
    assert post(collector, body, {"X-Signature": prefix + sign("another", body, algorithm)})[0] == 401
    assert post(collector, body, {"X-Signature": f"?{good['X-Signature']}"})[0] == 401
    assert post(collector, b"not JSON", {}) == (401, "The header X-Signature is missing.")
    assert len(collector.records()) == 1


@pytest.mark.parametrize("unit", [1, 1000])
def test_a_signed_time_must_be_fresh(make_collector: MakeCollector, unit: int) -> None:
    signature = {
        "secret": SECRET,
        "header": "X-Signature",
        "timestamp_header": "X-Timestamp",
        "tolerance_seconds": 60,
    }
    collector = make_collector(RULE, signature=signature)
    body = b'{"user": "u1"}'

    def status(at_ms: int, signed_at_ms: int | None = None) -> int:
        said, signed = (str(ms // unit) for ms in (at_ms, at_ms if signed_at_ms is None else signed_at_ms))
        headers = {"X-Timestamp": said, "X-Signature": hmac_hex(SECRET, signed.encode() + b"." + body)}
        return post(collector, body, headers)[0]

    assert status(NOW_MS - 60 * SECOND_MS) == 200
    assert status(NOW_MS - 61 * SECOND_MS) == 401
    assert status(NOW_MS + 6 * MINUTE_MS) == 401
    assert status(NOW_MS, signed_at_ms=NOW_MS - MINUTE_MS) == 401
    unsigned = {"X-Signature": hmac_hex(SECRET, body)}
    assert post(collector, body, unsigned) == (401, "The header X-Timestamp is missing.")
    word = {"X-Timestamp": "now", "X-Signature": hmac_hex(SECRET, b"now." + body)}
    assert post(collector, body, word) == (401, "The signed time is not a time.")


def test_a_shared_secret_is_taken_and_no_other(make_collector: MakeCollector) -> None:
    collector = make_collector(RULE)
    assert post(collector, {"user": "u1"}, {"X-Token": "the-shared-secres"}) == (
        401,
        "The secret in the header X-Token is wrong.",
    )
    assert post(collector, b"not JSON", {}) == (401, "The header X-Token is missing.")
    assert post(collector, {"user": "u1"}) == (200, "")


@pytest.mark.parametrize(
    "proof",
    [{}, {"shared_secret": SHARED, "signature": {"secret": SECRET, "header": "X-Signature"}}],
)
def test_one_proof_is_needed(proof: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="either a table 'signature' or a table 'shared_secret' is needed"):
        Settings.model_validate({"webhooks": {"shop": {"kind": "mapped", **proof}}})


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"a=1&b=2", b"[" * 100_000, b"[" * 150 + b"]" * 150])
def test_an_unreadable_body_is_refused(make_collector: MakeCollector, body: bytes) -> None:
    status, error = post(make_collector(RULE), body)
    assert status == 400
    assert error.startswith("The body is")


# Rules


def test_a_rule_makes_a_message(make_collector: MakeCollector) -> None:
    collector = make_collector(
        {
            "type": "track",
            "when": "kind == 'ticket.solved'",
            "event": "'Ticket Solved'",
            "user_id": "ticket.requester.id",
            "message_id": "join('-', ['ticket', to_string(ticket.id)])",
            "timestamp": "at",
            "properties": {"ticket_id": "ticket.id", "tags": "ticket.tags[].name", "none": "ticket.nothing"},
        }
    )
    ticket = {"id": 7, "requester": {"id": 12}, "tags": [{"name": "vip"}]}
    post(collector, {"kind": "ticket.solved", "at": "2027-01-15T07:00:00Z", "ticket": ticket})
    assert accepted(collector) == [
        {
            "type": "track",
            "event": "Ticket Solved",
            "userId": 12,
            "messageId": "ticket-7",
            "timestamp": "2027-01-15T07:00:00Z",
            "properties": {"ticket_id": 7, "tags": ["vip"]},
        }
    ]
    assert collector.rows()[0].source == "shop"


def test_each_element_of_a_list_is_a_message_that_sees_the_body_too(make_collector: MakeCollector) -> None:
    rule = {
        "type": "track",
        "each": "lines[?refunded]",
        "event": "'Line Refunded'",
        "user_id": "body.customer",
        "properties": {"product_id": "each.sku"},
    }
    collector = make_collector(rule)
    lines = [{"sku": "a", "refunded": True}, {"sku": "b"}, {"sku": "c", "refunded": True}]
    post(collector, {"customer": "u1", "lines": lines})
    found = accepted(collector)
    assert [message["properties"]["product_id"] for message in found] == ["a", "c"]
    assert [message["userId"] for message in found] == ["u1", "u1"]
    assert len({message["messageId"] for message in found}) == 2


@pytest.mark.parametrize(
    ("rule", "fields"),
    [
        ({"type": "identify", "traits": {"email": "mail"}}, {"traits": {"email": "a@example.com"}}),
        ({"type": "page", "name": "'Home'"}, {"name": "Home"}),
        ({"type": "screen", "name": "'Home'"}, {"name": "Home"}),
        ({"type": "group", "group_id": "team", "traits": {"size": "`3`"}}, {"groupId": "t1", "traits": {"size": 3}}),
        ({"type": "alias", "previous_id": "old"}, {"previousId": "u0"}),
        ({"type": "identify", "anonymous_id": "old"}, {"anonymousId": "u0"}),
    ],
)
def test_a_rule_may_make_any_type(make_collector: MakeCollector, rule: dict[str, Any], fields: dict[str, Any]) -> None:
    collector = make_collector({"user_id": "user", **rule})
    post(collector, {"user": "u1", "mail": "a@example.com", "team": "t1", "old": "u0"})
    [message] = accepted(collector)
    del message["messageId"]
    assert message == {"type": rule["type"], "userId": "u1", **fields}


@pytest.mark.parametrize(
    ("given_time", "timestamp"),
    [
        (NOW_MS - SECOND_MS, to_iso(NOW_MS - SECOND_MS)),
        ((NOW_MS - SECOND_MS) / 1000, to_iso(NOW_MS - SECOND_MS)),
        (NOW_MS // 1000 - 1, to_iso(NOW_MS - SECOND_MS)),
        ("2027-01-15T07:00:00+01:00", "2027-01-15T07:00:00+01:00"),
    ],
)
def test_a_time_may_be_a_text_or_a_number(make_collector: MakeCollector, given_time: Any, timestamp: str) -> None:
    collector = make_collector({**RULE, "timestamp": "at"})
    post(collector, {"user": "u1", "at": given_time})
    assert accepted(collector)[0]["timestamp"] == timestamp


def test_an_address_is_enough_and_an_opt_out_is_heard(make_collector: MakeCollector) -> None:
    rule = {"type": "track", "event": "'Unsubscribed'", "properties": {"email": "address"}}
    collector = make_collector(rule)
    post(collector, {"address": "Ann@example.com"})
    assert refusals(collector) == [("email:ann@example.com", "marketing", False)]


def test_a_repeated_body_gives_the_same_message_ids(make_collector: MakeCollector) -> None:
    collector = make_collector(RULE, {"type": "identify", "user_id": "user"}, {**RULE, "when": "never"})
    for _ in range(2):
        post(collector, {"user": "u1"})
    post(collector, {"user": "u1", "more": 1})
    ids = [message["messageId"] for message in accepted(collector)]
    assert (len(ids), len(set(ids))) == (6, 4)


def test_two_rules_may_take_the_same_id_from_a_body(make_collector: MakeCollector) -> None:
    collector = make_collector(
        {**RULE, "when": "never"},
        {**RULE, "message_id": "id"},
        {"type": "identify", "user_id": "user", "message_id": "id"},
    )
    post(collector, {"user": "u1", "id": "m1"})
    assert [message["messageId"] for message in accepted(collector)] == ["m1", "m1-2"]


@pytest.mark.parametrize("given_id", ["i" * 300, {"a": 1}, True, 1.5, [], 10**300])
def test_an_id_that_is_none_is_digested(make_collector: MakeCollector, given_id: Any) -> None:
    collector = make_collector({**RULE, "message_id": "id"})
    post(collector, {"user": "u1", "id": given_id})
    post(collector, {"user": "u1", "id": given_id, "more": 1})
    first, second = accepted(collector)
    assert first["messageId"] == second["messageId"]
    assert len(first["messageId"]) <= 255


# What no rule can make sense of


def test_a_body_that_no_rule_is_for_is_kept_whole(make_collector: MakeCollector) -> None:
    collector = make_collector({**RULE, "when": "kind == 'known'"})
    for body in ({"kind": "other", "x": [1]}, [1, 2], 7, "text", None):
        assert post(collector, body) == (200, "")
        message = accepted(collector)[-1]
        assert (message["event"], message["anonymousId"]) == (KEPT, "webhook-shop")
        assert message["properties"] == {"body": body, "reason": "No rule is for this body.", "automated": True}
    assert len({message["messageId"] for message in accepted(collector)}) == 5


def test_without_rules_every_body_is_kept(make_collector: MakeCollector) -> None:
    collector = make_collector()
    assert [post(collector, {"a": 1}) for _ in range(2)] == [(200, "")] * 2
    ids = [message["messageId"] for message in accepted(collector)]
    assert len(ids) == 2
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({**RULE, "when": "length(count)"}, "webhooks.shop.rules[1].when cannot be evaluated on this body."),
        ({**RULE, "each": "count"}, "webhooks.shop.rules[1].each is no list in this body."),
        (
            {**RULE, "properties": {"a": "contains(user, count)"}},
            "webhooks.shop.rules[1].properties.a cannot be evaluated on this body.",
        ),
        ({**RULE, "timestamp": "sum(user)"}, "webhooks.shop.rules[1].timestamp cannot be evaluated on this body."),
    ],
)
def test_a_rule_that_fails_on_a_body_keeps_the_body_and_costs_no_other_rule(
    make_collector: MakeCollector, rule: dict[str, Any], reason: str
) -> None:
    collector = make_collector(RULE, rule, {"type": "identify", "user_id": "user"})
    body = {"user": "u1", "count": 5}
    assert post(collector, body) == (200, "")
    found = {message.get("event") or message["type"]: message for message in accepted(collector)}
    assert set(found) == {"Thing Done", "identify", KEPT}
    assert found[KEPT]["properties"] == {"body": body, "reason": reason, "automated": True}


def test_an_element_that_fails_costs_no_neighbour(make_collector: MakeCollector) -> None:
    rule = {
        "type": "track",
        "each": "items",
        "event": "'Item'",
        "user_id": "each.id",
        "properties": {"n": "abs(each.n)"},
    }
    collector = make_collector(rule)
    post(collector, {"items": [{"id": "a", "n": -1}, {"id": "b", "n": "x"}, 7, {"id": "c", "n": -3}]})
    found = accepted(collector)
    assert [message["properties"]["n"] for message in found if message["event"] == "Item"] == [1, 3]
    assert [message["event"] for message in found].count(KEPT) == 1


def test_a_message_that_breaks_the_contract_is_quarantined_beside_its_neighbours(
    make_collector: MakeCollector,
) -> None:
    collector = make_collector({"type": "track", "each": "@", "event": "each.name", "user_id": "each.id"})
    post(collector, [{"name": "A", "id": 1}, {"id": 2}, {"name": "C", "id": 3}, {"name": "D", "id": {}}])
    assert [message["event"] for message in accepted(collector)] == ["A", "C"]
    assert sorted(row.reason for row in collector.rows() if row.status == "quarantined") == [
        "a track message without an event name",
        "userId is neither text nor a whole number",
    ]


def test_a_body_of_too_many_messages_is_refused(make_collector: MakeCollector) -> None:
    assert post(make_collector({**RULE, "each": "@"}), [0] * 2_501)[0] == 413


@given(JSON_VALUES | st.fixed_dictionaries({"user": JSON_VALUES, "items": JSON_VALUES, "at": JSON_VALUES}))
@settings(max_examples=60, deadline=None)
def test_no_proven_body_is_answered_with_a_fault(tmp_path_factory: pytest.TempPathFactory, body: Any) -> None:
    rules = [
        {**RULE, "when": "user", "timestamp": "at", "message_id": "user"},
        {**RULE, "each": "items", "user_id": "each", "properties": {"a": "sort_by(body.items, &id)", "b": "@"}},
        {"type": "identify", "user_id": "'neighbour'", "traits": {"a": "to_string(@)", "b": "keys(@)"}},
        {"type": "group", "user_id": "'neighbour'", "group_id": "max(items)", "timestamp": "at"},
    ]
    collector = Collector(tmp_path_factory.mktemp("fuzz"), sections=sections(*rules))
    try:
        assert post(collector, body) == (200, "")
        assert collector.rows()
        assert all(len(row.message_id) <= 255 for row in collector.rows())
        accepted(collector)
    finally:
        collector.stream.close()


# Settings


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        ({"traits": {"email": "a["}}, r"webhooks\.shop\.rules\[2\]\.traits\.email is not a JMESPath expression: .*"),
        ({"when": "a ="}, r"webhooks\.shop\.rules\[2\]\.when is not .*"),
        ({"each": "nope(a)"}, r".*rules\[2\]\.each is not a JMESPath expression: there is no function 'nope' of 1 .*"),
        ({"event": "a[?length(b, c)]"}, r".*\.event is not .*: there is no function 'length' of 2 arguments\."),
        (
            {"properties": {"a": "{b: &c}"}},
            r".*\.properties\.a is not .*: '&' may only stand in an .* of map, .*",
        ),
        ({"user_id": "to_array(&a)"}, r".*\.user_id is not .*: '&' may only .*"),
        ({"message_id": "`{"}, r".*\.message_id is not .*"),
    ],
)
def test_a_wrong_expression_is_named_at_the_start(make_collector: MakeCollector, rule: Any, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_collector(RULE, RULE, {**RULE, **rule})
    assert re.fullmatch(fault, str(caught.value))


@pytest.mark.parametrize("text", ["sort_by(items, &price)[0].id", "merge(a, b, c)", '`{"a": 1}`', "not_null(a, 'b')"])
def test_right_expressions_are_no_errors(make_collector: MakeCollector, text: str) -> None:
    make_collector({**RULE, "properties": {"a": text}})


def test_a_track_needs_an_event() -> None:
    with pytest.raises(ValueError, match="a rule of type track needs an 'event'"):
        Settings.model_validate(sections({"type": "track"}))


def test_a_webhook_can_be_set_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WAKELINE_WEBHOOKS__SHOP__KIND", "mapped")
    monkeypatch.setenv("WAKELINE_WEBHOOKS__SHOP__SIGNATURE__SECRET", SECRET)
    monkeypatch.setenv("WAKELINE_WEBHOOKS__SHOP__SIGNATURE__HEADER", "X-Signature")
    monkeypatch.setenv("WAKELINE_WEBHOOKS__SHOP__RULES", json.dumps([RULE]))
    found = load_settings().webhooks["shop"]
    assert found.model_dump()["signature"]["secret"] == SECRET
    assert found.model_dump()["rules"][0]["event"] == RULE["event"]


# The example of the documentation


def test_the_example_of_the_documentation_does_what_it_says(tmp_path: Path) -> None:
    shown = PAGE.read_text(encoding="utf-8").partition("### A worked example")[2]
    [configured] = re.findall(r"^```toml\n(.*?)^```", shown, re.MULTILINE | re.DOTALL)
    body, result = re.findall(r"^```json\n(.*?)^```", shown, re.MULTILINE | re.DOTALL)
    collector = Collector(tmp_path, sections=tomllib.loads(configured))
    sent = body.strip().encode()
    at = str(NOW_MS // 1000)
    headers = {
        "X-Helpdesk-Time": at,
        "X-Helpdesk-Signature": "v1=" + hmac_hex("the-secret-of-the-helpdesk", at.encode() + b"." + sent),
    }
    answer = collector.call("POST", "/v1/webhooks/helpdesk", content=sent, headers=headers)
    assert answer.status_code == 200
    assert sorted(accepted(collector), key=lambda message: message["messageId"]) == json.loads(result)
    collector.stream.close()
