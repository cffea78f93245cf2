import gzip
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeline.errors import WakelineError
from wakeline.play.message import TimedMessage
from wakeline.play.ordering import gather, interleave, sorted_lines
from wakeline.play.sessions import SESSION_GAP_MS, GapSessions
from wakeline.play.source import SourceFile


@dataclass(frozen=True)
class Row:
    line: int
    at_ms: int
    key: int


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WakelineError, match=r"nothing\.csv cannot be read: No such file"):
        SourceFile(tmp_path / "nothing.csv")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(WakelineError, match="cannot be read: Is a directory"):
        SourceFile(tmp_path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (gzip.compress(bytes(range(97, 107)) * 1000, mtime=0)[:-20], "damaged gzip file"),
        (b"\x1f\x8bnonsense", "damaged gzip file"),
        ("£5".encode("latin-1"), "is not UTF-8 text"),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "data"
    path.write_bytes(content)
    with SourceFile(path) as source, pytest.raises(WakelineError, match=sentence):
        list(source.lines())


def test_the_position_ends_at_the_size_of_the_packed_file(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(gzip.compress(b"line\n" * 1000))
    with SourceFile(path) as source:
        assert source.position_bytes() == 0
        assert len(list(source.lines())) == 1000
        assert source.position_bytes() == source.size_bytes


def test_lines_are_sorted_over_several_temporary_files() -> None:
    lines = [f"{number:04d}\n" for number in range(1000)]
    shuffled = random.Random(1).sample(lines, len(lines))  # noqa: S311 - a repeatable shuffle
    assert list(sorted_lines(shuffled, chunk_lines=64)) == lines


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3))), st.integers(0, 10))
def test_gathering_loses_no_row_keeps_time_order_and_stays_in_the_window(
    steps: list[tuple[int, int]], window_ms: int
) -> None:
    at_ms, rows = 0, []
    for line, (step, key) in enumerate(steps):
        at_ms += step
        rows.append(Row(line, at_ms, key))
    groups = list(gather(rows, lambda row: row.key, window_ms))
    assert sorted((row for group in groups for row in group), key=lambda row: row.line) == rows
    assert [group[0].at_ms for group in groups] == sorted(group[0].at_ms for group in groups)
    assert all(group[-1].at_ms - group[0].at_ms <= window_ms for group in groups)
    assert all(row.key == group[0].key for group in groups for row in group)


@given(st.lists(st.lists(st.integers(0, 50), min_size=1)))
def test_interleaving_gives_every_message_in_time_order(times: list[list[int]]) -> None:
    visits = sorted(sorted(visit) for visit in times)
    played = [timed.at_ms for timed in interleave(_messages(visit) for visit in visits)]
    assert played == sorted(at_ms for visit in visits for at_ms in visit)


def test_sessions_of_silent_visitors_are_forgotten() -> None:
    sessions = GapSessions()
    assert sessions.touch("a", 0) == ("a-0", True)
    assert sessions.touch("b", 1) == ("b-1", True)
    assert sessions.touch("a", SESSION_GAP_MS) == ("a-0", False)
    assert sessions.touch("b", SESSION_GAP_MS + 2) == (f"b-{SESSION_GAP_MS + 2}", True)


def _messages(times: list[int]) -> Iterator[TimedMessage]:
    return (TimedMessage(at_ms, {}) for at_ms in times)
