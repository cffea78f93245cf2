"""JMESPath expressions of the settings (https://jmespath.org/specification.html), checked when the collector starts.

A text is written 'in single quotes', any other value `in backticks` as JSON.
"""

# mypy: disable-error-code="no-untyped-call"

from collections.abc import Iterator, Mapping
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions

from wakeline.errors import ConfigError, WakelineError

#: The functions that take an expression (`&price`) as an argument; nothing else knows what to do with one.
_TAKING_EXPRESSIONS = frozenset({"map", "max_by", "min_by", "sort_by"})

#: What the library raises while it evaluates: besides its own errors those of Python for values that a function is not
#: made for, `contains('text', `7`)` for one.
_FAULTS = (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError)


class UnmappableError(WakelineError):
    """An expression of the settings cannot be evaluated on a body; the sentence names it, and no value."""


class Expression:
    """An expression with its place in the settings, `webhooks.shop.rules[0].event` for one."""

    def __init__(self, place: str, text: str) -> None:
        """Raises ConfigError naming the place and the fault."""
        self.place = place
        try:
            self._compiled = jmespath.compile(text)
        except JMESPathError as error:
            raise ConfigError(f"{place} is not a JMESPath expression: {_one_line(error)}.") from error
        for fault in _faults(self._compiled.parsed, taken=False):
            raise ConfigError(f"{place} is not a JMESPath expression: {fault}.")

    def of(self, value: Any) -> Any:
        """What the expression makes of a value, None where there is nothing; raises UnmappableError."""
        try:
            return self._compiled.search(value)
        except _FAULTS as error:
            raise UnmappableError(f"{self.place} cannot be evaluated on this body.") from error


def is_true(value: Any) -> bool:
    """JMESPath's notion of truth: all but null, false and what is empty; zero is true."""
    return value is not None and value is not False and value not in ("", [], {})


def _faults(node: Mapping[str, Any], *, taken: bool) -> Iterator[str]:
    """What the library would only notice in the middle of a body, and perhaps never."""
    is_call = node["type"] == "function_expression"
    if node["type"] == "expref" and not taken:
        yield f"'&' may only stand in an argument of {', '.join(sorted(_TAKING_EXPRESSIONS))}"
    if is_call and not _can_be_called(node["value"], len(node["children"])):
        yield f"there is no function '{node['value']}' of {len(node['children'])} arguments"
    for child in node["children"]:
        if isinstance(child, Mapping):
            yield from _faults(child, taken=is_call and node["value"] in _TAKING_EXPRESSIONS)


def _can_be_called(name: str, given: int) -> bool:
    function = Functions.FUNCTION_TABLE.get(name)
    if function is None:
        return False
    signature = function["signature"]
    return given >= len(signature) if signature[-1].get("variadic") else given == len(signature)


def _one_line(error: JMESPathError) -> str:
    return " ".join(str(error).replace("^", "").split()).removesuffix(".")
