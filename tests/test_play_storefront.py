from collections import Counter, defaultdict
from itertools import pairwise
from typing import Any

import pytest

from wakeline.play.catalogue import categories, find_product, products, products_of
from wakeline.play.message import SHOP_URL, TimedMessage
from wakeline.play.storefront import simulate

Message = dict[str, Any]
MINUTES = 30


@pytest.fixture(scope="module", params=[1, 2, 3])
def played(request: pytest.FixtureRequest) -> list[TimedMessage]:
    return list(simulate(request.param, people=60, minutes=MINUTES))


@pytest.fixture(scope="module")
def journeys(played: list[TimedMessage]) -> dict[str, list[Message]]:
    """By device, without what is broken or delivered again."""
    found: dict[str, dict[str, Message]] = defaultdict(dict)
    for timed in played:
        if "anonymousId" in timed.message and (timed.message["type"] != "track" or "event" in timed.message):
            found[timed.message["anonymousId"]][timed.message["messageId"]] = timed.message
    return {device: list(messages.values()) for device, messages in found.items()}


def events(journey: list[Message]) -> list[str]:
    return [str(message.get("event", message["type"])) for message in journey]


def introduction(journey: list[Message]) -> Message | None:
    return next((message for message in journey if message["type"] == "identify"), None)


def engaged_minutes(journey: list[Message]) -> dict[str, float]:
    minutes: dict[str, float] = defaultdict(float)
    for message in journey:
        properties = message.get("properties", {})
        if message.get("event") == "Page Engaged" and "category" in properties:
            minutes[properties["category"]] += properties["engaged_seconds"] / 60
    return minutes


def is_dweller(journey: list[Message]) -> bool:
    return "Order Completed" not in events(journey) and any(
        11 <= minutes <= 20 for minutes in engaged_minutes(journey).values()
    )


def test_the_same_seed_gives_the_same_messages() -> None:
    assert list(simulate(7, 20, 10)) == list(simulate(7, 20, 10))


def test_another_run_shares_no_message() -> None:
    first, *others = (
        {timed.message["messageId"] for timed in simulate(*arguments)}
        for arguments in [(1, 20, 10), (2, 20, 10), (1, 21, 10), (1, 20, 11)]
    )
    assert all(first.isdisjoint(other) for other in others)


def test_messages_come_in_time_order_within_the_time(played: list[TimedMessage]) -> None:
    assert all(before.at_ms <= after.at_ms for before, after in pairwise(played))
    assert played[0].at_ms >= 0
    assert played[-1].at_ms <= MINUTES * 60_000


def test_nothing_goes_on_beyond_a_short_time() -> None:
    assert 0 < max(timed.at_ms for timed in simulate(1, 20, 2)) <= 2 * 60_000


def test_people_come_back_in_another_session_when_there_is_time() -> None:
    sessions = defaultdict(set)
    for timed in simulate(1, 20, 24 * 60):
        sessions[timed.message.get("anonymousId")].add(timed.message["context"]["sessionId"])
    assert any(len(found) > 1 for found in sessions.values())


def test_every_message_says_where_it_comes_from(played: list[TimedMessage]) -> None:
    for timed in played:
        context = timed.message["context"]
        assert context["sessionId"]
        assert set(context["page"]) == {"path", "url", "title"}
        assert context["page"]["url"] == SHOP_URL + context["page"]["path"]
        assert context["library"] == {"name": "wakeline-play"}
        assert "timestamp" not in timed.message


def test_browsers_stay_anonymous_and_buy_nothing(journeys: dict[str, list[Message]]) -> None:
    browsers = [
        journey
        for journey in journeys.values()
        if introduction(journey) is None and "Order Completed" not in events(journey)
    ]
    assert len(browsers) >= 3
    assert all("userId" not in message for journey in browsers for message in journey)


def test_dwellers_spend_long_in_one_category_and_buy_nothing(journeys: dict[str, list[Message]]) -> None:
    assert sum(is_dweller(journey) and introduction(journey) is not None for journey in journeys.values()) >= 3


def test_carts_are_abandoned_by_known_people(journeys: dict[str, list[Message]]) -> None:
    abandoned = [
        journey
        for journey in journeys.values()
        if introduction(journey) is not None
        and events(journey).count("Product Added") > events(journey).count("Product Removed")
        and "Order Completed" not in events(journey)
    ]
    assert len(abandoned) >= 3


def test_buyers_view_add_and_order(journeys: dict[str, list[Message]]) -> None:
    buyers = [journey for journey in journeys.values() if "Order Completed" in events(journey)]
    assert len(buyers) >= 3
    for journey in buyers:
        names = events(journey)
        assert names.index("Product Viewed") < names.index("Product Added") < names.index("Order Completed")


def test_an_order_holds_what_was_left_in_the_cart(journeys: dict[str, list[Message]]) -> None:
    for journey in journeys.values():
        cart: Counter[str] = Counter()
        for message in journey:
            properties = message.get("properties", {})
            match message.get("event"):
                case "Product Added":
                    cart[properties["product_id"]] += properties["quantity"]
                case "Product Removed":
                    cart[properties["product_id"]] -= properties["quantity"]
                case "Order Completed":
                    ordered = {line["product_id"]: line["quantity"] for line in properties["products"]}
                    assert ordered == +cart
                    assert properties["total"] == sum(
                        line["price"] * line["quantity"] for line in properties["products"]
                    )


def test_some_log_in_after_minutes_as_a_stranger_on_the_same_device(journeys: dict[str, list[Message]]) -> None:
    late = []
    for journey in journeys.values():
        known_from = next((index for index, message in enumerate(journey) if "userId" in message), 0)
        if sum(engaged_minutes(journey[:known_from]).values()) >= 5:
            late.append(journey)
            assert journey[known_from]["type"] == "identify"
            assert is_dweller(journey)
            assert all("userId" in message for message in journey[known_from:])
    assert len(late) >= 3


def test_some_leave_no_address_and_some_allow_no_marketing(journeys: dict[str, list[Message]]) -> None:
    introductions = [found for journey in journeys.values() if (found := introduction(journey))]
    consents = Counter(found["context"]["consent"]["categoryPreferences"]["marketing"] for found in introductions)
    assert sum("email" not in found["traits"] for found in introductions) >= 3
    assert consents[False] >= 3
    assert consents[True] >= 10
    assert all({"firstName", "lastName"} <= set(found["traits"]) for found in introductions)


def test_a_few_messages_are_delivered_twice_as_they_are(played: list[TimedMessage]) -> None:
    by_id = defaultdict(list)
    for timed in played:
        by_id[timed.message["messageId"]].append(timed)
    twice = [deliveries for deliveries in by_id.values() if len(deliveries) > 1]
    assert 0.002 < len(twice) / len(played) < 0.03
    assert all(delivery == deliveries[0] for deliveries in twice for delivery in deliveries)


def test_a_few_messages_are_broken_in_both_ways(played: list[TimedMessage]) -> None:
    messages = [timed.message for timed in played]
    nobody = sum("anonymousId" not in message and "userId" not in message for message in messages)
    nameless = sum(message["type"] == "track" and "event" not in message for message in messages)
    assert nobody > 0
    assert nameless > 0
    assert (nobody + nameless) / len(messages) < 0.02


def test_addresses_begin_with_the_shop_and_ids_do_not_depend_on_it() -> None:
    here, there = (list(simulate(1, 20, 10, shop_url)) for shop_url in (SHOP_URL, "http://127.0.0.1:9"))
    views = [timed.message["properties"] for timed in there if timed.message.get("event") == "Product Viewed"]
    assert all(view["url"].startswith("http://127.0.0.1:9/shop/") for view in views)
    assert all(view["image_url"].startswith("http://127.0.0.1:9/shop/images/") for view in views)
    assert [timed.message["messageId"] for timed in here] == [timed.message["messageId"] for timed in there]


def test_the_catalogue_has_about_forty_products_with_ids_of_their_own() -> None:
    assert len({product.id for product in products()}) == len(products()) >= 40
    assert {"sneakers", "dresses", "jackets", "bags"} <= set(categories())
    assert [product for category in categories() for product in products_of(category)] == list(products())
    assert find_product("sneakers-1") == products_of("sneakers")[0]
    assert find_product("nothing") is None
