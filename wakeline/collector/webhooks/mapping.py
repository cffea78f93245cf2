"""From a body to messages by the rules of the settings; nothing of a body is lost, whatever the rules make of it."""

import hashlib
import math
from collections.abc import Iterator
from typing import Any

from wakeline.collector.envelope import messages_of
from wakeline.collector.webhooks.crm import Message, nobody, time_text, track
from wakeline.collector.webhooks.expressions import Expression, UnmappableError, is_true
from wakeline.collector.webhooks.reading import digest
from wakeline.collector.webhooks.settings import MappedRule

KEPT = "Webhook Received"

#: Setting -> the field of a message that it fills.
_FIELDS = {
    "event": "event",
    "name": "name",
    "user_id": "userId",
    "anonymous_id": "anonymousId",
    "group_id": "groupId",
    "previous_id": "previousId",
}
#: Landing takes 255; a number may be added.
_MAX_ID_LENGTH = 240
#: A smaller number is in seconds; in milliseconds it would be before 1973.
_FIRST_MILLISECONDS = 100_000_000_000


class Mapping:
    """The rules of one webhook, compiled; raises ConfigError naming the first expression that is wrong."""

    def __init__(self, webhook: str, rules: list[MappedRule]) -> None:
        self._webhook = webhook
        self._rules = [_Rule(f"webhooks.{webhook}.rules[{number}]", number, rule) for number, rule in enumerate(rules)]

    def messages(self, content: Any, body: bytes) -> list[Message]:
        """What all rules make of a body, and the body itself when one cannot be followed or none is for it.

        `body` is what came, of which the ids of the messages are made. Raises RefusedError (413) for too many.
        """
        found: list[Message] = []
        faults: list[str] = []
        identity = hashlib.sha256(body).hexdigest()
        for rule in self._rules:
            made = rule.messages(content, (self._webhook, identity), faults)
            # One body may mean several things; the same id would make the later ones duplicates.
            found += [_renumbered(one, rule.number) for one in made] if found else made
        if faults or not found:
            found.append(self._kept(content, identity, faults[0] if faults else "No rule is for this body."))
        return messages_of(found)

    def _kept(self, content: Any, identity: str, reason: str) -> Message:
        facts = {"body": content, "reason": reason}
        message_id = digest(self._webhook, identity, KEPT)
        return track(KEPT, facts, anonymousId=nobody(self._webhook), messageId=message_id)


class _Rule:
    """One rule; `number` is its place among the rules, from 0."""

    def __init__(self, place: str, number: int, rule: MappedRule) -> None:
        self.number = number
        self._type = rule.type
        self._when = _compiled(place, "when", rule.when)
        self._each = _compiled(place, "each", rule.each)
        self._fields = {
            field: Expression(f"{place}.{setting}", getattr(rule, setting))
            for setting, field in _FIELDS.items()
            if getattr(rule, setting)
        }
        self._message_id = _compiled(place, "message_id", rule.message_id)
        self._timestamp = _compiled(place, "timestamp", rule.timestamp)
        self._tables = {"traits": _table(place, "traits", rule.traits)}
        self._tables["properties"] = _table(place, "properties", rule.properties)

    def messages(self, content: Any, identity: tuple[str, str], faults: list[str]) -> list[Message]:
        """One message for each element; what cannot be evaluated is told in `faults` and costs no neighbour."""
        found = []
        try:
            elements = list(self._elements(content))
        except UnmappableError as error:
            faults.append(str(error))
            return []
        for number, element in enumerate(elements):
            try:
                found.append(self._message(element, (*identity, self.number, number)))
            except UnmappableError as error:
                faults.append(str(error))
        return found

    def _elements(self, content: Any) -> Iterator[Any]:
        if self._when is not None and not is_true(self._when.of(content)):
            return
        if self._each is None:
            yield content
            return
        elements = self._each.of(content)
        if elements is not None and not isinstance(elements, list):
            raise UnmappableError(f"{self._each.place} is no list in this body.")
        yield from ({"each": element, "body": content} for element in elements or [])

    def _message(self, element: Any, identity: tuple[Any, ...]) -> Message:
        message: Message = {"type": self._type, "messageId": self._id_of(element, identity)}
        message.update(_evaluated(self._fields, element))
        if self._timestamp is not None:
            message.update(_known({"timestamp": _time(self._timestamp.of(element))}))
        message.update({name: _evaluated(table, element) for name, table in self._tables.items() if table})
        return message

    def _id_of(self, element: Any, identity: tuple[Any, ...]) -> str:
        given = self._message_id.of(element) if self._message_id is not None else None
        if given is None or given == "":
            return digest(*identity)
        fits = isinstance(given, str | int) and not isinstance(given, bool) and len(str(given)) <= _MAX_ID_LENGTH
        return str(given) if fits else digest(given)


def _compiled(place: str, setting: str, text: str) -> Expression | None:
    return Expression(f"{place}.{setting}", text) if text else None


def _table(place: str, setting: str, table: dict[str, str]) -> dict[str, Expression]:
    return {name: Expression(f"{place}.{setting}.{name}", text) for name, text in table.items()}


def _evaluated(table: dict[str, Expression], element: Any) -> dict[str, Any]:
    return _known({name: expression.of(element) for name, expression in table.items()})


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _time(value: Any) -> Any:
    """A number as ISO 8601; a text goes on as it is, and what is no time is quarantined later."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < math.inf:
        return value
    return time_text(round(value * 1000) if abs(value) < _FIRST_MILLISECONDS else round(value))


def _renumbered(message: Message, number: int) -> Message:
    return {**message, "messageId": f"{message['messageId']}-{number}"}
