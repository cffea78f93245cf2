from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from support.clocks import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS, SECOND_MS
from support.messages import Message, identify, rows, track
from support.warehouse import Site

from wakeline.errors import ConfigError, WarehouseError
from wakeline.pipeline.triggers import LiveModel, LiveModels, Occurrence, load_live_models
from wakeline.warehouse.client import connect
from wakeline.warehouse.deploy import check_trigger
from wakeline.warehouse.evaluation import Evaluator, Member, describe
from wakeline.warehouse.landing import Landing

pytestmark = pytest.mark.stack

CART_WAIT_MS = HOUR_MS
TRIGGERS = ["abandoned_cart", "category_dwell", "confirm_opt_in", "order_confirmation"]
FIRST_MS = NOW_MS - DAY_MS


@dataclass
class Asker:
    """Puts messages into the warehouse and asks what they cause."""

    site: Site
    evaluator: Evaluator
    landed: int = 0

    def land(self, *messages: Message, partition: int = 0) -> None:
        """One batch."""
        found = rows(*messages, partition=partition, first=self.landed)
        assert {row.status for row in found} == {"accepted"}
        place = {partition: (self.landed, self.landed + len(found))}
        Landing(self.site.client, "events").insert(found, place)
        self.landed += len(found)

    def candidates(
        self,
        *touched: str,
        until_ms: int = NOW_MS,
        as_of_ms: int = NOW_MS,
        lane: int = 0,
        lane_count: int = 1,
    ) -> list[Member]:
        return sorted(self.evaluator.candidates(touched, lane, lane_count, until_ms, as_of_ms))

    def occurrences(self, *members: Member, as_of_ms: int = NOW_MS) -> list[Occurrence]:
        known = members or tuple(self.candidates("user:ann"))
        return self.evaluator.occurrences(known, as_of_ms)

    def fired(self, *members: Member, as_of_ms: int = NOW_MS) -> list[tuple[str, str, str]]:
        found = self.occurrences(*members, as_of_ms=as_of_ms)
        return sorted((one.trigger, one.profile_id, one.occurrence_key) for one in found)


@pytest.fixture
def live(site: Site) -> LiveModels:
    return load_live_models(site.settings)


@pytest.fixture
def asker(site: Site, live: LiveModels) -> Iterator[Asker]:
    evaluator = Evaluator(lambda: connect(site.settings.warehouse), live)
    yield Asker(site, evaluator)
    evaluator.close()


def login(message_id: str, user: str, device: str, at_ms: int = FIRST_MS) -> Message:
    return identify(message_id, user=user, device=device, at_ms=at_ms)


def engaged(message_id: str, seconds: float, at_ms: int = NOW_MS - MINUTE_MS, **who: str) -> Message:
    properties = {"category": "bags", "engaged_seconds": seconds}
    return track("Page Engaged", message_id, at_ms=at_ms, **(who or {"user": "ann"}), **properties)


def added(message_id: str, at_ms: int, product_id: str = "p1", **changes: Any) -> Message:
    properties = {"product_id": product_id, "name": "Tote", "price": 45.0, "quantity": 2, "currency": "EUR"}
    properties |= {"cart_id": "c1", **changes}
    return track("Product Added", message_id, user="ann", at_ms=at_ms, **properties)


def ordered(message_id: str, at_ms: int, category: str = "bags", order_id: str = "o1", **who: str) -> Message:
    line = {"product_id": "p1", "name": "Tote", "category": category, "price": 45.0, "quantity": 2}
    sums = {"order_id": order_id, "total": 90.0, "currency": "EUR", "products": [line]}
    return track("Order Completed", message_id, at_ms=at_ms, **(who or {"user": "ann"}), **sums)


def test_a_touched_device_that_nobody_logged_in_on_is_a_profile_of_its_own(asker: Asker) -> None:
    asker.land(engaged("m1", 5, device="phone"))
    assert asker.candidates("anonymous:phone") == [("anonymous:phone", "anonymous:phone")]


def test_a_touched_person_is_a_candidate_with_all_devices(asker: Asker) -> None:
    asker.land(login("m1", "ann", "phone"), login("m2", "ann", "tablet"), login("m3", "bob", "laptop"))
    members = [("user:ann", id_) for id_ in ("anonymous:phone", "anonymous:tablet", "user:ann")]
    assert asker.candidates("user:ann") == members
    assert asker.candidates("anonymous:phone") == members
    assert asker.candidates("anonymous:phone", "user:ann", "anonymous:tablet") == members


def test_a_device_shared_by_two_people_belongs_to_whoever_logged_in_first(asker: Asker) -> None:
    asker.land(login("m1", "bob", "phone", NOW_MS - MINUTE_MS), login("m2", "ann", "phone", NOW_MS - HOUR_MS))
    hers = [("user:ann", "anonymous:phone"), ("user:ann", "user:ann")]
    assert asker.candidates("user:bob") == [("user:bob", "user:bob")]
    assert asker.candidates("anonymous:phone") == asker.candidates("user:ann") == hers
    assert asker.candidates("user:bob", "anonymous:phone") == [*hers, ("user:bob", "user:bob")]


def test_an_earlier_login_that_arrives_late_takes_the_device_along(asker: Asker) -> None:
    asker.land(login("m1", "bob", "phone", NOW_MS - MINUTE_MS))
    assert ("user:bob", "anonymous:phone") in asker.candidates("user:bob")
    asker.land(login("m2", "ann", "phone", NOW_MS - HOUR_MS))
    assert asker.candidates("user:bob") == [("user:bob", "user:bob")]
    assert ("user:ann", "anonymous:phone") in asker.candidates("user:ann")


def test_nobody_is_a_candidate_when_nothing_happened_and_nothing_is_due(asker: Asker) -> None:
    asker.land(engaged("m1", 700), added("m2", NOW_MS))
    assert asker.candidates() == []


def test_a_wake_up_is_due_once_at_its_very_moment(asker: Asker) -> None:
    asker.land(added("m1", NOW_MS - CART_WAIT_MS))
    ann = [("user:ann", "user:ann")]
    assert asker.candidates(until_ms=NOW_MS - SECOND_MS, as_of_ms=NOW_MS - 1) == []
    assert asker.candidates(until_ms=NOW_MS - 1, as_of_ms=NOW_MS) == ann
    assert asker.candidates(until_ms=NOW_MS, as_of_ms=NOW_MS + HOUR_MS) == []
    assert asker.candidates(until_ms=NOW_MS - DAY_MS, as_of_ms=NOW_MS + DAY_MS) == ann


def test_only_events_that_a_trigger_waits_for_wake_anybody_up(asker: Asker) -> None:
    asker.land(engaged("m1", 5), ordered("m2", NOW_MS), login("m3", "ann", "phone", NOW_MS))
    assert asker.candidates(until_ms=0, as_of_ms=NOW_MS + 30 * DAY_MS) == []


def test_wake_ups_of_other_lanes_partitions_are_left_to_them(asker: Asker) -> None:
    asker.land(added("m1", NOW_MS), partition=5)
    after = {"until_ms": NOW_MS, "as_of_ms": NOW_MS + DAY_MS, "lane_count": 2}
    assert asker.candidates(lane=0, **after) == []
    assert asker.candidates(lane=1, **after) == [("user:ann", "user:ann")]


def test_the_wake_up_of_a_device_wakes_the_person_it_belongs_to(asker: Asker) -> None:
    asker.land(track("Product Added", "m1", device="phone", at_ms=NOW_MS, product_id="p1"), login("m2", "ann", "phone"))
    found = asker.candidates(until_ms=NOW_MS, as_of_ms=NOW_MS + CART_WAIT_MS)
    assert found == [("user:ann", "anonymous:phone"), ("user:ann", "user:ann")]


def test_who_is_no_candidate_is_not_evaluated(asker: Asker) -> None:
    asker.land(ordered("m1", NOW_MS), ordered("m2", NOW_MS, order_id="o2", user="bob"))
    assert asker.fired(("user:bob", "user:bob")) == [("order_confirmation", "user:bob", "order/o2")]
    assert asker.evaluator.occurrences([], NOW_MS) == []


def test_an_order_is_confirmed_with_what_was_ordered(asker: Asker) -> None:
    asker.land(ordered("m1", NOW_MS - MINUTE_MS))
    [found] = asker.occurrences()
    assert (found.trigger, found.profile_id, found.occurrence_key) == ("order_confirmation", "user:ann", "order/o1")
    assert (found.occurred_at_ms, found.expires_at_ms) == (NOW_MS - MINUTE_MS, NOW_MS - MINUTE_MS + DAY_MS)
    assert found.trigger_hash
    context = found.context
    assert (context["order_id"], context["total"], context["currency"]) == ("o1", 90.0, "EUR")
    assert [(line["name"], line["price"], line["quantity"]) for line in context["products"]] == [("Tote", 45.0, 2)]


def test_an_order_is_not_confirmed_when_it_is_old_or_was_cancelled(asker: Asker) -> None:
    cancelled = ordered("m3", NOW_MS - MINUTE_MS, order_id="o2") | {"event": "Order Cancelled"}
    asker.land(
        ordered("m1", NOW_MS - DAY_MS),
        ordered("m2", NOW_MS - HOUR_MS, order_id="o2"),
        cancelled,
        ordered("m4", NOW_MS - DAY_MS + 1, order_id="o3"),
    )
    assert asker.fired() == [("order_confirmation", "user:ann", "order/o3")]


def test_an_order_from_before_the_login_is_confirmed_to_the_person(asker: Asker) -> None:
    asker.land(ordered("m1", NOW_MS - MINUTE_MS, device="phone"))
    assert asker.fired(*asker.candidates("anonymous:phone")) == [("order_confirmation", "anonymous:phone", "order/o1")]
    asker.land(login("m2", "ann", "phone"))
    assert asker.fired(*asker.candidates("user:ann")) == [("order_confirmation", "user:ann", "order/o1")]


def test_a_page_that_is_called_like_an_event_is_not_that_event(asker: Asker) -> None:
    page = {"type": "page", "name": "Order Completed", "event": ""}
    asker.land(ordered("m1", NOW_MS - MINUTE_MS) | page)
    assert asker.fired() == []


def test_dwelling_counts_from_more_than_ten_engaged_minutes_in_a_category(asker: Asker) -> None:
    asker.land(engaged("m1", 300), engaged("m2", 300))
    assert asker.fired() == []
    asker.land(engaged("m3", 1))
    [found] = asker.occurrences()
    assert (found.trigger, found.occurrence_key) == ("category_dwell", "bags/2027-01-15")
    assert (found.context["category"], found.context["engaged_minutes"]) == ("bags", 10)
    assert (found.occurred_at_ms, found.expires_at_ms) == (NOW_MS - MINUTE_MS, NOW_MS - MINUTE_MS + 6 * HOUR_MS)


def test_dwelling_before_and_after_the_login_adds_up(asker: Asker) -> None:
    asker.land(engaged("m1", 400, device="phone"), engaged("m2", 400), login("m3", "ann", "phone"))
    assert asker.fired() == [("category_dwell", "user:ann", "bags/2027-01-15")]


def test_dwelling_in_two_categories_or_on_two_days_does_not_add_up(asker: Asker) -> None:
    elsewhere = engaged("m2", 400) | {"properties": {"category": "boots", "engaged_seconds": 400}}
    asker.land(engaged("m1", 400), elsewhere, engaged("m3", 400, at_ms=NOW_MS - 9 * HOUR_MS))
    assert asker.fired(as_of_ms=NOW_MS) == []


def test_dwelling_is_forgiven_to_who_bought_of_the_category_that_day(asker: Asker) -> None:
    asker.land(engaged("m1", 700), ordered("m2", NOW_MS - 2 * DAY_MS), ordered("m3", NOW_MS - 2 * DAY_MS, "boots"))
    assert asker.fired() == [("category_dwell", "user:ann", "bags/2027-01-15")]
    asker.land(ordered("m4", NOW_MS - 2 * HOUR_MS, "boots", "o4"))
    assert ("category_dwell", "user:ann", "bags/2027-01-15") in asker.fired()
    asker.land(ordered("m5", NOW_MS - 2 * HOUR_MS, "bags", "o5"))
    assert "category_dwell" not in {trigger for trigger, _, _ in asker.fired()}


def test_dwelling_is_of_no_interest_six_hours_later(asker: Asker) -> None:
    asker.land(engaged("m1", 700, at_ms=NOW_MS))
    assert asker.fired(as_of_ms=NOW_MS + 6 * HOUR_MS - 1)
    assert asker.fired(as_of_ms=NOW_MS + 6 * HOUR_MS) == []


def test_a_cart_is_abandoned_an_hour_after_something_was_last_put_into_it(asker: Asker) -> None:
    asker.land(added("m1", NOW_MS - 30 * MINUTE_MS), added("m2", NOW_MS, "p2", price=10.0, quantity=1))
    assert asker.fired(as_of_ms=NOW_MS + CART_WAIT_MS - 1) == []
    [found] = asker.occurrences(as_of_ms=NOW_MS + CART_WAIT_MS)
    assert (found.trigger, found.occurrence_key) == ("abandoned_cart", "cart/c1")
    assert (found.occurred_at_ms, found.expires_at_ms) == (NOW_MS + CART_WAIT_MS, NOW_MS + CART_WAIT_MS + DAY_MS)
    assert (found.context["total"], found.context["currency"]) == (100.0, "EUR")
    assert [line["product_id"] for line in found.context["products"]] == ["p2", "p1"]


def test_a_cart_is_not_abandoned_by_who_ordered_or_took_everything_out(asker: Asker) -> None:
    later = NOW_MS + 2 * HOUR_MS
    asker.land(added("m1", NOW_MS - 4))
    assert asker.fired(as_of_ms=later)
    asker.land(added("m2", NOW_MS - 3) | {"event": "Product Removed"})
    assert asker.fired(as_of_ms=later) == []
    asker.land(added("m3", NOW_MS - 2))
    assert asker.fired(as_of_ms=later)
    asker.land(ordered("m4", NOW_MS - 1))
    assert "abandoned_cart" not in {trigger for trigger, _, _ in asker.fired(as_of_ms=later)}


def test_a_cart_is_forgotten_after_two_days(asker: Asker) -> None:
    asker.land(added("m1", NOW_MS))
    assert asker.fired(as_of_ms=NOW_MS + 2 * DAY_MS - 1)
    assert asker.fired(as_of_ms=NOW_MS + 2 * DAY_MS) == []


def test_a_cart_without_an_id_is_known_by_the_day_it_was_filled(asker: Asker) -> None:
    asker.land(added("m1", NOW_MS, cart_id=""))
    assert asker.fired(as_of_ms=NOW_MS + HOUR_MS) == [("abandoned_cart", "user:ann", "cart/2027-01-15")]


def test_the_answer_depends_on_the_moment_asked_about_and_on_nothing_else(asker: Asker) -> None:
    asker.land(engaged("m1", 700), added("m2", NOW_MS - CART_WAIT_MS))
    asker.land(ordered("m3", NOW_MS - 2 * HOUR_MS, "boots"))
    moments = [NOW_MS - HOUR_MS, NOW_MS, NOW_MS + 7 * HOUR_MS, NOW_MS + 400 * DAY_MS]
    first = [asker.occurrences(as_of_ms=moment) for moment in moments]
    assert [asker.occurrences(as_of_ms=moment) for moment in moments] == first
    assert [len(found) for found in first] == [2, 3, 2, 0]


def test_a_person_is_reached_by_the_latest_address_under_any_id(asker: Asker) -> None:
    asker.land(
        identify("m1", device="phone", at_ms=NOW_MS - 2, email="old@example.com", firstName="Ann"),
        identify("m2", user="ann", device="phone", at_ms=NOW_MS - 1, email="ann@example.com"),
        engaged("m3", 5),
    )
    contacts = asker.evaluator.contacts(asker.candidates("user:ann"), NOW_MS)
    assert list(contacts) == ["user:ann"]
    assert (contacts["user:ann"]["email"], contacts["user:ann"]["first_name"]) == ("ann@example.com", "Ann")


def test_ids_with_odd_characters_are_candidates_like_any_other(asker: Asker) -> None:
    odd = "a\tb\nc\\d'\"\r\x00{}ü"
    asker.land(ordered("m1", NOW_MS, user=odd))
    assert asker.fired(*asker.candidates(f"user:{odd}")) == [("order_confirmation", f"user:{odd}", "order/o1")]


@pytest.mark.parametrize(
    ("sql", "sentence"),
    [
        (
            "SELECT '' AS profile_id, now() AS occurred_at, now() AS expires_at",
            "lacks the contract column occurrence_key; add it to its select.",
        ),
        (
            "SELECT '' AS profile_id, '' AS occurrence_key",
            "lacks the contract columns occurred_at, expires_at; add them to its select.",
        ),
        (
            "SELECT '' AS profile_id, '' AS occurrence_key, '' AS occurred_at, now64() AS expires_at",
            "the contract column occurred_at is no DateTime but String",
        ),
        (
            "SELECT '' AS profile_id, '' AS occurrence_key, now64() AS occurred_at, toNullable(now64()) AS expires_at",
            "the contract column expires_at is no DateTime but Nullable(DateTime64(3))",
        ),
        ("SELECT no_such_column FROM _candidates", "the trigger does not run: "),
        ("SELECT {no_such_parameter:String}", "the trigger does not run: "),
        ("SELECT 1 FROM no_such_table", "the trigger does not run: "),
        ("SELEKT", "the trigger does not run: "),
    ],
)
def test_a_trigger_that_breaks_the_contract_is_refused_by_the_name_of_its_file(
    site: Site, sql: str, sentence: str
) -> None:
    trigger = LiveModel("late_birds", "dbt_project/models/triggers/late_birds.sql", sql)
    with pytest.raises(ConfigError, match=r"^dbt_project/models/triggers/late_birds\.sql: ") as raised:
        check_trigger(site.client, trigger)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_every_trigger_of_the_project_keeps_the_contract(site: Site, live: LiveModels) -> None:
    assert [trigger.name for trigger in live.triggers] == TRIGGERS
    for trigger in live.triggers:
        check_trigger(site.client, trigger)
        columns = describe(site.client, trigger)
        assert all("DateTime64" in columns[name] for name in ("occurred_at", "expires_at"))


def test_a_model_that_fails_at_run_time_is_a_fault_that_names_its_file(site: Site, live: LiveModels) -> None:
    failing = replace(live.triggers[0], sql="SELECT throwIf(1)")
    models = replace(live, triggers=(failing, *live.triggers[1:]))
    evaluator = Evaluator(lambda: connect(site.settings.warehouse), models)
    try:
        with pytest.raises(WarehouseError, match=r"^dbt_project/models/triggers/abandoned_cart\.sql failed"):
            evaluator.occurrences([("user:ann", "user:ann")], NOW_MS)
    finally:
        evaluator.close()


def test_a_trigger_that_returns_somebody_else_is_refused_by_the_name_of_its_file(site: Site, live: LiveModels) -> None:
    contract = "'m' AS occurrence_key, now64() AS occurred_at, now64() AS expires_at"
    astray = replace(live.triggers[0], sql=f"SELECT 'user:bob' AS profile_id, {contract}")
    evaluator = Evaluator(lambda: connect(site.settings.warehouse), replace(live, triggers=(astray,)))
    try:
        with pytest.raises(ConfigError, match=r"^dbt_project/models/triggers/abandoned_cart\.sql: "):
            evaluator.occurrences([("user:ann", "user:ann")], NOW_MS)
    finally:
        evaluator.close()
