"""The requests that webhooks make themselves, over a real network."""

import asyncio
import logging
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import httpx
import pytest

from wakeline.collector.webhooks.fetching import fetch


class _Answers(BaseHTTPRequestHandler):
    """Every page but `/` leads to `/`."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/" else 302)
        self.send_header("Location", "/")
        self.end_headers()
        self.wfile.write(b"here")

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def address() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Answers)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_answer_is_handed_back_and_a_redirect_is_not_followed(address: str) -> None:
    assert asyncio.run(fetch(f"{address}/")).content == b"here"
    assert asyncio.run(fetch(f"{address}/elsewhere")).status_code == 302


def test_no_address_is_logged_as_it_may_hold_a_token(address: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    asyncio.run(fetch(f"{address}/?Token=secret"))
    assert "secret" not in caplog.text


def test_a_server_that_does_not_answer_is_an_error_of_the_network(address: str) -> None:
    with pytest.raises(httpx.HTTPError):
        asyncio.run(fetch("http://127.0.0.1:1/"))
