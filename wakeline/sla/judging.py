"""Judges what was measured by the service levels: each judgement is a sentence with figures."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wakeline.sla.freshness import Freshness
from wakeline.sla.settings import SlaSettings
from wakeline.sla.volume import MIN_WEEKS, Minute, Window, latest, usual

HEARTBEAT_ARRIVES, LAG, VOLUME = "heartbeat_arrives", "lag_within_sla", "volume_as_usual"
QUARANTINE, LATENCY = "quarantine_within_limit", "latency_within_sla"
SENDS, FRESH = "sends_within_sla", "fresh_within_sla"

_HOUR_MS = 3_600_000
#: After a start of everything, a resident run may take so long until it reads.
_START_MS = 120_000
_LATE_SHARE = 0.05
#: With a smaller share of the heartbeats of the window nobody knows what came of customers.
_LEAST_COVERAGE = 0.5


@dataclass(frozen=True, slots=True)
class Latencies:
    """Mails of the window: how many, how many of them late, and their p95 in seconds."""

    count: int
    late: int
    p95_seconds: float


@dataclass(frozen=True, slots=True)
class Activity:
    """When a campaign first decided on somebody, and when it last sent; 0 for never. Epoch milliseconds."""

    first_evaluated_ms: int
    last_sent_ms: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether a service level is kept. `subject` is the campaign or the model where there are several."""

    check: str
    passed: bool
    description: str
    subject: str = ""
    #: A guess, or not yet a failure.
    is_warning: bool = False
    #: False where it cannot be known yet: what was said before stands.
    is_known: bool = True
    figures: Mapping[str, float | int | str] = field(default_factory=dict)


def judge_lag(read_until_ms: Mapping[str, int], sla: SlaSettings, now_ms: int, since_ms: int) -> Judgement:
    """What was appended is read in time, by each lane. Nobody has looked before `since_ms`."""
    lane, until_ms = min(read_until_ms.items(), key=lambda one: one[1])
    lag = (now_ms - until_ms) / 1000
    figures: dict[str, float | int | str] = {"lane": lane}
    if not until_ms:
        said = f"Lane {lane} has never read the stream; {sla.lag_seconds:g} s are allowed."
    else:
        figures["lag_seconds"] = lag
        said = f"Lane {lane} has read what was appended until {lag:.0f} s ago; {sla.lag_seconds:g} s are allowed."
    passed = lag <= sla.lag_seconds
    is_known = passed or _is_known(until_ms, now_ms, since_ms)
    return Judgement(LAG, passed, said, is_known=is_known, figures=figures)


def judge_heartbeats(
    heartbeats_ms: Mapping[int, int], partitions: int | None, sla: SlaSettings, read_until_ms: int, since_ms: int
) -> Judgement:
    """A heartbeat has come through the collector to each partition, as far as the lanes have read.

    So a lane that stands still is no fault of the collector. `partitions` is how many must have one; None: any of them.
    """
    if not sla.heartbeat_seconds:
        return Judgement(HEARTBEAT_ARRIVES, True, "Heartbeats are off: sla.heartbeat_seconds is 0.")
    if partitions is None:
        [(where, at_ms)] = [("", max(heartbeats_ms.values(), default=0))]
    else:
        known = {f" in partition {number}": heartbeats_ms.get(number, 0) for number in range(partitions)}
        where, at_ms = min(known.items(), key=lambda one: one[1])
    age = (read_until_ms - at_ms) / 1000
    passed = age <= sla.heartbeat_fail_after_seconds
    allowed = f"{sla.heartbeat_fail_after_seconds:g} s are allowed"
    said = f"The last heartbeat{where} was received {max(age, 0):.0f} s before what was read last; {allowed}."
    if not at_ms:
        said = f"No heartbeat{where} has been received in the last day; {allowed}."
    is_known = passed or _is_known(at_ms, read_until_ms, since_ms)
    figures = {"age_seconds": max(age, 0.0)} if at_ms else {}
    return Judgement(HEARTBEAT_ARRIVES, passed, said, is_known=is_known, figures=figures)


def judge_quarantine(window: Window, sla: SlaSettings) -> Judgement:
    """Few of the customers' events of the window are in quarantine."""
    total, bad = window.received, window.quarantined
    percent = bad / total * 100 if total else 0.0
    figures = {"received": total, "quarantined": bad, "percent": percent}
    period = f"of the last {sla.window_minutes} minutes"
    if total < sla.quarantine_min_events:
        said = f"Not judged: {total} events {period}, {sla.quarantine_min_events} are needed."
        return Judgement(QUARANTINE, True, said, figures=figures)
    limit = f"{sla.max_quarantine_percent:g}% are allowed"
    said = f"{bad} of {total} events {period} are in quarantine ({percent:.1f}%, {limit})."
    return Judgement(QUARANTINE, percent <= sla.max_quarantine_percent, said, figures=figures)


def judge_volume(minutes: Mapping[int, Minute], partitions: int, sla: SlaSettings, at_ms: int) -> Judgement:
    """No less traffic than is usual at this time of the week; all that came until `at_ms` is known."""
    window = latest(minutes, at_ms, sla.window_minutes)
    coverage = _coverage(window, partitions, sla)
    found = usual(minutes, at_ms, sla.window_minutes, window.seconds * coverage)
    period = f"in {window.seconds:.0f} s"
    figures: dict[str, float | int | str] = {"events": window.accepted, "seconds": window.seconds}
    if coverage < _LEAST_COVERAGE:
        said = f"Not judged: only {coverage:.0%} of the heartbeats have come {period}."
        return Judgement(VOLUME, True, said, is_warning=True, is_known=False, figures=figures)
    if found is None:
        said = f"Not judged: fewer than {MIN_WEEKS} earlier weeks have traffic at this time."
        return Judgement(VOLUME, True, said, is_warning=True, figures=figures)
    figures |= {"expected": found.expected, "score": found.score(window.accepted)}
    usually = f"{window.accepted} events came {period}, {found.expected:.0f} are usual at this time of the week"
    if found.expected < sla.volume_min_events:
        return Judgement(VOLUME, True, f"Not judged: {usually}.", is_warning=True, figures=figures)
    score = found.score(window.accepted)
    said = f"{usually} (score {score:.1f}, {-sla.volume_score:g} is allowed)."
    return Judgement(VOLUME, score >= -sla.volume_score, said, is_warning=True, figures=figures)


def judge_latency(found: Latencies, sla: SlaSettings) -> Judgement:
    """Mails that an event caused are accepted by the ESP in time."""
    figures = {"sends": found.count, "late": found.late, "p95_seconds": found.p95_seconds}
    period = f"of the last {sla.window_minutes} minutes"
    if found.count < sla.latency_min_sends:
        said = f"Not judged: {found.count} mails {period}, {sla.latency_min_sends} are needed."
        return Judgement(LATENCY, True, said, figures=figures)
    said = (
        f"{found.late} of {found.count} mails {period} were accepted late or not yet (p95 {found.p95_seconds:.1f} s,"
        f" {sla.latency_p95_seconds:g} s are allowed)."
    )
    return Judgement(LATENCY, found.late <= _LATE_SHARE * found.count, said, figures=figures)


def judge_sends(campaign: str, max_hours: float, done: Activity | None, is_paused: bool, now_ms: int) -> Judgement:
    """A campaign has sent something within `max_hours`; one that never has, since it first decided on somebody."""
    if is_paused:
        return Judgement(SENDS, True, "Not judged: the campaign is paused.", campaign)
    if done is None:
        return Judgement(SENDS, True, "Not judged: its trigger has found nobody yet.", campaign)
    hours = (now_ms - (done.last_sent_ms or done.first_evaluated_ms)) / _HOUR_MS
    since = "The last mail was sent" if done.last_sent_ms else "No mail was ever sent; the first decision was made"
    said = f"{since} {hours:.1f} h ago; {max_hours:g} h of silence are allowed."
    return Judgement(SENDS, hours <= max_hours, said, campaign, figures={"silent_hours": hours})


def judge_freshness(
    model: str, freshness: Freshness, is_streamed: bool, at_ms: int | None, now_ms: int, since_ms: int
) -> Judgement:
    """A model is as new as its YAML says: of a streamed one `at_ms` is until when all that came is in it."""
    if at_ms is None:
        return Judgement(FRESH, True, "Not judged: the table is not there.", model, is_known=False)
    age = (now_ms - at_ms) / 1000
    failed, warned = age > freshness.fail_after_seconds, age > (freshness.warn_after_seconds or age)
    what = "All that came until" if is_streamed else "It was last built"
    then = f"{age:.0f} s ago is in it" if is_streamed else f"{age:.0f} s ago"
    said = f"{what} {then}; {freshness.fail_after_seconds:g} s are allowed."
    is_known = not (failed or warned) or not is_streamed or _is_known(at_ms, now_ms, since_ms)
    return Judgement(
        FRESH, not (failed or warned), said, model, is_warning=not failed, is_known=is_known,
        figures={"age_seconds": age},
    )  # fmt: skip


def _is_known(at_ms: int, now_ms: int, since_ms: int) -> bool:
    """Whether something late is a fault: what has not come since somebody looks may be on its way after a start."""
    return at_ms >= since_ms or now_ms - since_ms > _START_MS


def _coverage(window: Window, partitions: int, sla: SlaSettings) -> float:
    """The share of the window in which the way was open, as far as heartbeats tell."""
    if not sla.heartbeat_seconds:
        return 1.0
    return min(1.0, window.heartbeats / (window.seconds / sla.heartbeat_seconds * partitions))
