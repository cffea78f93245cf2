"""`wakeline ship-log` against a real collector."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from support.shipping import Arrivals, combined, until

from wakeline.errors import WakelineError
from wakeline.play.batching import Batch
from wakeline.play.pacing import Pacer
from wakeline.shipping.cli import ship_log
from wakeline.shipping.following import follow, look, ship_once
from wakeline.shipping.formats import reader_of
from wakeline.shipping.logfile import Position
from wakeline.shipping.messages import Rules, page_message
from wakeline.shipping.position_file import PositionFile, default_position_file
from wakeline.shipping.shipper import Shipper

pytestmark = pytest.mark.usefixtures("shipping_workplace")


def run(*arguments: str) -> Result:
    """The result of the command; anything but an exit is raised."""
    return CliRunner(catch_exceptions=False).invoke(ship_log, arguments)


def counts(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    return {name: told[name] for name in ("lines", "sent", "skipped", "rejected")}


def write(path: Path, *lines: str) -> None:
    path.write_text("".join(lines), encoding="utf-8")


def append(path: Path, *lines: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(lines))


def test_page_views_arrive_and_a_second_run_sends_only_what_is_new(tmp_path: Path, arrivals: Arrivals) -> None:
    log = tmp_path / "access.log"
    write(log, combined("/first"), combined("/logo.png", second=1), combined("/second", second=2))
    assert counts(run(str(log), "--json")) == {"lines": 3, "sent": 2, "skipped": 1, "rejected": 0}
    append(log, combined("/third", second=3))
    assert counts(run(str(log), "--json")) == {"lines": 1, "sent": 1, "skipped": 0, "rejected": 0}
    assert counts(run(str(log), "--json"))["lines"] == 0
    assert arrivals.paths() == ["/first", "/second", "/third"]
    assert {message["context"]["ip"] for message in arrivals.messages()} == {"203.0.113.0"}


def test_a_file_read_again_under_another_name_sends_the_same_ids(tmp_path: Path, arrivals: Arrivals) -> None:
    write(tmp_path / "access.log", *(combined(f"/{number}", second=number % 60) for number in range(250)))
    assert run("access.log").exit_code == 0
    (tmp_path / "access.log").rename(tmp_path / "old.log")
    assert run("old.log").exit_code == 0
    ids = [message["messageId"] for message in arrivals.messages()]
    assert len(ids) == 500
    assert len(set(ids)) == 250


def test_bad_lines_are_kept_with_number_and_reason_and_stop_nothing(tmp_path: Path, arrivals: Arrivals) -> None:
    log = tmp_path / "access.log"
    log.write_bytes(combined("/a").encode() + b"what is this\n" + b"\xff\xfe\n" + combined("/b", second=1).encode())
    assert counts(run(str(log), "--json", "--state", "state.json")) == {
        "lines": 4,
        "sent": 2,
        "skipped": 0,
        "rejected": 2,
    }
    rejected = [json.loads(line) for line in Path("state.json.rejected").read_text(encoding="utf-8").splitlines()]
    assert [(row["line"], row["text"]) for row in rejected] == [(2, "what is this"), (3, "\\xff\\xfe")]
    assert "neither in the combined" in rejected[0]["reason"]
    assert rejected[1]["reason"] == "it is not UTF-8"
    assert arrivals.paths() == ["/a", "/b"]


def test_the_summary_says_where_the_rejected_lines_are(tmp_path: Path) -> None:
    write(tmp_path / "access.log", "what is this\n")
    result = run("access.log", "--state", "state.json")
    assert "Read 1 lines: 0 page views sent, 0 other requests skipped, 1 lines rejected." in result.stdout
    assert "state.json.rejected" in result.stderr


def test_busy_answers_are_tried_again(tmp_path: Path, arrivals: Arrivals) -> None:
    write(tmp_path / "access.log", combined("/patient"))
    arrivals.served.refusals.extend([503, 429])
    result = run("access.log", "--json")
    assert counts(result)["sent"] == 1
    assert result.stderr.count("does not take events (503 Service Unavailable") == 1
    assert result.stderr.count("takes events again") == 1
    assert arrivals.paths() == ["/patient"]
    assert arrivals.served.refusals == []


def test_json_lines_fields_and_cookies_are_read(tmp_path: Path, arrivals: Arrivals) -> None:
    line = {
        "t": 1_795_509_000,
        "status": 200,
        "request": "GET /json HTTP/2",
        "http_cookie": "wl=abc",
        "user": {"id": 42},
    }
    write(tmp_path / "access.json", json.dumps(line) + "\n")
    names = ("--field", "time=t", "--user-field", "user.id", "--anonymous-field", "cookie:wl")
    assert counts(run("access.json", "--format", "json", "--json", *names))["sent"] == 1
    (message,) = arrivals.messages()
    assert (message["userId"], message["anonymousId"], message["properties"]) == ("42", "abc", {"path": "/json"})


def test_a_wrong_key_is_a_sentence_and_nothing_is_remembered(tmp_path: Path, arrivals: Arrivals) -> None:
    write(tmp_path / "access.log", combined("/kept"))
    with pytest.raises(WakelineError, match="refused the write key"):
        run("access.log", "--write-key", "wrong")
    assert counts(run("access.log", "--json"))["sent"] == 1
    assert arrivals.paths() == ["/kept"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.log"], r"missing\.log does not exist"),
        (["missing.log", "--follow"], r"missing\.log does not exist"),
        (["access.log", "--field", "colour=x"], "--field 'colour=x' must look like WHAT=NAME"),
        (["access.log", "--field", "ip="], "--field 'ip=' must look like WHAT=NAME"),
        (["access.log", "--state", "damaged.json"], r"damaged\.json is damaged"),
        (["access.log", "--state", "access.log/state.json"], r"state\.json cannot be written"),
        (["access.gz"], r"access\.gz cannot be read"),
        (["access.log", "--url", "http://127.0.0.1:9", "--give-up-after", "0"], "did not take a batch"),
    ],
)
def test_what_cannot_work_is_a_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    for name in ("access.log", "access.gz"):
        write(tmp_path / name, combined("/"))
    write(tmp_path / "damaged.json", '{"offset": "')
    with pytest.raises(WakelineError, match=sentence):
        run(*arguments)


def test_positions_of_two_logs_of_one_name_are_two(tmp_path: Path) -> None:
    paths = {default_position_file(tmp_path, Path("/var/log", site, "access.log")).path for site in ("a", "b")}
    assert len(paths) == 2


class KilledError(Exception):
    """The process ends here."""


class Delivered:
    """A collector in memory that can stop in the middle."""

    def __init__(self, dies_at: int = 0) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.attempts = 0
        self.dies_at = dies_at

    def __call__(self, batch: Batch) -> bool:
        self.attempts += 1
        if self.attempts == self.dies_at:
            raise KilledError
        self.bodies += [json.loads(message) for message in batch.messages]
        return True


def shipper(positions: PositionFile, deliver: Delivered, **options: Any) -> Shipper:
    def convert(request: Any, message_id: str) -> dict[str, Any] | None:
        return page_message(request, message_id, Rules("key"))

    return Shipper(reader_of("auto", {}), convert, deliver, positions, lambda: 0, **options)


def no_warning(sentence: str) -> None:
    raise AssertionError(sentence)


@pytest.mark.parametrize("dies_at", range(1, 6))
def test_a_crash_at_any_batch_sends_again_and_loses_nothing(tmp_path: Path, dies_at: int) -> None:
    log, positions = tmp_path / "access.log", PositionFile(tmp_path / "state.json")
    write(log, *(combined(f"/{number}") for number in range(450)))
    first, second = Delivered(dies_at), Delivered()
    with pytest.raises(KilledError):
        ship_once(log, look(log, positions, 0), shipper(positions, first), no_warning)
    # The batch that the collector took but whose answer never came, and all after it.
    ship_once(log, look(log, positions, 0), shipper(positions, second), no_warning)
    paths = [one["properties"]["path"] for one in first.bodies + second.bodies]
    assert sorted(paths) == sorted(f"/{number}" for number in range(450))


def test_the_position_is_saved_after_the_collector_has_the_batch_and_not_before(tmp_path: Path) -> None:
    log, positions = tmp_path / "access.log", PositionFile(tmp_path / "state.json")
    write(log, *(combined(f"/{number}") for number in range(250)))
    seen: list[Position | None] = []

    class Watching(Delivered):
        def __call__(self, batch: Batch) -> bool:
            seen.append(positions.load())
            return super().__call__(batch)

    ship_once(log, look(log, positions, 0), shipper(positions, Watching()), no_warning)
    assert [position and position.lines for position in seen] == [None, 100, 200]
    saved = positions.load()
    assert saved is not None
    assert (saved.lines, saved.offset) == (250, log.stat().st_size)


def test_an_end_that_somebody_wants_keeps_what_was_delivered(tmp_path: Path) -> None:
    log, positions = tmp_path / "access.log", PositionFile(tmp_path / "state.json")
    write(log, *(combined(f"/{number}") for number in range(350)))
    delivered = Delivered()
    stopping = shipper(positions, delivered, stopped=lambda: delivered.attempts == 2)
    ship_once(log, look(log, positions, 0), stopping, no_warning)
    assert stopping.counts.sent == len(delivered.bodies) == 200
    rest = Delivered()
    ship_once(log, look(log, positions, 0), shipper(positions, rest), no_warning)
    assert len(rest.bodies) == 150


def test_following_goes_through_every_kind_of_rotation(tmp_path: Path) -> None:
    """Each look at the log is one step of what a server and logrotate do to it in between."""
    log, positions, delivered = tmp_path / "access.log", PositionFile(tmp_path / "state.json"), Delivered()
    now_ms = 10_000_000_000_000  # Long after every file was written.
    write(log, combined("/1"), combined("/2")[:20])

    def rename() -> None:
        append(log, combined("/3"))
        log.rename(tmp_path / "access.log.1")
        write(log, combined("/4"), combined("/5"))

    def copy_and_cut() -> None:
        append(log, combined("/6"))
        (tmp_path / "access.log.1").rename(tmp_path / "access.log.2")
        (tmp_path / "access.log.1").write_bytes(log.read_bytes())
        os.truncate(log, 0)
        append(log, combined("/7"))

    steps = iter(
        [
            lambda: append(log, combined("/2")[20:]),
            rename,
            lambda: None,
            copy_and_cut,
            lambda: append(log, combined("/8")),
        ]
    )
    done = threading.Event()

    def sleep(seconds: float) -> None:
        step = next(steps, done.set)
        step()

    clock = iter(range(now_ms, 2 * now_ms, 150))
    pacer = Pacer(lambda: next(clock), sleep, done.is_set, lambda: None)
    follow(log, positions, shipper(positions, delivered), pacer, no_warning)
    assert [one["properties"]["path"] for one in delivered.bodies] == [f"/{number}" for number in range(1, 9)]


def test_following_says_when_lines_may_be_missing(tmp_path: Path) -> None:
    log, positions, warnings = tmp_path / "access.log", PositionFile(tmp_path / "state.json"), list[str]()
    write(log, combined("/1"))
    ship_once(log, look(log, positions, 0), shipper(positions, Delivered()), no_warning)
    write(log, combined("/2"))
    delivered = Delivered()
    ship_once(log, look(log, positions, 0), shipper(positions, delivered), warnings.append)
    assert len(warnings) == 1
    assert "may be missing" in warnings[0]
    assert [one["properties"]["path"] for one in delivered.bodies] == ["/2"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.stack
def test_the_process_follows_until_it_is_told_to_stop_and_goes_on_at_the_next_start(
    tmp_path: Path, arrivals: Arrivals, number: signal.Signals
) -> None:
    log = tmp_path / "access.log"
    write(log, combined("/1"))
    command = [
        sys.executable,
        "-c",
        "from wakeline.shipping.cli import ship_log; ship_log()",
        str(log),
        "--follow",
        "--json",
    ]
    for expected in (["/1", "/2"], ["/1", "/2", "/3", "/4"]):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            until(lambda wanted=expected[:-1]: arrivals.paths() == wanted)
            append(log, combined(expected[-1], second=len(expected)))
            until(lambda wanted=expected: arrivals.paths() == wanted)
            process.send_signal(number)
            told, _ = process.communicate()
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 0
        assert json.loads(told)["sent"] == 2
        append(log, combined("/3", second=len(expected) + 1))
