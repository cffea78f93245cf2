"""What Prometheus is told and asked for."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import promql_parser
from prometheus_client.parser import text_string_to_metric_families

GRAFANA = Path(__file__).resolve().parents[2] / "deploy" / "grafana"

#: (name, labels) -> value.
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples_of(text: str) -> Samples:
    """The samples of an exposition."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(samples: Samples, name: str, **labels: str) -> float:
    """The one sample with this name and exactly these labels."""
    return samples[name, tuple(sorted(labels.items()))]


def types_of(text: str) -> dict[str, str]:
    """Name -> type of every metric of an exposition."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


def dashboard() -> ModuleType:
    """The script that writes the dashboard."""
    spec = importlib.util.spec_from_file_location("wakeline_dashboard", GRAFANA / "dashboard.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # Its dataclasses look their module up by name.
    spec.loader.exec_module(module)
    return module


def asked_for(expression: str) -> set[str]:
    """The metrics of a PromQL expression; raises ValueError where it is none."""
    whole = expression.replace("$__rate_interval", "5m")
    return {selector.name for selector in _selectors(promql_parser.parse(whole)) if selector.name}


def _selectors(part: object) -> Iterator[promql_parser.VectorSelector]:
    match part:
        case promql_parser.VectorSelector():
            yield part
        case promql_parser.MatrixSelector():
            yield part.vector_selector
        case promql_parser.Call():
            for argument in part.args:
                yield from _selectors(argument)
        case promql_parser.BinaryExpr():
            yield from _selectors(part.lhs)
            yield from _selectors(part.rhs)
        case promql_parser.AggregateExpr() | promql_parser.ParenExpr() | promql_parser.UnaryExpr():
            yield from _selectors(part.expr)
        case promql_parser.NumberLiteral() | promql_parser.StringLiteral():
            return
        case _:
            raise AssertionError(f"a kind of expression that is not known here: {part!r}")
