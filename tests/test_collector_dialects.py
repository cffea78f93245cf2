"""What public SDKs send, each in its own way, as events of ours."""

import base64
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clocks import NOW_MS
from support.collecting import WRITE_KEY, Collector, captured

from wakeline.clock import to_iso
from wakeline.collector.endpoints import MESSAGE_TYPES
from wakeline.collector.envelope import MAX_BATCH_MESSAGES
from wakeline.collector.images import GIF
from wakeline.collector.snowplow import to_message
from wakeline.errors import ConfigError
from wakeline.settings import SourceSettings

MakeCollector = Callable[..., Collector]
TRACK = {"type": "track", "event": "Product Viewed", "anonymousId": "ann", "messageId": "m1"}

#: SDK -> its requests carry this key, or this app id.
CAPTURED_KEYS = {
    "segment-analytics-node": "WK_SEGMENT_NODE",
    "segment-analytics-python": "WK_SEGMENT_PY",
    "segment-analytics-python-gzip": "WK_SEGMENT_PY",
    "segment-analytics-next": "wk",
    "segment-analytics-next-batching": "wk",
    "rudder-sdk-node": "WK_RUDDER_NODE",
    "rudder-sdk-python": "WK_RUDDER_PY",
    "jitsu-js-node": "KEYID",
    "jitsu-js-browser": "BK",
    "snowplow-browser-tracker": "shop",
    "snowplow-browser-tracker-get": "shop",
    "snowplow-node-tracker": "shop",
}


@pytest.fixture
def make_collector(tmp_path: Path) -> Iterator[MakeCollector]:
    made: list[Collector] = []

    def make(**options: Any) -> Collector:
        made.append(Collector(tmp_path, **options))
        return made[-1]

    yield make
    for collector in made:
        collector.stream.close()


@pytest.fixture
def collector(make_collector: MakeCollector) -> Collector:
    return make_collector()


def sent_ids(request: dict[str, Any]) -> list[str]:
    """The ids of the messages in a request, whatever the SDK calls them."""
    body, query = request["body"], request["query"]
    if request["path"] == "/i":
        return [query["eid"]]
    if not isinstance(body, dict):
        return []
    found = body.get("batch") or body.get("data") or [body]
    return [one.get("messageId") or one["eid"] for one in found]


@pytest.mark.parametrize("name", CAPTURED_KEYS)
def test_every_event_of_a_public_sdk_is_accepted(make_collector: MakeCollector, name: str) -> None:
    collector = make_collector(options={"write_key": CAPTURED_KEYS[name]})
    sent: list[str] = []
    for request in captured(name):
        if request["path"] in ("/page", "/favicon.ico") or request["path"].endswith("/settings"):
            continue
        body = json.dumps(request["body"]).encode() if request["method"] == "POST" else b""
        packed = gzip.compress(body) if request["headers"].get("Content-Encoding") == "gzip" else body
        headers = {name: value for name, value in request["headers"].items() if name.lower() != "content-length"}
        answer = collector.call(
            request["method"], request["path"], params=request["query"], content=packed, headers=headers
        )
        assert answer.status_code == 200, answer.text
        sent += sent_ids(request)
    rows = collector.rows()
    assert [(row.status, row.reason) for row in rows if row.status != "accepted"] == []
    assert sorted(row.message_id for row in rows) == sorted(sent)
    assert len(sent) > 2
    assert not any("writeKey" in message for message in collector.messages())


def test_the_events_of_snowplow_are_those_of_the_segment_spec(make_collector: MakeCollector) -> None:
    collector = make_collector(options={"write_key": "shop", "snowplow_heartbeat_seconds": 2})
    for request in captured("snowplow-browser-tracker"):
        if request["method"] == "POST":
            collector.call("POST", request["path"], json=request["body"])
    messages = collector.messages()
    kinds = [(message["type"], message.get("event") or message.get("name")) for message in messages]
    assert kinds[:4] == [
        ("page", "Shop"),
        ("track", "add-to-cart"),
        ("track", "Product View"),
        ("track", "Page Engaged"),
    ]
    assert {event for _, event in kinds[3:]} == {"Page Engaged"}
    page, added, viewed, engaged = messages[:4]
    assert page["context"]["page"] == {"url": "http://127.0.0.1:8823/page", "path": "/page", "title": "Shop"}
    assert page["context"]["sessionId"] == "a9110e18-0004-4b59-83af-6c132678a502"
    assert (page["anonymousId"], page["userId"]) == ("e5700c41-0fc8-4ceb-9dca-0496f2d920a9", "u1")
    assert added["properties"]["category"] == "shop"
    assert viewed["properties"]["category"] == "sneakers"
    # The page is 3,034 pixels high, of which the window shows 720; 150 were scrolled past.
    assert engaged["properties"] == {
        "path": "/page",
        "scroll_depth_percent": round(100 * (150 + 720) / 3034, 1),
        "engaged_seconds": 2,
    }


@given(
    st.dictionaries(
        st.sampled_from(["e", "eid", "aid", "dtm", "stm", "url", "ds", "vp", "pp_may", "ue_px", "ue_pr", "co", "res"]),
        st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.none(),
    )
)
def test_no_snowplow_event_breaks_the_translation(event: dict[str, Any]) -> None:
    for kind in ("pv", "pp", "se", "ue", "tr", "ti", "other"):
        message = to_message({**event, "e": kind}, 10)
        assert message["type"] in ("page", "track")
        json.dumps(message, allow_nan=False)


def test_an_unknown_snowplow_event_is_kept_whole(collector: Collector) -> None:
    event = {"e": "xx", "aid": WRITE_KEY, "eid": "e1", "uid": "u1", "what": "ever"}
    collector.call("POST", "/com.snowplowanalytics.snowplow/tp2", json={"data": [event, "no event"]})
    first, second = collector.rows()
    assert (first.status, first.event) == ("accepted", "Snowplow Event")
    assert json.loads(first.message)["properties"] == event
    assert (second.status, second.reason) == ("quarantined", "the message is not an object")


def test_a_snowplow_tracker_is_known_by_its_app_id(make_collector: MakeCollector) -> None:
    shop = SourceSettings(write_keys=["key-of-shop"], snowplow_app_ids=["web"])
    collector = make_collector(sections={"sources": {"shop": shop}})
    path = "/com.snowplowanalytics.snowplow/tp2"
    event = {"e": "pv", "uid": "u1", "eid": "e1"}
    assert collector.call("POST", path, json={"data": [{**event, "aid": "web"}]}).text == "ok"
    assert collector.call("GET", "/i", params={**event, "aid": "key-of-shop"}).content == GIF
    assert collector.call("HEAD", "/i", params={**event, "aid": "key-of-shop"}).status_code == 200
    assert collector.call("POST", path, json={"data": [event]}).status_code == 401
    assert collector.call("GET", "/i", params={**event, "aid": "other"}).status_code == 401
    assert [envelope.source for envelope in collector.envelopes()] == ["shop", "shop"]


def test_each_snowplow_event_is_of_the_source_that_its_app_id_belongs_to(make_collector: MakeCollector) -> None:
    shop = SourceSettings(write_keys=["key-of-shop"], snowplow_app_ids=["web"])
    collector = make_collector(sections={"sources": {"shop": shop}})
    app_ids = [{}, {"aid": "web"}, {"aid": WRITE_KEY}, {"aid": ""}, {"aid": "odd"}, {"aid": ["web"]}, {"aid": None}]
    events: list[Any] = [{"e": "pv", "uid": "u1", "eid": f"e{n}", **one} for n, one in enumerate(app_ids)]
    answer = collector.call("POST", "/com.snowplowanalytics.snowplow/tp2", json={"data": [*events, "no event"]})
    assert (answer.status_code, answer.text) == (200, "ok")
    found = {row.message_id: row.source for row in collector.rows()}
    assert found == {"": "shop", **{f"e{n}": "shop" for n in range(7)}, "e2": "default"}


def test_a_request_with_snowplow_events_of_a_closed_source_is_refused(make_collector: MakeCollector) -> None:
    closed = SourceSettings(write_keys=["key-of-closed"], snowplow_app_ids=["old"], enabled=False)
    collector = make_collector(sections={"sources": {"closed": closed}})
    events = [{"e": "pv", "uid": "u1", "eid": "e1", "aid": aid} for aid in (WRITE_KEY, "old")]
    answer = collector.call("POST", "/com.snowplowanalytics.snowplow/tp2", json={"data": events})
    assert (answer.status_code, answer.json()) == (401, {"error": "The source 'closed' is disabled."})
    assert collector.records() == []


def test_no_full_address_of_an_unknown_snowplow_event_is_kept(collector: Collector) -> None:
    event = {"e": "xx", "aid": WRITE_KEY, "eid": "e1", "uid": "u1", "ip": "198.51.100.9"}
    collector.call("POST", "/com.snowplowanalytics.snowplow/tp2", json={"data": [event]})
    collector.call("GET", "/i", params=event)
    assert [message["context"]["ip"] for message in collector.messages()] == ["198.51.100.0"] * 2
    assert not [record for record in collector.records() if b"198.51.100.9" in record.value]


@pytest.mark.parametrize("path", ["/v1/batch", "/v1/import", "/v1/b", "/beacon/v1/batch"])
def test_batches_are_taken_where_sdks_send_them(collector: Collector, path: str) -> None:
    assert collector.post(path, {"batch": [TRACK]}).json() == {"success": True}
    assert collector.messages() == [TRACK]


@pytest.mark.parametrize("kind", MESSAGE_TYPES)
def test_a_message_gets_its_type_from_the_path(collector: Collector, kind: str) -> None:
    paths = [f"/v1/{kind}", f"/v1/{kind[0]}", f"/api/s/{kind}", f"/api/s/s2s/{kind}"]
    for path in paths:
        assert collector.post(path, {"anonymousId": "ann"}).status_code == 200
    assert [message["type"] for message in collector.messages()] == [kind] * len(paths)


@pytest.mark.parametrize(
    "carried",
    [
        {"auth": (WRITE_KEY, "")},
        {"auth": (WRITE_KEY, "a password")},
        {"headers": {"X-Write-Key": WRITE_KEY}},
        {"headers": {"X-Write-Key": f"{WRITE_KEY}:SECRET"}},
        {"params": {"writeKey": WRITE_KEY}},
        {"json": {**TRACK, "writeKey": WRITE_KEY}},
        {"content": json.dumps({**TRACK, "writeKey": WRITE_KEY}), "headers": {"Content-Type": "text/plain"}},
    ],
)
def test_the_write_key_is_taken_wherever_sdks_put_it(collector: Collector, carried: dict[str, Any]) -> None:
    body = {} if "json" in carried or "content" in carried else {"json": TRACK}
    assert collector.call("POST", "/v1/track", **body, **carried).json() == {"success": True}
    assert collector.messages() == [TRACK]


def test_a_masked_key_in_the_body_does_not_stand_against_the_header(collector: Collector) -> None:
    body = {**TRACK, "writeKey": "KEY:***"}
    assert collector.call("POST", "/api/s/track", json=body, headers={"X-Write-Key": WRITE_KEY}).status_code == 200


def test_each_source_has_keys_of_its_own_that_can_be_changed(make_collector: MakeCollector) -> None:
    shop = SourceSettings(write_keys=["the-new-key", "the-old-key"], retired_write_keys=["the-oldest-key"])
    closed = SourceSettings(write_keys=["a-closed-key"], enabled=False)
    collector = make_collector(sections={"sources": {"shop": shop, "closed": closed}})

    def answer(key: str) -> tuple[int, str]:
        found = collector.post("/v1/track", TRACK, auth=(key, ""))
        return found.status_code, found.json().get("error", "")

    assert answer("the-new-key") == answer("the-old-key") == answer(WRITE_KEY) == (200, "")
    assert answer("the-oldest-key") == (401, "The write key is retired; use the new one of the source 'shop'.")
    assert answer("a-closed-key") == (401, "The source 'closed' is disabled.")
    assert answer("nobodys-key")[0] == 401
    assert sorted(envelope.source for envelope in collector.envelopes()) == ["default", "shop", "shop"]


@pytest.mark.parametrize("what", ["write_keys", "retired_write_keys", "snowplow_app_ids"])
def test_a_key_of_two_sources_is_an_error(make_collector: MakeCollector, what: str) -> None:
    sources = {
        name: SourceSettings(**{"write_keys": [f"key-of-{name}"], what: ["same-in-both"]}) for name in ("one", "two")
    }
    with pytest.raises(ConfigError, match=r"^sources\.two: a (write key|app id) of it also belongs to 'one'"):
        make_collector(sections={"sources": sources})


@pytest.mark.parametrize("public_url", ["https://events.example.com", "https://events.example.com/"])
def test_the_settings_route_sends_segments_browser_sdk_here(make_collector: MakeCollector, public_url: str) -> None:
    collector = make_collector(sections={"activation": {"public_url": public_url}})
    answer = collector.call("GET", f"/v1/projects/{WRITE_KEY}/settings").json()
    assert answer["integrations"]["Segment.io"] == {
        "apiKey": WRITE_KEY,
        "apiHost": "events.example.com/v1",
        "protocol": "https",
        "versionSettings": {},
    }
    assert answer["metrics"] == {"sampleRate": 0}
    assert collector.call("GET", "/v1/projects/nonsense/settings").status_code == 401


def test_metrics_of_segments_browser_sdk_are_answered_and_not_kept(collector: Collector) -> None:
    answer = collector.call("POST", "/v1/m", content=json.dumps({"series": [TRACK]}))
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert collector.records() == []


def test_rudderstacks_browser_sdk_is_told_that_there_is_nothing_to_load(collector: Collector) -> None:
    for carried in ({"params": {"writeKey": WRITE_KEY, "v": "3.34.1"}}, {"auth": (WRITE_KEY, "")}):
        source = collector.call("GET", "/sourceConfig/", **carried).json()["source"]
        assert (source["id"], source["enabled"], source["config"], source["destinations"]) == ("default", True, {}, [])
    assert collector.call("GET", "/sourceConfig/", params={"writeKey": "nonsense"}).status_code == 401
    assert collector.call("GET", "/sourceConfig/").status_code == 401


def test_a_tracking_pixel_is_a_message(collector: Collector) -> None:
    message = {"writeKey": WRITE_KEY, "anonymousId": "ann", "properties": {"title": "Shop?"}, "messageId": "m1"}
    data = base64.b64encode(json.dumps(message).encode()).decode()
    for given_data in (data, data.rstrip("="), data.replace("+", "-").replace("/", "_")):
        answer = collector.call("GET", "/v1/pixel/page", params={"data": given_data})
        assert (answer.status_code, answer.content) == (200, GIF)
    assert collector.call("HEAD", "/v1/pixel/page", params={"data": data}).status_code == 200
    assert [(one["type"], one["messageId"]) for one in collector.messages()] == [("page", "m1")] * 3
    for wrong in ("", "!", "bnVsbA==", "e30="):
        assert collector.call("GET", "/v1/pixel/page", params={"data": wrong}).status_code in (400, 401)


def test_a_plus_sign_that_a_page_did_not_encode_is_one(collector: Collector) -> None:
    message = {"writeKey": WRITE_KEY, "anonymousId": "ann", "event": "\u07fb\u07fb\u07fb>>>", "messageId": "m1"}
    data = base64.b64encode(json.dumps(message, ensure_ascii=False).encode()).decode()
    assert "+" in data
    assert collector.call("GET", f"/v1/pixel/track?data={data}").status_code == 200
    assert collector.messages()[0]["event"] == message["event"]


def test_the_context_of_a_batch_goes_for_its_messages(collector: Collector) -> None:
    own = {**TRACK, "context": {"locale": "fr"}}
    collector.post("/v1/batch", {"batch": [TRACK, own, 7], "context": {"locale": "de", "timezone": "Europe/Paris"}})
    found = [message["context"] for message in collector.messages() if isinstance(message, dict)]
    assert found == [{"locale": "de", "timezone": "Europe/Paris"}, {"locale": "fr", "timezone": "Europe/Paris"}]


def test_a_batch_of_too_many_messages_is_refused_whole(collector: Collector) -> None:
    answer = collector.post("/v1/batch", {"batch": [1] * (MAX_BATCH_MESSAGES + 1)})
    assert answer.status_code == 413
    assert collector.post("/v1/batch", {"batch": [1] * MAX_BATCH_MESSAGES}).status_code == 200
    assert len(collector.records()) == MAX_BATCH_MESSAGES


@pytest.mark.parametrize("field", ["timestamp", "originalTimestamp"])
def test_the_time_is_corrected_for_the_clients_clock(collector: Collector, field: str) -> None:
    wrong_ms = NOW_MS + 3_600_000
    message = {**TRACK, field: to_iso(wrong_ms - 5_000)}
    collector.post("/v1/batch", {"batch": [message], "sentAt": to_iso(wrong_ms)})
    assert [row.occurred_at_ms for row in collector.rows()] == [NOW_MS - 5_000]


def test_snowplow_times_are_corrected_by_their_own_sent_time(collector: Collector) -> None:
    wrong_ms = NOW_MS - 86_400_000
    event = {"e": "pv", "aid": WRITE_KEY, "uid": "u", "eid": "e", "dtm": str(wrong_ms - 1_500), "stm": str(wrong_ms)}
    collector.call("POST", "/com.snowplowanalytics.snowplow/tp2", json={"data": [event]})
    assert [row.occurred_at_ms for row in collector.rows()] == [NOW_MS - 1_500]
