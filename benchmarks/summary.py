"""Percentiles with their maximum and their number, because a p99 of ten values is no p99."""

from collections.abc import Sequence

from wakeline.pipeline.percentiles import percentiles

NAMES = ("p50", "p95", "p99", "max")


def summary(values: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99, max and count; only a count of 0 for no values."""
    if not values:
        return {"count": 0}
    rounded = {name: round(value, 1) for name, value in percentiles(values).items()}
    return {**rounded, "max": round(max(values), 1), "count": len(values)}
