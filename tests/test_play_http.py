"""Playing over real HTTP: a small server that records, refuses and drops connections."""

import gzip
import os
import random
import signal
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, cast

import orjson
import pytest
from click.testing import CliRunner, Result

from wakeline.clock import system_clock
from wakeline.errors import ConfigError, WakelineError
from wakeline.play.cli import play as play_command
from wakeline.play.collector_client import CollectorClient
from wakeline.play.message import TimedMessage
from wakeline.play.player import play
from wakeline.play.storefront import simulate

WRITE_KEY = "key-1"
#: What a server does with a request, by its number: None for answering that all is well.
Mischief = Callable[[int], str | None]


class Recorder(ThreadingHTTPServer):
    """A collector that remembers; `mischief` may say busy, later, deaf (closes unread) or mute (closes read)."""

    daemon_threads = True

    def __init__(self, mischief: Mischief) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.mischief = mischief
        self.requests = 0
        self.connections = 0
        self.batches: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def messages(self) -> list[dict[str, Any]]:
        """Each message once, in the order in which it came first."""
        found: dict[str, dict[str, Any]] = {}
        for batch in self.batches:
            for message in batch["batch"]:
                found.setdefault(message["messageId"], message)
        return list(found.values())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        super().setup()
        self.recorder.connections += 1

    @property
    def recorder(self) -> Recorder:
        return cast(Recorder, self.server)

    def do_POST(self) -> None:
        self.recorder.requests += 1
        act = self.recorder.mischief(self.recorder.requests)
        if act == "deaf":
            self.close_connection = True
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if act == "mute":
            self._record(body)
            self.close_connection = True
        elif act in ("busy", "later"):
            self._answer(503 if act == "busy" else 429, {"error": "the stream is full"})
        elif b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode() != f"{WRITE_KEY}:":
            self._answer(401, {"error": "unknown write key"})
        else:
            self._record(body)
            self._answer(200, {"success": True})

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def _record(self, body: bytes) -> None:
        assert self.path == "/v1/batch"
        assert self.headers["Content-Encoding"] == "gzip"
        self.recorder.batches.append(orjson.loads(gzip.decompress(body)))

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = orjson.dumps(content)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if status != 200:
            self.send_header("Retry-After", "0")
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def serve() -> Iterator[Callable[..., Recorder]]:
    started: list[tuple[Recorder, Thread]] = []

    def start(mischief: Mischief = lambda request: None) -> Recorder:
        recorder = Recorder(mischief)
        thread = Thread(target=recorder.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        started.append((recorder, thread))
        return recorder

    yield start
    for recorder, thread in started:
        recorder.shutdown()
        thread.join()
        recorder.server_close()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WAKELINE_COLLECTOR__WRITE_KEY", WRITE_KEY)


def invoke(*arguments: str) -> Result:
    """The result of the command; anything but an exit is raised."""
    return CliRunner(catch_exceptions=False).invoke(play_command, arguments)


def post_all(recorder: Recorder, messages: list[TimedMessage]) -> int:
    with CollectorClient(recorder.url, WRITE_KEY, system_clock) as client:
        jitter = random.Random(1)  # noqa: S311 - jitter
        return play(messages, 1e9, client.post, system_clock, time.sleep, jitter).retries


def test_all_messages_arrive_once_in_order_whatever_the_collector_does(serve: Callable[..., Recorder]) -> None:
    acts = {2: "busy", 3: "later", 5: "mute", 8: "deaf", 9: "busy", 12: "mute"}
    recorder = serve(acts.get)
    sent = [TimedMessage(number, {"messageId": f"m{number}", "text": "x" * 500}) for number in range(1500)]
    assert post_all(recorder, sent) == len(acts)
    assert [message["messageId"] for message in recorder.messages()] == [timed.message["messageId"] for timed in sent]
    assert recorder.requests == 15 + len(acts)


def test_one_connection_is_kept_for_all_batches(serve: Callable[..., Recorder]) -> None:
    recorder = serve(lambda request: "busy" if request == 3 else None)
    post_all(recorder, [TimedMessage(number, {"messageId": str(number)}) for number in range(1000)])
    assert recorder.requests == 11
    assert recorder.connections == 1


def test_what_was_sent_is_what_the_simulator_said(serve: Callable[..., Recorder]) -> None:
    recorder = serve()
    sent = list(simulate(1, 20, 5))
    post_all(recorder, sent)
    received = [message for batch in recorder.batches for message in batch["batch"]]
    assert [{**message, "timestamp": None} for message in received] == [
        {**timed.message, "timestamp": None} for timed in sent
    ]
    assert all(message["timestamp"] <= batch["sentAt"] for batch in recorder.batches for message in batch["batch"])


@pytest.mark.parametrize("url", ["127.0.0.1:8200", "ftp://127.0.0.1", "http://", "http://127.0.0.1:port", ""])
def test_an_address_that_is_none_is_named(url: str) -> None:
    with pytest.raises(ConfigError, match="collector's address"):
        CollectorClient(url, WRITE_KEY, system_clock)


@pytest.mark.usefixtures("settings")
def test_the_command_plays_the_storefront_and_prints_json(serve: Callable[..., Recorder]) -> None:
    recorder = serve()
    arguments = ("--people", "20", "--minutes", "5", "--seed", "3", "--speed", "1e6", "--json")
    result = invoke("--format", "storefront", "--url", recorder.url, *arguments)
    posted = sum(len(batch["batch"]) for batch in recorder.batches)
    assert result.exit_code == 0
    assert orjson.loads(result.stdout)["posted"] == posted == len(list(simulate(3, 20, 5)))


@pytest.mark.usefixtures("settings")
def test_the_command_posts_the_same_ids_at_every_play(serve: Callable[..., Recorder]) -> None:
    recorder = serve()
    for arguments in ([], ["--minutes", "30", "--people", "60", "--seed", "1"]):
        invoke("--format", "storefront", "--url", recorder.url, "--speed", "1e6", "--limit", "300", *arguments)
    ids = [message["messageId"] for batch in recorder.batches for message in batch["batch"]]
    assert len(ids) == 600
    assert ids[:300] == ids[300:]


@pytest.mark.usefixtures("settings")
def test_the_command_plays_a_file_to_the_collector_of_the_settings(
    serve: Callable[..., Recorder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = serve()
    monkeypatch.setenv("WAKELINE_COLLECTOR__PORT", str(recorder.server_port))
    path = tmp_path / "events.csv"
    path.write_text(
        "timestamp,visitorid,event,itemid,transactionid\n1000,5,view,1,\n2000,5,view,2,\n", encoding="utf-8"
    )
    result = invoke("--format", "retailrocket", str(path), "--speed", "1000", "--limit", "2")
    assert "Posted 2 messages in " in result.stdout
    assert [message["type"] for message in recorder.messages()] == ["identify", "track"]


@pytest.mark.usefixtures("settings")
def test_ctrl_c_stops_after_the_batch_under_way(serve: Callable[..., Recorder]) -> None:
    def interrupt(request: int) -> None:
        if request == 2:
            os.kill(os.getpid(), signal.SIGINT)

    recorder = serve(interrupt)
    before = signal.getsignal(signal.SIGINT)
    result = invoke("--format", "storefront", "--url", recorder.url, "--speed", "1e6")
    posted = sum(len(batch["batch"]) for batch in recorder.batches)
    assert result.exit_code == 130
    assert f"Stopped: posted {posted:,} messages" in result.stdout
    assert signal.getsignal(signal.SIGINT) == before


@pytest.mark.usefixtures("settings")
def test_a_refused_key_is_a_sentence(serve: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAKELINE_COLLECTOR__WRITE_KEY", "another")
    with pytest.raises(WakelineError, match=r"refused the write key .401 Unauthorized: unknown write key"):
        invoke("--format", "storefront", "--url", serve().url)


@pytest.mark.usefixtures("settings")
def test_a_collector_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(WakelineError, match=r"did not take a batch within 0 seconds .http://127\.0\.0\.1:9/v1/batch"):
        invoke("--format", "storefront", "--url", "http://127.0.0.1:9", "--give-up-after", "0")


@pytest.mark.usefixtures("settings")
def test_a_missing_file_is_a_sentence() -> None:
    with pytest.raises(WakelineError, match=r"nothing\.csv cannot be read"):
        invoke("--format", "rees46", "nothing.csv")


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--format", "storefront", "file.csv"], "takes no PATH"),
        (["--format", "otto"], "needs the PATH of a file"),
        (["--format", "otto", "file", "--seed", "1"], "--seed is for --format storefront only"),
        (["--format", "storefront", "--speed", "0"], "0.0 is not in the range x>0"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments: list[str], sentence: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
