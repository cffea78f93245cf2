"""The collector's OpenAPI document: complete, and true of what is served."""

import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import checks
from starlette.routing import Route
from support.collecting import WRITE_KEY, Collector

from wakeline.collector.service import openapi_document

METHODS = ("get", "post")
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path)
    yield made
    made.stream.close()


def choices(path: str, item: dict[str, Any]) -> Iterator[str]:
    """The path with every value its enumerated parameters may have."""
    enumerated = {one["name"]: one["schema"]["enum"] for one in item.get("parameters", []) if "enum" in one["schema"]}
    for values in product(*enumerated.values()):
        found = path
        for name, value in zip(enumerated, values, strict=True):
            found = found.replace(f"{{{name}}}", value)
        yield found


def test_every_address_is_in_the_document_and_every_documented_one_is_served(collector: Collector) -> None:
    documented = {
        (method.upper(), address)
        for path, item in openapi_document()["paths"].items()
        for method in METHODS
        if method in item
        for address in choices(path, item)
    }
    served = {
        (method, route.path)
        for route in collector.app.routes
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert served == documented


def test_the_document_is_served(collector: Collector) -> None:
    answer = collector.call("GET", "/openapi.json")
    assert answer.json() == openapi_document()
    assert re.match(r"3\.1\.", answer.json()["openapi"])


def operations() -> list[Any]:
    """Every operation of the document."""
    found = schemathesis.openapi.from_dict(openapi_document()).get_all_operations()
    return [one.ok() for one in found]


@pytest.mark.parametrize("operation", operations(), ids=lambda operation: operation.label)
def test_nothing_that_can_be_asked_is_answered_with_a_fault(collector: Collector, operation: Any) -> None:
    @settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def ask(case: schemathesis.Case) -> None:
        answer = case.call(app=collector.app, base_url="http://collector", auth=(WRITE_KEY, ""))
        case.validate_response(answer, checks=CHECKS)

    ask()
