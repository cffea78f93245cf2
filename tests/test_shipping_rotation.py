import gzip
import os
from pathlib import Path

import pytest
from support.clocks import NOW_MS, SECOND_MS

from wakeline.shipping.logfile import MAX_LINE_BYTES, LogLine, Position, Segment, fingerprint
from wakeline.shipping.rotation import LINGER_MS, plan


def written(path: Path, *lines: str, seconds_ago: int = 60) -> Path:
    """A file that was written so long ago."""
    path.write_text("".join(lines), encoding="utf-8")
    return aged(path, seconds_ago)


def aged(path: Path, seconds_ago: int) -> Path:
    at_ns = (NOW_MS - seconds_ago * SECOND_MS) * 1_000_000
    os.utime(path, ns=(at_ns, at_ns))
    return path


def read(path: Path, position: Position | None) -> list[LogLine]:
    return [line for segment in plan(path, position, NOW_MS).segments for line in segment.read()]


def texts(lines: list[LogLine]) -> list[str]:
    return [line.text.decode() for line in lines]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def test_lines_know_their_place_and_the_next_reading_goes_on_there(log: Path) -> None:
    written(log, "one\n", "two\r\n")
    first = read(log, None)
    assert [(line.offset, line.number, line.text) for line in first] == [(0, 1, b"one"), (4, 2, b"two")]
    with log.open("a", encoding="utf-8") as file:
        file.write("three\n")
    assert [(line.offset, line.number, line.text) for line in read(log, first[-1].end)] == [(9, 3, b"three")]


def test_a_line_waits_until_it_is_whole(log: Path) -> None:
    written(log, "one\n", "tw")
    first = read(log, None)
    assert texts(first) == ["one"]
    written(log, "one\n", "two\n")
    assert texts(read(log, first[-1].end)) == ["two"]


@pytest.mark.parametrize("content", ["", "no line end yet"])
def test_a_log_without_a_whole_line_has_nothing_to_read(log: Path, content: str) -> None:
    written(log, content)
    assert plan(log, None, NOW_MS).segments == []


def test_a_log_that_is_not_there_yet_has_nothing_to_read(log: Path) -> None:
    assert plan(log, None, NOW_MS).segments == []
    assert plan(log, Position("gone"), NOW_MS).segments == []


def test_a_line_without_end_does_not_fill_the_memory(log: Path) -> None:
    written(log, "x" * (3 * MAX_LINE_BYTES), "\n", "two\n")
    cut, whole = read(log, None)
    assert (cut.is_cut, len(cut.text)) == (True, MAX_LINE_BYTES)
    assert (whole.is_cut, whole.text, whole.number) == (False, b"two", 2)


def test_the_rest_of_a_renamed_log_comes_before_the_new_one(log: Path) -> None:
    written(log, "one\n", "two\n")
    position = read(log, None)[0].end
    log.rename(log.with_name("access.log.1"))
    written(log, "three\n")
    lines = read(log, position)
    assert texts(lines) == ["two", "three"]
    assert [(line.offset, line.number) for line in lines] == [(4, 2), (0, 1)]
    assert read(log, lines[-1].end) == []


def test_the_rest_of_a_log_that_was_copied_and_cut_is_read_from_the_copy(log: Path) -> None:
    written(log, "one\n", "two\n")
    position = read(log, None)[0].end
    written(log.with_name("access.log.1"), "one\n", "two\n")
    written(log, "a first line that is longer than all before\n")
    assert texts(read(log, position)) == ["two", "a first line that is longer than all before"]


def test_a_log_that_was_cut_without_a_copy_starts_anew_and_says_so(log: Path) -> None:
    written(log, "one\n", "two\n")
    position = read(log, None)[-1].end
    written(log, "three\n")
    found = plan(log, position, NOW_MS)
    assert found.lost
    assert texts(read(log, position)) == ["three"]


def test_a_packed_log_is_found_by_what_is_in_it(log: Path) -> None:
    written(log, "one\n", "two\n")
    position = read(log, None)[0].end
    aged_gz = log.with_name("access.log.1.gz")
    aged_gz.write_bytes(gzip.compress(log.read_bytes()))
    aged(aged_gz, 60)
    written(log, "three\n")
    assert texts(read(log, position)) == ["two", "three"]
    assert read(aged_gz, None)[0].end.fingerprint == position.fingerprint


def test_a_log_that_is_being_packed_is_read_unpacked(log: Path) -> None:
    written(log, "one\n", "two\n")
    position = read(log, None)[0].end
    log.rename(log.with_name("access.log.1"))
    log.with_name("access.log.1.gz").write_bytes(gzip.compress(b"one\ntwo\n")[:-9])
    written(log, "three\n")
    assert texts(read(log, position)) == ["two", "three"]


def test_logs_that_were_rotated_in_between_are_read_too_in_their_order(log: Path) -> None:
    written(log, "one\n", "two\n")
    position = read(log, None)[0].end
    written(log.with_name("access.log.4"), "long before\n", seconds_ago=500)
    written(log.with_name("access.log.3"), "one\n", "two\n", seconds_ago=400)
    written(log.with_name("access.log.2"), "three\n", "no line end", seconds_ago=300)
    written(log.with_name("access.log.1"), "four\n", seconds_ago=200)
    written(log, "five\n", "not whole")
    assert texts(read(log, position)) == ["two", "three", "no line end", "four", "five"]


def test_the_old_log_is_left_only_when_nobody_writes_to_it_any_more(log: Path) -> None:
    written(log, "one\n")
    position = read(log, None)[-1].end
    log.rename(old := log.with_name("access.log.1"))
    written(old, "one\n", "late\n", seconds_ago=0)
    written(log, "new\n")
    assert texts(read(log, position)) == ["late"]
    aged(old, LINGER_MS // SECOND_MS + 1)
    assert texts(read(log, position)) == ["late", "new"]


def test_the_old_log_goes_on_while_the_new_one_is_empty(log: Path) -> None:
    written(log, "one\n")
    position = read(log, None)[-1].end
    log.rename(old := log.with_name("access.log.1"))
    written(old, "one\n", "late\n", "not whole")
    for _ in ("no new file", "an empty one"):
        assert texts(read(log, position)) == ["late"]
        log.touch()


def test_a_file_that_took_the_name_after_the_look_is_not_read_from_the_middle(log: Path) -> None:
    written(log, "one\n", "two\n")
    segment = Segment(log, Position(fingerprint(log), 4, 1))
    written(log, "xxxxxxxxxx\n", "y\n")
    assert list(segment.read()) == []


def test_names_with_wildcards_are_names(tmp_path: Path) -> None:
    log = written(tmp_path / "access[1].log", "one\n", "two\n")
    position = read(log, None)[0].end
    log.rename(tmp_path / "access[1].log.1")
    written(log, "three\n")
    assert texts(read(log, position)) == ["two", "three"]
