"""Finds a real person, and what a trigger says of them now, for a mail to look at."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

from wakeline.activation.addresses import parse_address
from wakeline.errors import ConfigError, WakelineError, WarehouseError
from wakeline.events import ADDRESS_KIND, normalised, subject_fields
from wakeline.pipeline.triggers import LiveModels, Occurrence, load_live_models
from wakeline.settings import Settings
from wakeline.warehouse.client import FAULTS, connect, first_line
from wakeline.warehouse.evaluation import Evaluator, Member

#: So many of the profiles that share an address are named.
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Person:
    """A person's contact columns, and the trigger's latest occurrence for them if there is one."""

    profile_id: str
    contact: Mapping[str, Any]
    occurrence: Occurrence | None


def find_person(settings: Settings, trigger: str, who: str, now_ms: int) -> Person:
    """The person behind an id, such as `user:ann`, or a mail address; the trigger is asked as of `now_ms`.

    Raises ConfigError when there is no such trigger or nothing is deployed, WarehouseError when ClickHouse cannot be
    asked, WakelineError when nobody is known by the id or the address, or several are.
    """
    models = _only(load_live_models(settings), trigger)
    id_ = who if _is_id(who) else _owner_of(settings, _address(who))
    with closing(Evaluator(lambda: connect(settings.warehouse), models)) as evaluator:
        return _asked(evaluator, id_, now_ms)


def _only(models: LiveModels, trigger: str) -> LiveModels:
    triggers = tuple(model for model in models.triggers if model.name == trigger)
    if not triggers:
        known = ", ".join(model.name for model in models.triggers)
        raise ConfigError(f"The trigger '{trigger}' is not deployed; run 'wakeline deploy'. Known are {known}.")
    return replace(models, triggers=triggers)


def _is_id(who: str) -> bool:
    try:
        subject_fields(who)
    except ValueError:
        return False
    return True


def _address(who: str) -> str:
    try:
        return normalised(parse_address(who).addr_spec)
    except ValueError as error:
        raise WakelineError(
            f"{who!r} is neither an id nor an address ({error}); write user:ID, anonymous:ID or ann@example.com."
        ) from error


def _owner_of(settings: Settings, address: str) -> str:
    owners = _owners(settings, address)
    # A profile that is only an address stands back where a person has it.
    people = [one for one in owners if not one.startswith(ADDRESS_KIND)] or owners
    if not people:
        raise WakelineError(f"Nobody has the address {address}; write the person's id, such as user:ID.")
    if len(people) > 1:
        raise WakelineError(f"Several profiles have the address {address}; name one: {', '.join(people[:_NAMED])}.")
    return people[0]


def _owners(settings: Settings, address: str) -> list[str]:
    query = "SELECT profile_id FROM persons WHERE lower(trimBoth(email)) = {address:String} ORDER BY profile_id"
    with closing(connect(settings.warehouse)) as client:
        try:
            return [row[0] for row in client.query(query, {"address": address}).result_rows]
        except FAULTS as error:
            raise WarehouseError(f"ClickHouse cannot be asked who has an address: {first_line(error)}") from error


def _asked(evaluator: Evaluator, id_: str, now_ms: int) -> Person:
    # No wake-up is due between now and now, so these are the ids of one profile.
    members: Sequence[Member] = evaluator.candidates([id_], 0, 1, now_ms, now_ms)
    [profile_id] = {profile_id for profile_id, _ in members}
    contact = evaluator.contacts(members, now_ms).get(profile_id)
    if contact is None:
        raise WakelineError(f"Nobody is known as {id_}; write another id, or an address.")
    found = sorted(evaluator.occurrences(members, now_ms), key=lambda one: (one.occurred_at_ms, one.occurrence_key))
    return Person(profile_id, {**contact, "profile_id": profile_id}, found[-1] if found else None)
