from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from wakeline.warehouse.landed import together, within
from wakeline.warehouse.spans import Span, chunks, spans_between, total, without

OFFSETS = st.integers(0, 60)
BATCHES = st.lists(st.dictionaries(st.integers(0, 2), st.tuples(OFFSETS, OFFSETS)), max_size=4)
ENDS = st.dictionaries(st.tuples(st.sampled_from(["events", "old"]), st.integers(0, 2)), OFFSETS)


def offsets(spans: Sequence[Span]) -> list[tuple[str, int, int]]:
    return [(span.stream, span.partition, offset) for span in spans for offset in range(span.first, span.end)]


def test_what_is_new_lies_between_two_looks() -> None:
    firsts = {("events", 0): 5, ("events", 1): 7}
    ends = {("events", 2): 3, ("events", 1): 7, ("events", 0): 9}
    assert spans_between(firsts, ends) == [Span("events", 0, 5, 9), Span("events", 2, 0, 3)]


@given(ENDS, BATCHES)
def test_without_batches_exactly_their_offsets_of_their_stream_are_left_out(
    ends: dict[tuple[str, int], int], batches: list[dict[int, tuple[int, int]]]
) -> None:
    spans = spans_between({}, ends)
    begun = {
        (partition, offset) for batch in batches for partition, bounds in batch.items() for offset in range(*bounds)
    }
    kept = [one for one in offsets(spans) if one[0] != "events" or one[1:] not in begun]
    assert offsets(without(spans, "events", batches)) == kept


@given(ENDS, st.integers(1, 50))
def test_chunks_are_everything_once_in_order_and_no_larger_than_allowed(
    ends: dict[tuple[str, int], int], most: int
) -> None:
    spans = spans_between({}, ends)
    groups = list(chunks(spans, most))
    assert [one for group in groups for one in offsets(group)] == offsets(spans)
    assert all(0 < total(group) <= most for group in groups)
    assert all(total(group) == most for group in groups[:-1])


def test_a_condition_names_what_it_is_given_and_nothing_is_no_row() -> None:
    condition, parameters = within([Span("o'brien", 3, 4, 9)])
    assert (
        condition
        == "(stream = {s0:String} AND partition = {p0:UInt16} AND offset >= {f0:UInt64} AND offset < {e0:UInt64})"
    )
    assert parameters == {"s0": "o'brien", "p0": 3, "f0": 4, "e0": 9}
    assert within([]) == ("false", {})


def test_the_digest_of_several_spans_is_that_of_all_their_rows() -> None:
    place, other = ("events", 0), ("events", 1)
    assert together([{place: (2, 0b0110)}, {place: (1, 0b0011), other: (4, 1)}]) == {place: (3, 0b0101), other: (4, 1)}
