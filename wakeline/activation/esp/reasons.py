"""What a provider says, such that it may stand in the ledger and in logs."""

import re
from collections.abc import Iterable

_MAX_CHARACTERS = 300
_ADDRESS = re.compile(r"[^\s<>\"'(),:;]+@[^\s<>\"'(),:;]*[^\s<>\"'(),:;.]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def clean_reason(reason: str, secrets: Iterable[str] = ()) -> str:
    """A reason that is short, in one line, and without these secrets and the addresses of people."""
    for secret in secrets:
        reason = reason.replace(secret, "...")
    reason = _ADDRESS.sub("(address)", _CONTROL.sub(" ", reason))
    return reason if len(reason) <= _MAX_CHARACTERS else f"{reason[:_MAX_CHARACTERS]}..."
