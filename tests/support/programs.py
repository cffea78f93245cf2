"""Programs that tests need and that a machine may lack."""

import os

import pytest

#: Set where the tests must be complete: a program that is not installed then fails the test instead of skipping it.
REQUIRED = ("CI", "WAKELINE_REQUIRE_BROKERS")


def require(missing: str | None) -> None:
    """Skip the test for want of a program, or fail it where tests must be complete."""
    if missing is None:
        return
    if any(os.environ.get(name, "0") not in ("", "0") for name in REQUIRED):
        pytest.fail(missing)
    pytest.skip(missing)
