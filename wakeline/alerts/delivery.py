"""Takes messages from the outbox to their channels: in order, again with growing pauses while a channel takes none."""

from collections.abc import Mapping
from dataclasses import dataclass

from wakeline.alerts.channels import Channel
from wakeline.alerts.outbox import ChannelState, Due, Outbox
from wakeline.alerts.problem import Look, Problem, Severity
from wakeline.alerts.text import duration, moment
from wakeline.clock import Clock

#: An attempt that was cut off is made again after this; longer than any attempt takes.
CLAIM_MS = 60_000
#: Pauses after the first, second ... failed attempt; the last one again and again.
PAUSES_SECONDS = (5, 10, 20, 40, 80, 160, 300)
#: A message that no channel took for so long would only confuse.
GIVE_UP_MS = 24 * 3_600_000
#: One failure is a hiccup; from the second on the channel counts as down.
_FAILURES = 2


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a round came to: how many messages each channel took, and why others took none."""

    delivered: int
    failures: dict[str, str]


def deliver(outbox: Outbox, channels: Mapping[str, Channel], clock: Clock, budget_ms: int) -> Delivery:
    """One round over all channels; no attempt is begun after the budget, so that a round has an end."""
    ends_ms = clock() + budget_ms
    delivered, failures = 0, dict[str, str]()
    for name, channel in channels.items():
        count, failure = _deliver_to(outbox, name, channel, clock, ends_ms)
        delivered += count
        failures |= {name: failure} if failure else {}
    return Delivery(delivered, failures)


def look_at(states: Mapping[str, ChannelState], channels: Mapping[str, Channel]) -> Look:
    """The channels of the settings that are down."""
    known = [state for name, state in states.items() if name in channels]
    down = [state for state in known if state.attempts >= _FAILURES]
    # A message that waits says nothing yet; after one was given up it is the next one's turn to find out.
    waits = {f"channel/{state.channel}" for state in known if state.waiting and state not in down}
    return Look(tuple(_problem(state) for state in down), frozenset(waits))


def _deliver_to(outbox: Outbox, name: str, channel: Channel, clock: Clock, ends_ms: int) -> tuple[int, str]:
    delivered = 0
    while clock() <= ends_ms and (due := _next(outbox, name, clock)):
        if error := channel.send(due.message):
            _put_off(outbox, due, error, clock)
            return delivered, error
        outbox.delivered(due, clock())
        delivered += 1
    return delivered, ""


def _next(outbox: Outbox, channel: str, clock: Clock) -> Due | None:
    """The channel's oldest message, if it is time for it and nobody else is at it."""
    due, now_ms = outbox.first(channel), clock()
    if due is None or due.next_attempt_ms > now_ms or not outbox.claim(due, now_ms + CLAIM_MS):
        return None
    return due


def _put_off(outbox: Outbox, due: Due, error: str, clock: Clock) -> None:
    now_ms = clock()
    if now_ms - due.created_ms >= GIVE_UP_MS:
        outbox.given_up(due, error, now_ms)
        return
    pause_seconds = PAUSES_SECONDS[min(due.attempts, len(PAUSES_SECONDS) - 1)]
    outbox.failed(due, error, now_ms + pause_seconds * 1000)


def _problem(state: ChannelState) -> Problem:
    since_ms = state.waiting_since_ms
    return Problem(
        f"channel/{state.channel}",
        Severity.ERROR,
        f"The alert channel '{state.channel}' took none of {state.waiting} messages in {state.attempts} attempts:"
        f" {state.error}",
        cause="its address or token is wrong or was withdrawn, or the service is down.",
        first_action=f"'wakeline test-alert {state.channel}' says what it answers; correct"
        f" alerts.channels.{state.channel}.url.",
        since_ms=since_ms,
    )


def describe(state: ChannelState, now_ms: int) -> str:
    """A channel in a few words."""
    if state.waiting:
        since = duration(now_ms - (state.waiting_since_ms or now_ms))
        why = f", {state.attempts} attempts: {state.error}" if state.error else ""
        return f"{state.waiting} messages wait, the oldest for {since}{why}"
    if state.delivered_ms is None:
        return "nothing was delivered yet"
    return f"last message delivered {moment(state.delivered_ms)}"
