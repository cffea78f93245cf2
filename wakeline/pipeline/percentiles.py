"""Latency percentiles, the same everywhere."""

from collections.abc import Sequence
from statistics import quantiles


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """p50, p95 and p99; empty for no values."""
    if not values:
        return {}
    if len(values) == 1:
        return dict.fromkeys(("p50", "p95", "p99"), float(values[0]))
    cuts = quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98]}
