"""One sensor for each concern, made from the tables."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import cache

import dagster as dg

from orchestration.configuration import settings
from sensors.alerts.asset_looks import look_at_checks, look_at_freshness
from sensors.alerts.looks import look_at_backpressure, look_at_databases, look_at_disk, look_at_lanes, look_at_pauses
from sensors.alerts.run_looks import look_at_runs, look_at_sensors
from wakeline.alerts.book import Book, open_book
from wakeline.alerts.concerns import CONCERNS, DELIVERY, OF_LOOKS, Concern
from wakeline.alerts.delivery import Delivery, deliver, look_at
from wakeline.alerts.last_looks import look_at_looks
from wakeline.alerts.links import links
from wakeline.alerts.problem import Look
from wakeline.clock import system_clock
from wakeline.errors import WakelineError

#: A tick that takes 60 s is cut off by Dagster.
_DELIVERY_MS = 20_000

LOOKS: dict[str, Callable[[dg.SensorEvaluationContext], Look]] = {
    "freshness": look_at_freshness,
    "runs": look_at_runs,
    "checks": look_at_checks,
    "lanes": look_at_lanes,
    "databases": look_at_databases,
    "pauses": look_at_pauses,
    "backpressure": look_at_backpressure,
    "disk": look_at_disk,
    "sensors": look_at_sensors,
}


@cache
def book() -> Book:
    """The book of this process, open as long as the process lives."""
    return ExitStack().enter_context(open_book(settings()))


def build_alert_sensors() -> list[dg.SensorDefinition]:
    """The sensors of all concerns, and the one that delivers."""
    return [_sensor(one) for one in CONCERNS if one.sensor != DELIVERY.sensor] + [_delivery_sensor()]


def _sensor(concern: Concern) -> dg.SensorDefinition:
    look = LOOKS[concern.name]

    @dg.sensor(
        name=concern.sensor,
        minimum_interval_seconds=concern.every_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Alerts: {concern.meaning}",
    )
    def evaluate(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        try:
            seen = look(context)
        except WakelineError as error:  # What cannot be looked at is neither well nor broken.
            context.log.error(str(error))
            return dg.SkipReason(f"Nothing can be said, so nothing opens or closes: {error}")
        return dg.SkipReason(_take(concern, seen))

    return evaluate


def _take(concern: Concern, seen: Look) -> str:
    told = book().take(concern, seen, system_clock())
    problems = " ".join(problem.summary for problem in seen.problems[:3])
    said = "".join(f" Told: {message.title}." for message in told)
    return f"{len(seen.problems)} problems. {problems}{said}".strip()


def _delivery_sensor() -> dg.SensorDefinition:
    @dg.sensor(
        name=DELIVERY.sensor,
        minimum_interval_seconds=DELIVERY.every_seconds,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Alerts: delivers what waits to be told, and tells through the others that a channel is down, and"
        " which concern does not look.",
    )
    def alert_delivery(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        done = deliver(book().outbox, book().channels, system_clock, _DELIVERY_MS)
        book().take(DELIVERY, look_at(book().outbox.states(), book().channels), system_clock())
        now_ms = system_clock()
        book().take(OF_LOOKS, look_at_looks(book().store.looks(), now_ms, links(settings())), now_ms)
        book().forget(now_ms)
        return dg.SkipReason(_delivered(done))

    return alert_delivery


def _delivered(done: Delivery) -> str:
    failures = "".join(f" {channel} took none: {error}" for channel, error in done.failures.items())
    return f"{done.delivered} messages delivered.{failures}"
