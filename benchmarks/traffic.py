"""What the load generator posts: many visits of identified people to the demo shop, all at once.

The n-th event of a load always is the same step of the same visit, so that orders are evenly spread over time.
"""

import random
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from wakeline.clock import to_iso
from wakeline.play.catalogue import CURRENCY, Product, products
from wakeline.play.message import Moment, Page, TimedMessage, identify, page_view, track

#: One letter for each event of a visit; see `_act`.
VISIT = "HPLEPVEEPVEAPVEVEAPO"
#: Every fifth visit ends with an order: with twenty events a visit, one event in a hundred.
VISITS_PER_ORDER = 5
#: Between two events of a visit, so that an order follows well after the identify that told the address.
PAUSE_SECONDS = 1.0

_ENGAGED_SECONDS = 15
_HOME = Page("/shop", "Wakeline Demo Shop")
_CHECKOUT = Page("/shop/checkout", "Checkout")
# Odd, so multiplying by it maps 32 bits one to one: ids spread like real ones and never collide.
_SCRAMBLE = 2_654_435_761


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with an address who agreed to marketing."""

    number: int

    @property
    def code(self) -> str:
        return f"{self.number * _SCRAMBLE % 2**32:08x}"

    @property
    def traits(self) -> dict[str, str]:
        return {"email": f"{self.code}@example.com", "firstName": "Ada", "lastName": f"Bench {self.number}"}


class Traffic:
    """The events of one step at `rate` a second, after `known_people` people were identified in earlier steps."""

    def __init__(self, step: str, rate: float, known_people: int) -> None:
        self._step = step
        self._known_people = known_people
        self._visits_per_pause = max(1, round(rate * PAUSE_SECONDS / len(VISIT)))
        self._rng = random.Random(step)  # noqa: S311 - load, no secret

    def event(self, index: int, at_ms: int) -> dict[str, Any]:
        """The message of an event that is to be posted at `at_ms`."""
        place = index % len(VISIT)
        visit = index // len(VISIT) - place * self._visits_per_pause
        person, is_new = self._visitor(visit)
        session = f"session-{self._step}-{visit}"
        product = products()[(visit * 7 + place // 6) % len(products())]
        moment = Moment(at_ms, f"device-{person.code}", f"customer-{person.code}", session, _page(product))
        order = order_id(self._step, at_ms, index) if is_order(index) else ""
        timed = self._act(_what(place, is_new, order), moment, person, product, order)
        return {**timed.message, "timestamp": _iso(at_ms)}

    def _visitor(self, visit: int) -> tuple[Person, bool]:
        """Every other visitor is new; visits that began before the load are by people who are known."""
        if visit >= 0 and visit % 2 == 0:
            return Person(self._known_people + visit // 2), True
        return Person((visit * _SCRAMBLE % 2**32 >> 8) % self._known_people), False

    def _act(self, what: str, moment: Moment, person: Person, product: Product, order: str) -> TimedMessage:
        identity = f"{self._rng.getrandbits(128):032x}"
        if what == "I":
            return identify(moment, person.traits, True, identity)
        if what in "HP":
            return page_view(moment, "" if what == "H" else product.category, identity)
        name, properties = _tracked(what, product, moment.session_id, order)
        return track(moment, name, properties, identity)


def identified(number: int, at_ms: int) -> dict[str, Any]:
    """The message that makes a person known."""
    person = Person(number)
    moment = Moment(at_ms, f"device-{person.code}", f"customer-{person.code}", f"session-{number}", _HOME)
    timed = identify(moment, person.traits, True, f"{random.getrandbits(128):032x}")
    return {**timed.message, "timestamp": _iso(at_ms)}


def is_order(index: int) -> bool:
    """Whether the event of this number completes an order."""
    visit_end, place = divmod(index, len(VISIT))
    return VISIT[place] == "O" and visit_end % VISITS_PER_ORDER == 0


def order_id(step: str, at_ms: int, index: int) -> str:
    """Unique for each order of a benchmark, and tells when it was to be posted."""
    return f"{step}-{index}-{at_ms}"


def scheduled_at_ms(order: str) -> int:
    """The time in an `order_id`."""
    return int(order.rpartition("-")[2])


def new_people(events: int) -> int:
    """How many people the first so many events of a load make known."""
    visits = -(-events // len(VISIT))
    return -(-visits // 2)


def _what(place: int, is_new: bool, order: str) -> str:
    if place == 0:
        return "I" if is_new else "H"
    if place == len(VISIT) - 1:
        return "O" if order else "E"
    return VISIT[place]


def _tracked(what: str, product: Product, session: str, order: str) -> tuple[str, dict[str, Any]]:
    if what == "L":
        return "Product List Viewed", {"category": product.category, "list_id": f"list-{product.category}"}
    if what == "V":
        return "Product Viewed", _properties(product)
    if what == "A":
        return "Product Added", _properties(product) | {"quantity": 1, "cart_id": f"cart-{session}"}
    if what == "O":
        sums = {"total": product.price, "revenue": product.price, "currency": CURRENCY}
        return "Order Completed", {"order_id": order, **sums, "products": [product.line() | {"quantity": 1}]}
    engaged = {"engaged_seconds": _ENGAGED_SECONDS, "scroll_depth_percent": 40, "path": product.url}
    return "Page Engaged", engaged | {"category": product.category, "product_id": product.id}


#: The events of one POST have one time.
_iso = lru_cache(maxsize=1)(to_iso)


@cache
def _properties(product: Product) -> dict[str, Any]:
    return product.properties()


@cache
def _page(product: Product) -> Page:
    return Page(product.url, product.name)
