"""The simulated shop with times, and by hand what it should come to: an independent word on who gets which mail."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from support.messages import Message
from wakeline.clock import to_datetime, to_epoch_ms, to_iso
from wakeline.play.message import TimedMessage
from wakeline.play.storefront import simulate

DWELL_SECONDS = 600

#: (campaign, profile, occurrence) -> state, as `Site.sends` gives them.
Sends = dict[tuple[str, str, str], str]


def shopping(seed: int, people: int, minutes: int, start_ms: int) -> list[Message]:
    """Everything that happens in the shop, in time order, from `start_ms` on."""
    return [at(timed, start_ms) for timed in simulate(seed, people, minutes)]


def at(timed: TimedMessage, start_ms: int) -> Message:
    """The message of a play that starts at `start_ms`."""
    return {**timed.message, "timestamp": to_iso(start_ms + timed.at_ms)}


def time_of(message: Message) -> int:
    """When a message happened."""
    return to_epoch_ms(to_datetime(0).fromisoformat(message["timestamp"]))


def accepted(messages: Iterable[Message]) -> list[Message]:
    """Every message that keeps the contract, once."""
    sound = (one for one in messages if "anonymousId" in one and (one["type"] != "track" or "event" in one))
    return list({one["messageId"]: one for one in sound}.values())


def expected_sends(messages: Iterable[Message]) -> Sends:
    """Every decision that should stand in the ledger an hour after the last message and later."""
    journeys: dict[str, list[Message]] = defaultdict(list)
    for message in accepted(messages):
        journeys[message["anonymousId"]].append(message)
    found: Sends = {}
    for journey in journeys.values():
        found |= _sends_of(journey)
    return found


def _sends_of(journey: list[Message]) -> Sends:
    login = next((one for one in journey if one["type"] == "identify"), None)
    profile = f"user:{login['userId']}" if login else f"anonymous:{journey[0]['anonymousId']}"
    return {
        **{("order_confirmation", profile, key): _receipt_state(login) for key in _orders(journey)},
        **{("category_dwell", profile, key): _offer_state(login) for key in _dwells(journey)},
        **{("abandoned_cart", profile, key): _offer_state(login) for key in _left_carts(journey)},
    }


def _receipt_state(login: Message | None) -> str:
    return "sent" if login and login["traits"].get("email") else "skipped:no_address"


def _offer_state(login: Message | None) -> str:
    if _receipt_state(login) != "sent":
        return "skipped:no_address"
    assert login is not None
    return "sent" if login["context"]["consent"]["categoryPreferences"]["marketing"] else "skipped:no_consent"


def _named(journey: list[Message], event: str) -> list[dict[str, Any]]:
    return [one["properties"] for one in journey if one.get("event") == event]


def _orders(journey: list[Message]) -> list[str]:
    return [f"order/{order['order_id']}" for order in _named(journey, "Order Completed")]


def _dwells(journey: list[Message]) -> list[str]:
    seconds: dict[tuple[str, str], float] = defaultdict(float)
    for one in journey:
        if one.get("event") == "Page Engaged" and one["properties"].get("category"):
            seconds[one["properties"]["category"], one["timestamp"][:10]] += one["properties"]["engaged_seconds"]
    bought = {line["category"] for order in _named(journey, "Order Completed") for line in order["products"]}
    return [
        f"{category}/{day}"
        for (category, day), total in seconds.items()
        if total > DWELL_SECONDS and category not in bought
    ]


def _left_carts(journey: list[Message]) -> list[str]:
    """Carts that something is still in; nobody in the shop adds what was removed, or shops on after an order."""
    if _orders(journey):
        return []
    removed = {product["product_id"] for product in _named(journey, "Product Removed")}
    left = [product for product in _named(journey, "Product Added") if product["product_id"] not in removed]
    return sorted({f"cart/{product['cart_id']}" for product in left})
