"""Snowplow tracker payloads as Segment messages.

The tracker protocol: https://docs.snowplow.io/docs/fundamentals/canonical-event/ and the schema
iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4. An event is a flat object of texts, in a POST as one
of `data`, in a GET as the query.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from wakeline.clock import to_iso
from wakeline.collector.envelope import Batch, messages_of
from wakeline.collector.refused import RefusedError

#: Self-describing event name -> the Segment event it is; https://docs.snowplow.io/docs/events/ootb-data/
_NAMES = {
    "link_click": "Link Clicked",
    "change_form": "Form Changed",
    "submit_form": "Form Submitted",
    "focus_form": "Form Focused",
    "site_search": "Products Searched",
    "add_to_cart": "Product Added",
    "remove_from_cart": "Product Removed",
    "screen_view": "Screen Viewed",
}

Event = Mapping[str, Any]


def parse_snowplow(content: Mapping[str, Any]) -> list[Any]:
    """The events of a `tp2` body, in order; raises RefusedError (400, 413)."""
    data = content.get("data")
    if not isinstance(data, list):
        raise RefusedError(400, "The body has no list 'data'.")
    return messages_of(data)


def app_id(event: Any) -> str:
    """The app id (`aid`) of an event; an empty text when it has none."""
    return _text(event, "aid") if isinstance(event, dict) else ""


def by_source(events: Sequence[Any], sources: Sequence[str], engaged_seconds: float) -> list[tuple[Batch, str]]:
    """The messages of events, by the source of each; `engaged_seconds` is as for `to_message`."""
    found: dict[str, list[Any]] = {}
    for event, source in zip(events, sources, strict=True):
        found.setdefault(source, []).append(to_message(event, engaged_seconds))
    return [(Batch(messages, None), source) for source, messages in found.items()]


def to_message(event: Any, engaged_seconds: float) -> Any:
    """The Segment message of one event; what is not an object stays as it is and is quarantined later.

    `engaged_seconds` is what a page ping stands for: the tracker's `heartbeatDelay`, which it does not send.
    """
    if not isinstance(event, dict):
        return event
    message = _KINDS.get(_text(event, "e"), _unknown)(event)
    if event.get("e") == "pp":
        message["properties"]["engaged_seconds"] = engaged_seconds
    return {**_common(event), **message}


def _common(event: Event) -> dict[str, Any]:
    ids = {"userId": _text(event, "uid"), "anonymousId": _text(event, "duid") or _text(event, "nuid")}
    times = {"timestamp": _time(event, "ttm") or _time(event, "dtm"), "sentAt": _time(event, "stm")}
    found = {"messageId": _text(event, "eid"), **ids, **times}
    return {**{name: value for name, value in found.items() if value}, "context": _context(event)}


def _context(event: Event) -> dict[str, Any]:
    width, _, height = _text(event, "res").partition("x")
    found = {
        "library": {"name": "snowplow", "version": _text(event, "tv")},
        "app": _filled({"name": _text(event, "aid")}),
        "page": _page(event),
        "sessionId": _text(event, "sid"),
        "userAgent": _text(event, "ua"),
        "ip": _text(event, "ip"),
        "locale": _text(event, "lang"),
        "timezone": _text(event, "tz"),
        "screen": _filled({"width": _number(width), "height": _number(height)}),
        "snowplow": _entities(event),
    }
    return _filled(found)


def _page(event: Event) -> dict[str, Any]:
    address = _text(event, "url")
    path = "/" + address.split("://", 1)[-1].partition("/")[2].partition("#")[0].partition("?")[0] if address else ""
    return _filled({"url": address, "path": path, "title": _text(event, "page"), "referrer": _text(event, "refr")})


def _page_view(event: Event) -> dict[str, Any]:
    page = _page(event)
    return {"type": "page", "name": page.get("title", ""), "properties": page}


def _page_ping(event: Event) -> dict[str, Any]:
    properties = {"path": _page(event).get("path", ""), "scroll_depth_percent": _scroll_depth(event)}
    return {"type": "track", "event": "Page Engaged", "properties": _filled(properties)}


def _structured(event: Event) -> dict[str, Any]:
    properties = {
        "category": _text(event, "se_ca"),
        "action": _text(event, "se_ac"),
        "label": _text(event, "se_la"),
        "property": _text(event, "se_pr"),
        "value": _number(_text(event, "se_va")),
    }
    return {"type": "track", "event": _text(event, "se_ac"), "properties": _filled(properties)}


def _self_describing(event: Event) -> dict[str, Any]:
    described = _embedded(event, "ue_pr", "ue_px")
    inner = described.get("data") if isinstance(described, dict) else None
    if not isinstance(inner, dict):
        return _unknown(event)
    schema, data = _text(inner, "schema"), inner.get("data")
    name = schema.removeprefix("iglu:").split("/")[1] if schema.count("/") >= 1 else schema
    properties = data if isinstance(data, dict) else {"data": data}
    title = _NAMES.get(name, name.replace("_", " ").title())
    return {"type": "track", "event": title, "properties": {**properties, "schema": schema}}


def _transaction(event: Event) -> dict[str, Any]:
    properties = {
        "order_id": _text(event, "tr_id"),
        "affiliation": _text(event, "tr_af"),
        "total": _number(_text(event, "tr_tt")),
        "tax": _number(_text(event, "tr_tx")),
        "shipping": _number(_text(event, "tr_sh")),
        "currency": _text(event, "tr_cu"),
    }
    return {"type": "track", "event": "Order Completed", "properties": _filled(properties)}


def _transaction_item(event: Event) -> dict[str, Any]:
    properties = {
        "order_id": _text(event, "ti_id"),
        "product_id": _text(event, "ti_sk"),
        "name": _text(event, "ti_nm"),
        "category": _text(event, "ti_ca"),
        "price": _number(_text(event, "ti_pr")),
        "quantity": _number(_text(event, "ti_qu")),
        "currency": _text(event, "ti_cu"),
    }
    return {"type": "track", "event": "Order Item Added", "properties": _filled(properties)}


def _unknown(event: Event) -> dict[str, Any]:
    # The address is in the context, cut.
    properties = {name: value for name, value in event.items() if name != "ip"}
    return {"type": "track", "event": "Snowplow Event", "properties": properties}


_KINDS: dict[str, Callable[[Event], dict[str, Any]]] = {
    "pv": _page_view,
    "pp": _page_ping,
    "se": _structured,
    "ue": _self_describing,
    "tr": _transaction,
    "ti": _transaction_item,
}


def _entities(event: Event) -> list[Any]:
    found = _embedded(event, "co", "cx")
    entities = found.get("data") if isinstance(found, dict) else None
    return entities if isinstance(entities, list) else []


def _embedded(event: Event, plain: str, encoded: str) -> Any:
    """JSON that stands in a text, as it is or as unpadded base64url; None when it cannot be read."""
    text = _text(event, plain)
    try:
        if not text:
            packed = _text(event, encoded).encode()
            text = base64.urlsafe_b64decode(packed + b"=" * (-len(packed) % 4)).decode()
        return orjson.loads(text)
    except (binascii.Error, ValueError):
        return None


def _scroll_depth(event: Event) -> float:
    """How far down the page its lower edge has been: https://docs.snowplow.io/docs/sources/web-trackers/ activity."""
    height, view = _number(_text(event, "ds").partition("x")[2]), _number(_text(event, "vp").partition("x")[2])
    if not height:
        return 0
    return round(min(100, 100 * ((_number(_text(event, "pp_may")) or 0) + (view or 0)) / height), 1)


def _time(event: Event, field: str) -> str:
    """Milliseconds since the epoch as ISO 8601; what is no such number goes on as it is and is quarantined."""
    text = _text(event, field)
    if not text.isascii() or not text.isdigit():
        return text
    try:
        return to_iso(int(text))
    except (ValueError, OverflowError, OSError):
        return text


def _number(text: str) -> float | int | None:
    try:
        number = float(text)
    except ValueError:
        return None
    if number != number or number in (float("inf"), float("-inf")):
        return None
    return int(number) if number.is_integer() else number


def _text(event: Event, field: str) -> str:
    value = event.get(field)
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _filled(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, "", {}, [])}
