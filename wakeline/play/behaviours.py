"""What the people of the simulated shop do on a visit."""

from collections.abc import Callable
from dataclasses import dataclass

from wakeline.play.catalogue import Product, categories, products_of
from wakeline.play.shoppers import Behaviour
from wakeline.play.visits import CART, HOME, LOGIN, Visit


@dataclass(frozen=True, slots=True)
class Script:
    """How a behaviour is acted, and the longest it can take: a visit starts early enough to end in time."""

    act: Callable[[Visit], None]
    longest_minutes: int


def script(behaviour: Behaviour) -> Script:
    """The script of a behaviour."""
    return _SCRIPTS[behaviour]


def _browse(visit: Visit) -> None:
    visit.open(HOME)
    visit.stay(visit.rng.randint(5, 30))
    category = visit.rng.choice(categories())
    visit.open_category(category)
    visit.stay(visit.rng.randint(5, 40), category)
    for product in _some(visit, category, 0, 2):
        _look_at(visit, product, visit.rng.randint(5, 45))


def _dwell(visit: Visit) -> None:
    _arrive_known(visit)
    category = visit.rng.choice(categories())
    visit.open_category(category)
    _linger(visit, category, visit.rng.randint(11 * 60, 19 * 60))


def _abandon_cart(visit: Visit) -> None:
    _arrive_known(visit)
    _fill_cart(visit)
    visit.open(CART)
    visit.stay(visit.rng.randint(5, 45))


def _buy(visit: Visit) -> None:
    _arrive_known(visit)
    _fill_cart(visit)
    visit.open(CART)
    visit.stay(visit.rng.randint(5, 20))
    visit.order()


def _log_in_late(visit: Visit) -> None:
    visit.open(HOME)
    category = visit.rng.choice(categories())
    visit.open_category(category)
    _linger(visit, category, visit.rng.randint(5 * 60, 7 * 60))
    visit.open(LOGIN)
    visit.log_in()
    visit.open_category(category)
    _linger(visit, category, visit.rng.randint(6 * 60, 9 * 60))


def _arrive_known(visit: Visit) -> None:
    visit.open(HOME)
    visit.open(LOGIN)
    visit.log_in()


def _linger(visit: Visit, category: str, seconds: int) -> None:
    """Spend engaged seconds on the product pages of one category; now and then the tab is hidden."""
    shelf = products_of(category)
    while seconds > 0:
        stay = min(seconds, visit.rng.randint(45, 150))
        _look_at(visit, visit.rng.choice(shelf), stay)
        seconds -= stay
        if visit.rng.random() < 0.2:
            visit.pass_seconds(5, 20)


def _fill_cart(visit: Visit) -> None:
    category = visit.rng.choice(categories())
    visit.open_category(category)
    chosen = _some(visit, category, 1, 3)
    for product in chosen:
        _look_at(visit, product, visit.rng.randint(15, 75))
        visit.add(product)
    if len(chosen) > 1 and visit.rng.random() < 0.4:
        visit.remove()


def _look_at(visit: Visit, product: Product, seconds: int) -> None:
    visit.open_product(product)
    visit.stay(seconds, product.category, product)


def _some(visit: Visit, category: str, least: int, most: int) -> list[Product]:
    return visit.rng.sample(products_of(category), visit.rng.randint(least, most))


_SCRIPTS = {
    Behaviour.BROWSE: Script(_browse, longest_minutes=5),
    Behaviour.DWELL: Script(_dwell, longest_minutes=28),
    Behaviour.ABANDON_CART: Script(_abandon_cart, longest_minutes=8),
    Behaviour.BUY: Script(_buy, longest_minutes=8),
    Behaviour.LOG_IN_LATE: Script(_log_in_late, longest_minutes=25),
}
