"""One message when something breaks, one when it is well again, whatever is seen in between."""

import pytest
from support.alerting import NEVER, Watched, concern, problem
from support.clocks import HOUR_MS, NOW_MS, SECOND_MS

from wakeline.activation.quiet_hours import QuietHours
from wakeline.alerts.concerns import BY_NAME, CONCERNS
from wakeline.alerts.inhibition import FLOW, GRACE_SECONDS, RULES, is_inhibited
from wakeline.alerts.machine import FLAP_QUIET_SECONDS, Kind, Notice, Policy
from wakeline.alerts.problem import Problem, Severity
from wakeline.alerts.silences import Silence, Window, is_silenced, is_within
from wakeline.alerts.text import compose, duration

LANES, CHECKS = concern("lanes"), concern("checks")


def test_what_breaks_is_told_once_and_what_is_well_again_as_well() -> None:
    watched = Watched()
    assert watched.look(LANES) == []
    assert watched.look(LANES, "lane/0", after=10) == ["opened lane/0"]
    assert watched.look(LANES, "lane/0", after=10) == []
    assert watched.look(LANES, after=10) == ["recovered lane/0"]
    assert watched.look(LANES, after=10) == []


def test_what_passes_by_itself_is_not_told() -> None:
    watched, slow = Watched(), concern(open_after=30)
    assert watched.look(slow, "lane/0") == []
    assert watched.look(slow, "lane/0", after=29) == []
    assert watched.look(slow, after=1) == []
    assert watched.look(slow, "lane/0", after=1) == []
    assert watched.look(slow, "lane/0", after=29) == []
    assert watched.look(slow, "lane/0", after=1) == ["opened lane/0"]


def test_a_problem_may_be_more_urgent_than_its_concern() -> None:
    assert Watched().look(concern(open_after=60), problem("lane/0", open_after_seconds=0)) == ["opened lane/0"]


def test_a_recovery_that_does_not_last_is_none() -> None:
    watched, slow = Watched(), concern(close_after=30)
    watched.look(slow, "lane/0")
    assert watched.look(slow, after=10) == []
    assert watched.look(slow, after=29) == []
    assert watched.look(slow, "lane/0", after=1) == []
    assert watched.look(slow, after=1) == []
    assert watched.look(slow, after=30) == ["recovered lane/0"]


def test_what_breaks_together_is_one_message_and_recovers_as_one() -> None:
    watched, grouped = Watched(), concern("checks", group=10)
    assert watched.look(grouped, "check/a/x") == []
    assert watched.look(grouped, "check/a/x", "check/b/x", after=5) == []
    assert watched.look(grouped, "check/a/x", "check/b/x", after=5) == ["opened check/a/x check/b/x"]
    assert watched.look(grouped, "check/b/x", after=5) == []
    assert watched.look(grouped, after=5) == []
    assert watched.look(grouped, after=5) == ["recovered check/a/x check/b/x"]


def test_what_is_told_together_is_told_to_the_same_channels_at_its_end() -> None:
    watched = Watched()
    watched.look(CHECKS, problem("check/a/x", Severity.WARNING), problem("check/b/x", Severity.CRITICAL))
    [recovered] = watched.notices(CHECKS, problem("check/b/x", Severity.CRITICAL), after=10)
    assert [alert.key for alert in recovered.alerts] == ["check/a/x"]
    assert recovered.severity is Severity.CRITICAL


def test_what_gets_worse_is_told_again_once() -> None:
    watched = Watched()
    watched.look(CHECKS, problem("check/a/x", Severity.WARNING))
    assert watched.look(CHECKS, problem("check/a/x", Severity.ERROR), after=10) == ["worse check/a/x"]
    assert watched.look(CHECKS, problem("check/a/x", Severity.WARNING), after=10) == []
    assert watched.look(CHECKS, problem("check/a/x", Severity.ERROR), after=10) == []
    [recovered] = watched.notices(CHECKS, after=10)
    assert recovered.severity is Severity.ERROR


def test_what_cannot_be_seen_stays_as_it_is() -> None:
    watched, slow = Watched(), concern("checks", open_after=30, close_after=30)
    watched.look(slow, "check/a/x")
    assert watched.look(slow, after=40, unknown=["check/a/x"]) == []
    assert watched.look(slow, "check/a/x", after=0) == ["opened check/a/x"]
    assert watched.look(slow, after=100, unknown=["check/a/x"]) == []
    assert watched.look(slow, after=1) == []
    assert watched.look(slow, after=100, unknown=["check/a/x"]) == []
    assert watched.look(slow) == ["recovered check/a/x"]


def test_what_comes_and_goes_stays_open_and_says_so_once() -> None:
    watched = Watched()
    said = [watched.look(LANES, *(["lane/0"] if number % 2 == 0 else []), after=60) for number in range(20)]
    told = [line for lines in said for line in lines]
    assert told == ["opened lane/0", "recovered lane/0"] * 2 + ["opened lane/0"]
    assert watched.alerts["lane/0"].flapping
    assert watched.look(LANES, after=FLAP_QUIET_SECONDS - 60) == []
    assert watched.look(LANES, after=60) == ["recovered lane/0"]
    assert watched.look(LANES, "lane/0", after=60) == ["opened lane/0"]
    assert not watched.alerts["lane/0"].flapping


def test_openings_of_an_hour_ago_are_forgotten() -> None:
    watched = Watched()
    for number in range(12):
        watched.look(LANES, *(["lane/0"] if number % 2 == 0 else []), after=1_900)
    assert not watched.alerts["lane/0"].flapping
    watched.look(LANES, after=3_601)
    assert watched.alerts == {}


def test_a_short_appearance_between_two_openings_does_not_forget_them() -> None:
    watched, slow = Watched(), concern(open_after=30)
    for _ in range(2):
        watched.look(slow, "lane/0", after=60)
        assert watched.look(slow, "lane/0", after=30) == ["opened lane/0"]
        watched.look(slow, after=10)
        watched.look(slow, "lane/0", after=10)  # Too short to be told.
        watched.look(slow, after=10)
    watched.look(slow, "lane/0", after=60)
    assert watched.look(slow, "lane/0", after=30) == ["opened lane/0"]
    assert watched.alerts["lane/0"].flapping


def test_a_reminder_comes_every_so_often_while_it_lasts() -> None:
    watched = Watched(Policy(HOUR_MS, lambda name, key: False))
    watched.look(LANES, "lane/0")
    assert watched.look(LANES, "lane/0", after=3_599) == []
    assert watched.look(LANES, "lane/0", after=1) == ["reminder lane/0"]
    assert watched.look(LANES, "lane/0", after=3_599) == []
    assert watched.look(LANES, "lane/0", after=1) == ["reminder lane/0"]
    assert watched.look(LANES, after=1) == ["recovered lane/0"]


# Maintenance


def test_nothing_opens_in_silence_and_what_is_still_broken_is_told_at_its_end() -> None:
    silence = Silence("", "lane/*", "deploy", "ann", NOW_MS, NOW_MS + 60 * SECOND_MS)
    watched = Watched()
    watched.policy = Policy(0, lambda name, key: is_silenced(name, key, watched.now_ms, [silence], []))
    assert watched.look(LANES, "lane/0", "lane/1") == []
    assert watched.look(CHECKS, "check/a/x") == ["opened check/a/x"]
    assert watched.look(LANES, "lane/1", after=59) == []
    assert watched.look(LANES, "lane/1", after=1) == ["opened lane/1"]


def test_a_silence_lets_a_recovery_through() -> None:
    silence = Silence("lanes", "", "deploy", "ann", NOW_MS + SECOND_MS, NOW_MS + HOUR_MS)
    watched = Watched()
    watched.policy = Policy(SECOND_MS, lambda name, key: is_silenced(name, key, watched.now_ms, [silence], []))
    assert watched.look(LANES, "lane/0") == ["opened lane/0"]
    assert watched.look(LANES, "lane/0", after=10) == [], "A reminder must not come in a silence."
    assert watched.look(LANES, after=10) == ["recovered lane/0"]


@pytest.mark.parametrize(
    ("days", "start", "end", "hours", "is_in"),
    [  # NOW_MS is a Friday, 8:00 UTC, 9:00 in Berlin.
        (("fri",), 9, 10, 0, True),
        (("fri",), 8, 9, 0, False),
        (("thu",), 9, 10, 0, False),
        (("fri",), 23, 2, 16, True),  # Saturday, 1:00.
        (("sat",), 23, 2, 16, False),
        (("fri",), 23, 2, 17, False),
        (("sun",), 23, 2, 64, True),  # Monday, 1:00.
    ],
)
def test_a_weekly_window_goes_by_local_time_and_belongs_to_the_day_it_began_on(
    days: tuple[str, ...], start: int, end: int, hours: int, is_in: bool
) -> None:
    from zoneinfo import ZoneInfo

    window = Window(days, QuietHours(start * 60, end * 60), ZoneInfo("Europe/Berlin"), "", "")
    assert is_within(window, NOW_MS + hours * HOUR_MS) is is_in


# One cause, one alert


def test_what_a_cause_explains_is_not_told_and_gets_time_to_catch_up() -> None:
    watched = Watched()
    assert watched.look(LANES, problem("lane/0", open_after_seconds=30)) == []
    assert watched.look(CHECKS, "check/landing/lag_within_sla", after=5) == [], "The cause waits to be told."
    assert watched.look(LANES, "lane/0", after=30) == ["opened lane/0"]
    assert watched.look(CHECKS, "check/landing/lag_within_sla", after=30) == []
    assert watched.look(LANES, after=30) == ["recovered lane/0"]
    assert watched.look(CHECKS, "check/landing/lag_within_sla", after=GRACE_SECONDS - 1) == []
    assert watched.look(CHECKS, after=1) == []
    assert [alert.key for alert in watched.alerts.values() if not alert.closed_ms] == []


def test_what_does_not_catch_up_is_a_problem_of_its_own() -> None:
    watched, slow = Watched(), concern("checks", open_after=30)
    watched.look(LANES, "lane/0")
    watched.look(slow, "check/landing/lag_within_sla", after=100)
    watched.look(LANES)
    assert watched.look(slow, "check/landing/lag_within_sla", after=GRACE_SECONDS) == [], "Its time begins now."
    assert watched.look(slow, "check/landing/lag_within_sla", after=30) == ["opened check/landing/lag_within_sla"]


def test_what_is_judged_over_a_window_gets_time_until_the_outage_has_left_it() -> None:
    watched = Watched(Policy(0, lambda name, key: False, window_ms=600 * SECOND_MS))
    watched.look(LANES, "lane/0")
    watched.look(LANES)
    late = "check/sends/latency_within_sla"
    assert watched.look(CHECKS, late, after=GRACE_SECONDS + 599) == []
    assert watched.look(CHECKS, late, after=1) == [f"opened {late}"]


def test_a_problem_can_name_its_own_cause() -> None:
    watched, runs = Watched(), concern("runs")
    watched.look(concern("checks", open_after=30), "check/a/not_null")
    failed = problem("run/batch_models", because=("check/a/not_null",))
    assert watched.look(runs, failed) == []
    assert watched.look(runs, problem("run/batch_models", because=("check/b/not_null",)), after=1) == [
        "opened run/batch_models"
    ]


def test_two_of_the_flow_at_once_are_one_alert() -> None:
    watched, slow = Watched(), concern("checks", open_after=20)
    both = ("check/sends/latency_within_sla", "check/event_stream/lag_within_sla")
    watched.look(slow, *both)
    watched.look(slow, *both, after=1)
    assert watched.look(slow, *both, after=30) == ["opened check/sends/latency_within_sla"]
    assert watched.look(slow, *both, after=100) == []


def test_of_two_of_the_flow_the_one_that_was_told_silences_the_other() -> None:
    watched = Watched()
    lag, latency = "check/event_stream/lag_within_sla", "check/sends/latency_within_sla"
    assert watched.look(CHECKS, lag) == ["opened check/event_stream/lag_within_sla"]
    assert watched.look(CHECKS, lag, latency, after=60) == []


@pytest.mark.parametrize(
    ("root", "key", "inhibited"),
    [
        ("collector/down", "check/event_stream/heartbeat_arrives", True),
        ("collector/down", "freshness/landing", True),
        ("collector/down", "lane/0", False),
        ("collector/down", "run/batch_models", False),
        ("lane/0", "check/analytics/events/fresh_within_sla", True),
        ("lane/0", "lane/1", False),
        ("lane/0", "check/persons/not_null_id", False),
        ("check/event_stream/stream_can_be_read", "tick/lane_sensor", True),
        ("check/campaigns/abandoned_cart/mails_arrive", "pause/abandoned_cart", True),
        ("check/campaigns/abandoned_cart/mails_arrive", "pause/category_dwell", False),
        ("check/event_stream/volume_as_usual", "check/event_stream/lag_within_sla", False),
        ("check/campaigns/a/sends_within_sla", "check/campaigns/b/sends_within_sla", False),
    ],
)
def test_the_table_of_causes(root: str, key: str, inhibited: bool) -> None:
    watched = Watched()
    watched.look(concern("lanes", open_after=60), root)
    assert is_inhibited(key, (), watched.alerts, watched.now_ms, 0) is inhibited


def test_the_table_of_causes_names_only_keys_of_concerns() -> None:
    prefixes = tuple(one.prefix for one in CONCERNS)
    patterns = [*FLOW, *(rule.root for rule in RULES), *(pattern for rule in RULES for pattern in rule.silent)]
    assert [pattern for pattern in patterns if not pattern.startswith(prefixes)] == []
    assert len(BY_NAME) == len(CONCERNS)


def test_no_cause_waits_longer_to_be_told_than_what_it_explains() -> None:
    """Or what it explains would be told first."""
    from wakeline.alerts.checks import text_of

    checks = BY_NAME["checks"]
    for rule in RULES:
        root = next(one for one in CONCERNS if rule.root.startswith(one.prefix))
        if root is checks:
            check = rule.root.rpartition("/")[2]
            assert text_of(check).open_after_seconds == 0, rule.root


# Texts


def test_a_message_says_what_since_when_whom_it_affects_and_what_to_press() -> None:
    watched = Watched()
    lane = Problem(
        "lane/0",
        Severity.CRITICAL,
        "Lane 0 has had no live run for 70 s.",
        owner="data@example.com",
        affected=tuple(f"asset_{number}" for number in range(10)),
        links=(("Run", "http://dagster.example.com/runs/1"),),
        cause="the run failed.",
        first_action="open the run.",
        since_ms=NOW_MS - 70 * SECOND_MS,
    )
    [notice] = watched.notices(LANES, lane)
    message = compose(notice, watched.now_ms)
    assert message.title == "[critical] lane/0"
    assert message.body.splitlines() == [
        "Lane 0 has had no live run for 70 s.",
        "Since: 2027-01-15 07:58:50 UTC (70 s)",
        "Likely: the run failed.",
        "First: open the run.",
        "Affected: asset_0, asset_1, asset_2, asset_3, asset_4, asset_5, asset_6, asset_7 and 2 more",
        "Owner: data@example.com",
        "Run: http://dagster.example.com/runs/1",
    ]
    [recovered] = watched.notices(LANES, after=600)
    message = compose(recovered, watched.now_ms)
    assert message.title == "Recovered: lane/0"
    assert message.body == (
        "lane/0 is well since 2027-01-15 08:10:00 UTC, after 11 min. It was: Lane 0 has had no live run for 70 s."
    )


def test_many_problems_are_a_list() -> None:
    watched = Watched()
    [notice] = watched.notices(CHECKS, *(problem(f"check/{number}/x", owner="ann") for number in range(30)))
    message = compose(notice, watched.now_ms)
    assert message.title == "[error] Checks (30)"
    assert message.body.count("is broken.") == 25
    assert "Owner: ann" in message.body
    assert message.body.endswith("And 5 more; 'wakeline alerts' lists all.")


def test_a_flapping_alert_says_so() -> None:
    watched = Watched()
    notices: list[Notice] = []
    for number in range(5):
        notices += watched.notices(LANES, *(["lane/0"] if number % 2 == 0 else []), after=60)
    assert [notice.kind for notice in notices].count(Kind.OPENED) == 3
    assert "3 times within an hour" in compose(notices[-1], watched.now_ms).body
    assert "times within an hour" not in compose(notices[-3], watched.now_ms).body


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_500, "2 h 5 min"), (273_600, "3 d 4 h")]
)
def test_durations_are_short(seconds: int, said: str) -> None:
    assert duration(seconds * SECOND_MS) == said


def test_never_reminding_is_the_zero() -> None:
    watched = Watched(NEVER)
    watched.look(LANES, "lane/0")
    assert watched.look(LANES, "lane/0", after=10_000_000) == []
