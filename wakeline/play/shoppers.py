"""The people of the simulated shop: who they are and what they tend to do."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum


class Behaviour(StrEnum):
    """What a person does on every visit."""

    BROWSE = "browse"
    DWELL = "dwell"
    ABANDON_CART = "abandon_cart"
    BUY = "buy"
    LOG_IN_LATE = "log_in_late"


@dataclass(frozen=True, slots=True)
class Habit:
    """A behaviour, and whether the person left an address and agrees to marketing."""

    behaviour: Behaviour
    has_email: bool = True
    marketing: bool = True


@dataclass(frozen=True, slots=True)
class Shopper:
    """A person; `email` is empty for one who left none."""

    number: int
    anonymous_id: str
    user_id: str
    first_name: str
    last_name: str
    email: str
    habit: Habit

    def traits(self) -> dict[str, str]:
        """What an `identify` says about the person."""
        names = {"firstName": self.first_name, "lastName": self.last_name}
        return {"email": self.email, **names} if self.email else names


# Dealt like cards and not drawn, so that twenty people already show everything.
_DECK = (
    *[Habit(Behaviour.BROWSE)] * 6,
    *[Habit(Behaviour.DWELL)] * 3,
    Habit(Behaviour.DWELL, has_email=False),
    Habit(Behaviour.DWELL, marketing=False),
    *[Habit(Behaviour.ABANDON_CART)] * 2,
    Habit(Behaviour.ABANDON_CART, has_email=False),
    Habit(Behaviour.ABANDON_CART, marketing=False),
    *[Habit(Behaviour.BUY)] * 2,
    Habit(Behaviour.BUY, marketing=False),
    *[Habit(Behaviour.LOG_IN_LATE)] * 2,
)
_FIRST_NAMES = (
    "Ada", "Amir", "Anouk", "Bela", "Carla", "Chidi", "Dana", "Elif", "Emil", "Fatou", "Greta", "Hugo",
    "Ines", "Jonas", "Keiko", "Lena", "Luca", "Mara", "Milan", "Nadia", "Noor", "Oskar", "Paula",
    "Ravi", "Rosa", "Samir", "Sofia", "Tomas", "Uma", "Viktor", "Wanda", "Yara",
)  # fmt: skip
_LAST_NAMES = (
    "Adeyemi", "Bauer", "Castro", "Dubois", "Eriksen", "Fischer", "Garcia", "Haddad", "Ivanova",
    "Jansen", "Kowalska", "Lindqvist", "Moreau", "Nakamura", "Okafor", "Petrov", "Quinn", "Rossi",
    "Silva", "Tanaka", "Urban", "Vogel", "Weber", "Yilmaz", "Zimmer",
)  # fmt: skip


def shoppers(rng: random.Random, seed: int, people: int) -> list[Shopper]:
    """That many people; the first of a larger number are the same as those of a smaller one."""
    habits = _dealt(rng)
    return [_shopper(rng, seed, number, next(habits)) for number in range(1, people + 1)]


def _dealt(rng: random.Random) -> Iterator[Habit]:
    while True:
        yield from rng.sample(_DECK, len(_DECK))


def _shopper(rng: random.Random, seed: int, number: int, habit: Habit) -> Shopper:
    first, last = rng.choice(_FIRST_NAMES), rng.choice(_LAST_NAMES)
    person = f"{seed}-{number}"
    email = f"{first}.{last}.{person}@example.com".lower() if habit.has_email else ""
    return Shopper(number, f"device-{person}", f"shopper-{person}", first, last, email, habit)
