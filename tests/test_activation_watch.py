"""What pauses a campaign."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeline.activation.watch import Counts, Limits, judge, window_starts

LIMITS = Limits(max_bounce_percent=2.0, max_complaint_percent=0.1, min_sends=100)

counts = st.integers(0, 10_000).flatmap(
    lambda sends: st.builds(Counts, st.just(sends), st.integers(0, sends), st.integers(0, sends))
)
limits = st.builds(Limits, st.floats(0.01, 100), st.floats(0.01, 100), st.integers(1, 500))


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (Counts(1_000, 20, 1), ""),
        (Counts(1_000, 21, 0), "21 of 1000 mails bounced (2.10%, allowed 2%)"),
        (Counts(1_000, 0, 2), "2 of 1000 mails were marked as spam (0.20%, allowed 0.1%)"),
        (
            Counts(100, 50, 1),
            "50 of 100 mails bounced (50.00%, allowed 2%); 1 of 100 mails were marked as spam (1.00%, allowed 0.1%)",
        ),
        (Counts(99, 99, 99), ""),
        (Counts(0, 0, 0), ""),
    ],
)
def test_a_share_above_its_limit_is_a_problem_with_figures(seen: Counts, reason: str) -> None:
    verdict = judge(seen, LIMITS)
    assert (verdict.reason, verdict.passed) == (reason, not reason)


@given(counts, limits)
def test_too_few_mails_never_pause(seen: Counts, allowed: Limits) -> None:
    if seen.sends < allowed.min_sends:
        assert judge(seen, allowed).passed


@given(counts, limits)
def test_it_passes_exactly_when_both_shares_are_within_their_limits(seen: Counts, allowed: Limits) -> None:
    if seen.sends >= allowed.min_sends:
        within = [
            seen.bounces * 100 <= allowed.max_bounce_percent * seen.sends,
            seen.complaints * 100 <= allowed.max_complaint_percent * seen.sends,
        ]
        assert judge(seen, allowed).passed == all(within)
        assert len(judge(seen, allowed).problems) == within.count(False)


@given(counts, limits, st.integers(1, 100))
def test_more_of_what_is_bad_never_makes_it_pass(seen: Counts, allowed: Limits, more: int) -> None:
    worse = Counts(seen.sends, seen.bounces + more, seen.complaints + more)
    assert len(judge(worse, allowed).problems) >= len(judge(seen, allowed).problems)


@given(st.integers(0, 2_000), st.dictionaries(st.text(max_size=3), st.integers(0, 2_000)))
def test_mails_count_from_the_later_of_the_windows_start_and_the_resume(start: int, resumed: dict[str, int]) -> None:
    starts = window_starts(start, resumed)
    assert {name: max(start, at_ms) for name, at_ms in resumed.items()} == {
        name: starts.get(name, start) for name in resumed
    }
