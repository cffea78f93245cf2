from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.clocks import HOUR_MS, MINUTE_MS

from wakeline.activation.quiet_hours import QuietHours, first_allowed_ms, zone_of

NIGHT = QuietHours(21 * 60, 8 * 60)
#: Clocks set by an hour, by half an hour, by two hours at the pole, at midnight, and a day that never was.
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "UTC",
)
#: Days around which some of these clocks are set.
TURNS = (
    datetime(2011, 12, 30, tzinfo=UTC),
    datetime(2026, 3, 8, tzinfo=UTC),
    datetime(2026, 3, 29, tzinfo=UTC),
    datetime(2026, 4, 5, tzinfo=UTC),
    datetime(2026, 10, 4, tzinfo=UTC),
    datetime(2026, 10, 25, tzinfo=UTC),
    datetime(2026, 11, 1, tzinfo=UTC),
)

minutes = st.integers(0, 1_439)
quiet_hours = st.tuples(minutes, minutes).filter(lambda pair: pair[0] != pair[1]).map(lambda pair: QuietHours(*pair))
moments = st.builds(
    lambda turn, minute, ms: epoch_ms(turn + timedelta(minutes=minute)) + ms,
    st.sampled_from(TURNS),
    st.integers(-2_880, 2_880),
    st.integers(0, MINUTE_MS - 1),
)


def epoch_ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def local_minute(at_ms: int, zone: ZoneInfo) -> int:
    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(zone)
    return local.hour * 60 + local.minute


@settings(max_examples=1_000, deadline=None)
@given(moments, quiet_hours, st.sampled_from(ZONES))
def test_the_answer_is_the_first_minute_out_of_the_hours_whatever_is_done_to_the_clocks(
    at_ms: int, quiet: QuietHours, name: str
) -> None:
    zone = ZoneInfo(name)
    allowed_ms = first_allowed_ms(at_ms, quiet, zone)
    if not quiet.contain(local_minute(at_ms, zone)):
        assert allowed_ms == at_ms
        return
    assert allowed_ms > at_ms
    assert allowed_ms % MINUTE_MS == 0
    minute_ms = at_ms - at_ms % MINUTE_MS
    while quiet.contain(local_minute(minute_ms, zone)):
        minute_ms += MINUTE_MS
    assert allowed_ms == minute_ms


@given(minutes, quiet_hours)
@example(1_260, NIGHT)
@example(480, NIGHT)
def test_a_minute_is_quiet_from_the_first_on_and_until_before_the_end(minute: int, quiet: QuietHours) -> None:
    hours = {(quiet.start_minute + step) % 1_440 for step in range((quiet.end_minute - quiet.start_minute) % 1_440)}
    assert quiet.contain(minute) is (minute in hours)


def berlin(text: str) -> int:
    return epoch_ms(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin")))


def test_a_night_in_which_the_clocks_go_forward_is_an_hour_shorter() -> None:
    zone = ZoneInfo("Europe/Berlin")
    assert first_allowed_ms(berlin("2026-03-28T22:00"), NIGHT, zone) - berlin("2026-03-28T22:00") == 9 * HOUR_MS
    assert first_allowed_ms(berlin("2026-10-24T22:00"), NIGHT, zone) - berlin("2026-10-24T22:00") == 11 * HOUR_MS


def test_an_end_that_is_skipped_is_the_moment_of_the_change() -> None:
    allowed_ms = first_allowed_ms(berlin("2026-03-28T22:00"), QuietHours(21 * 60, 150), ZoneInfo("Europe/Berlin"))
    assert datetime.fromtimestamp(allowed_ms / 1000, UTC) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)  # 03:00 there


@pytest.mark.parametrize("told", ["", "nowhere", "../../etc/passwd", "Europe", "\x00"])
def test_what_is_no_time_zone_is_the_default(told: str) -> None:
    assert zone_of(told, "Asia/Tokyo").key == "Asia/Tokyo"
    assert zone_of("Europe/Berlin", "Asia/Tokyo").key == "Europe/Berlin"
