"""The states of a send, and how one becomes another.

A send begins with the decision of the gates; every change after it is one of TRANSITIONS. `sent`, `failed` and
`skipped` are final, but for a skip for want of an address, and for what somebody reopens by hand.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from wakeline.activation.deliverability import DeliveryReport
from wakeline.activation.esp.protocol import Accepted, MissingVariable, Outcome, Rejected, TryLater
from wakeline.activation.gates import DEFERRED, HELD, Decision, Skip, Wait

CLAIMED, SENT, FAILED, RETRY, UNKNOWN, SKIPPED = "claimed", "sent", "failed", "retry", "unknown", "skipped"

#: state -> the states that may follow; None is a send that has no row yet.
TRANSITIONS: Mapping[str | None, frozenset[str]] = {
    None: frozenset({CLAIMED, SKIPPED, DEFERRED, HELD, SENT}),
    CLAIMED: frozenset({SENT, FAILED, RETRY, UNKNOWN, SKIPPED}),
    RETRY: frozenset({CLAIMED, SKIPPED, UNKNOWN, DEFERRED, HELD, SENT}),
    DEFERRED: frozenset({CLAIMED, SKIPPED, DEFERRED, HELD, SENT}),
    HELD: frozenset({CLAIMED, SKIPPED, DEFERRED, HELD, SENT}),
    UNKNOWN: frozenset({SENT, FAILED, RETRY, SKIPPED}),
    SKIPPED: frozenset({CLAIMED, SKIPPED, DEFERRED, HELD, SENT}),
    SENT: frozenset(),
    FAILED: frozenset({DEFERRED, SENT}),
}
#: They wait for their time, or for an obstacle to go, and are then asked about again.
WAITING = (RETRY, DEFERRED, HELD)
#: They count against a frequency cap from the moment of their claim: the mail is out, or may be. One that waits for
#: its retry counts whenever it was claimed.
COUNTED = (CLAIMED, SENT, UNKNOWN)
#: In a ledger that was restored these, and a skip for want of an address, may have become a mail in the lost one.
OPEN_TO_THE_LOST = (RETRY, DEFERRED, HELD, FAILED)
#: An answer that tells more than the state is heard in these.
UNSETTLED = (CLAIMED, RETRY, UNKNOWN)

#: Why a send that may already be out is looked at again.
INTERRUPTED = "the run ended before the ESP's answer was recorded"
#: The one reason of a skip that is decided again.
NO_ADDRESS = "no_address"
#: The one reason of a skip that no gate gives: the mail cannot be rendered for this person.
MISSING_VARIABLE = "missing_variable"

#: Why a send waits that the ESP had refused: somebody has seen to that, and has it tried again.
REOPENED = "reopened"

_FIRST_REPEAT_MS, _LAST_REPEAT_MS = 10_000, 600_000


def decided(decision: Decision) -> dict[str, Any]:
    """The columns that a first decision sets."""
    match decision:
        case Skip(reason, record):
            return {"state": SKIPPED, "reason": reason, "record": record, "next_attempt_at_ms": 0}
        case Wait(state, reason, until_ms, record):
            return {"state": state, "reason": reason, "record": record, "next_attempt_at_ms": until_ms}
        case None:
            return {"state": CLAIMED, "reason": "", "record": None, "next_attempt_at_ms": 0}


def decided_again(row: Mapping[str, Any], decision: Decision) -> dict[str, Any]:
    """The columns that a later decision sets on a send that waited.

    What may be out is never called skipped: nobody knows. What it had waited for stays on record.
    """
    values = decided(decision)
    if isinstance(decision, Skip) and row["may_be_out_since_ms"] is not None:
        return {"state": UNKNOWN, "reason": f"{row['reason']}; not tried again: {decision.reason}"}
    if isinstance(decision, Skip) and row["state"] != RETRY:
        waited = {"waited_for": row["reason"], "until_ms": row["next_attempt_at_ms"]}
        values["record"] = {**(decision.record or {}), **waited}
    return values


def reopened(row: Mapping[str, Any], now_ms: int) -> dict[str, Any] | None:
    """The columns of a send that failed and is to be tried again, all gates first; None when it must not be.

    It waits as one that never was claimed: nothing of it counts against a cap.
    """
    if row["state"] != FAILED or row["may_be_out_since_ms"] is not None:
        return None
    return {"state": DEFERRED, "reason": REOPENED, "next_attempt_at_ms": now_ms}


def reported(report: DeliveryReport) -> dict[str, Any]:
    """The columns of a send that the ESP's webhook reports on: it is out, whoever has sent it."""
    return {"state": SENT, "reason": "", "record": asdict(report)}


def settled(outcome: Outcome, claimed_at_ms: int, answered_at_ms: int, attempts: int, key_ms: int) -> dict[str, Any]:
    """The columns that the ESP's answer sets. `key_ms` is how long the ESP knows a key again: 0 where it takes none."""
    match outcome:
        case Accepted(provider_id, esp):
            return {
                "state": SENT,
                "reason": "",
                "esp": esp,
                "provider_id": provider_id,
                "esp_accepted_at_ms": answered_at_ms,
            }
        case MissingVariable(reason):
            return {"state": SKIPPED, "reason": MISSING_VARIABLE, "record": {"problem": reason}}
        case Rejected(reason):
            return {"state": FAILED, "reason": reason}
        case TryLater(after_seconds, reason):
            return {
                "state": RETRY,
                "reason": reason,
                "next_attempt_at_ms": answered_at_ms + round(after_seconds * 1000),
            }
        case _:
            return lost(outcome.reason, claimed_at_ms, answered_at_ms, attempts, key_ms)


def lost(reason: str, claimed_at_ms: int, now_ms: int, attempts: int, key_ms: int) -> dict[str, Any]:
    """The columns of a send whose answer nobody has: asked for again only while the ESP knows the key again."""
    values = {"state": UNKNOWN, "reason": reason, "may_be_out_since_ms": claimed_at_ms}
    if now_ms - claimed_at_ms < key_ms:
        pause_ms = min(_LAST_REPEAT_MS, _FIRST_REPEAT_MS * 2 ** max(0, attempts - 1))
        values |= {"state": RETRY, "next_attempt_at_ms": now_ms + pause_ms}
    return values
