"""SMTP: what a real server gets, and what is certain of a mail when a server fails."""

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from email import message_from_bytes, message_from_string
from email.message import EmailMessage
from email.policy import default
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.certificates import write_certificate
from support.clocks import NOW_MS
from support.mail_faults import (
    RESETTING,
    Fault,
    FaultyServer,
    before_content,
    dropping,
    faulty_server,
    leaving,
    replying,
)
from support.maildev import PASSWORD, USER, Maildev, open_maildev, open_starttls_server
from support.ports import free_ports
from support.providers import MAIL, fixed_clock

from wakeline.activation.esp.protocol import Accepted, Outcome, Rejected, TryLater, Unknown
from wakeline.activation.esp.settings import SmtpEsp
from wakeline.activation.esp.smtp import Smtp
from wakeline.errors import ConfigError

#: Long enough for any answer of a server that works.
PATIENT_SECONDS = 60.0
#: For servers that never answer.
IMPATIENT_SECONDS = 0.3
SETTINGS = "look at the settings esp.main and at the account: "


@contextmanager
def smtp_to(port: int, monotonic: Callable[[], float] = lambda: 0.0, **table: Any) -> Iterator[Smtp]:
    section = SmtpEsp.model_validate(
        {
            "kind": "smtp",
            "host": "127.0.0.1",
            "port": port,
            "security": "none",
            "timeout_seconds": PATIENT_SECONDS,
            **table,
        }
    )
    esp = Smtp("main", section, fixed_clock, monotonic)
    yield esp
    esp.close()


def outcome_with(**faults: Fault) -> Outcome:
    with faulty_server(**faults) as server, smtp_to(server.port) as esp:
        return esp.send(MAIL)


# A real server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an authority of its own; the key is in `key.pem` beside it."""
    folder = tmp_path_factory.mktemp("certificate")
    write_certificate(folder / "key.pem", folder / "certificate.pem")
    return folder / "certificate.pem"


@pytest.fixture(scope="module")
def maildev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Maildev]:
    with open_maildev(tmp_path_factory.mktemp("maildev")) as server:
        yield server


def unix(text: str) -> str:
    """Without what a mail changes: its line ends, and whether the last line has one."""
    return text.replace("\r\n", "\n").rstrip("\n")


def received(maildev: Maildev, to: str) -> EmailMessage:
    [mail] = maildev.mails(to)
    message = message_from_string(maildev.source(mail["id"]), _class=EmailMessage, policy=default)
    assert isinstance(message, EmailMessage)
    return message


@pytest.mark.stack
def test_a_mail_arrives_with_its_headers_subject_and_parts(maildev: Maildev) -> None:
    mail = replace(MAIL, to="whole@example.com", sender="Käthes Laden <shop@example.com>")
    with smtp_to(maildev.port) as esp:
        outcome = esp.send(mail)
    assert isinstance(outcome, Accepted)
    assert "queued" in outcome.provider_id
    message = received(maildev, "whole@example.com")
    assert {name: message[name] for name in MAIL.headers} == MAIL.headers
    assert (message["From"], message["To"], message["Subject"]) == (mail.sender, mail.to, mail.subject)
    parts = [(part.get_content_type(), part.get_content().strip()) for part in message.iter_parts()]
    assert parts == [("text/plain", mail.text.strip()), ("text/html", mail.html)]
    [read] = maildev.mails("whole@example.com")
    assert read["envelope"]["from"]["address"] == "shop@example.com"
    assert [to["address"] for to in read["envelope"]["to"]] == ["whole@example.com"]


@pytest.mark.stack
def test_lines_that_begin_with_a_dot_arrive_as_they_are(maildev: Maildev) -> None:
    mail = replace(MAIL, to="dots@example.com", text=".\n..\n.and so on\n\n.\n")
    with smtp_to(maildev.port) as esp:
        assert isinstance(esp.send(mail), Accepted)
    [text, _] = received(maildev, "dots@example.com").iter_parts()
    assert unix(text.get_content()) == unix(mail.text)


@pytest.mark.stack
def test_threads_that_send_at_once_all_arrive_over_a_few_connections(maildev: Maildev) -> None:
    mails = [replace(MAIL, to=f"race-{number}@example.com", subject=f"Mail {number}") for number in range(60)]
    with smtp_to(maildev.port) as esp, ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(esp.send, mails))
        assert len(esp._idle) <= 4
    assert {type(outcome) for outcome in outcomes} == {Accepted}
    assert [received(maildev, mail.to)["Subject"] for mail in mails] == [mail.subject for mail in mails]


def login(certificate: Path, **changes: Any) -> dict[str, Any]:
    return {"username": USER, "password": PASSWORD, "ca_file": certificate, **changes}


@pytest.fixture(params=["starttls", "tls"])
def secured(
    request: pytest.FixtureRequest, tmp_path: Path, certificate: Path
) -> Iterator[tuple[str, int, Callable[[], list[str]]]]:
    """A server that wants TLS and a password: how, its port, and the keys of the mails it has."""
    key = certificate.with_name("key.pem")
    if request.param == "starttls":
        with open_starttls_server(tmp_path / "server", certificate, key) as server:
            yield "starttls", server.port, lambda: [keys_of(source) for source in server.sources()]
        return
    options = ["--incoming-user", USER, "--incoming-pass", PASSWORD, "--incoming-secure"]
    tls = ["--incoming-cert", str(certificate), "--incoming-key", str(key)]
    with open_maildev(tmp_path / "server", *options, *tls) as maildev:
        yield "tls", maildev.port, lambda: [mail["headers"]["x-wakeline-key"] for mail in maildev.mails(MAIL.to)]


def keys_of(source: bytes) -> str:
    return str(message_from_bytes(source, policy=default)["X-Wakeline-Key"])


@pytest.mark.stack
def test_a_server_behind_tls_and_a_password_is_used_and_checked(
    secured: tuple[str, int, Callable[[], list[str]]], certificate: Path
) -> None:
    security, port, keys = secured
    with smtp_to(port, **login(certificate, security=security)) as esp:
        assert [type(esp.send(MAIL)) for _ in range(2)] == [Accepted] * 2
    with smtp_to(port, **login(certificate, security=security, ca_file=None)) as esp:
        unchecked = esp.send(MAIL)
    with smtp_to(port, **login(certificate, security=security, password="not that one")) as esp:
        refused = esp.send(MAIL)
    assert isinstance(unchecked, TryLater)
    assert "CERTIFICATE_VERIFY_FAILED" in unchecked.reason
    assert isinstance(refused, TryLater)
    assert refused.reason.startswith("look at the settings esp.main: the server does not take the user name and")
    assert "not that one" not in refused.reason
    assert keys() == [MAIL.key] * 2


@pytest.mark.stack
def test_a_server_that_restarts_loses_no_mail(tmp_path: Path) -> None:
    with open_maildev(tmp_path / "maildev") as server, smtp_to(server.port) as esp:
        assert isinstance(esp.send(MAIL), Accepted)
        server.kill()
        down = esp.send(MAIL)
        server.start()
        assert isinstance(down, TryLater)
        assert isinstance(esp.send(MAIL), Accepted)
        assert len(server.mails(MAIL.to)) == 1


# Phases


@pytest.mark.parametrize("point", before_content())
@pytest.mark.parametrize("fault", [dropping, RESETTING, leaving("421 4.3.2 Shutting down")])
def test_what_breaks_before_the_end_of_the_content_was_not_accepted(point: str, fault: Fault) -> None:
    with faulty_server(**{point: fault}) as server, smtp_to(server.port) as esp:
        assert isinstance(esp.send(MAIL), TryLater)
        assert server.messages == []
        server.faults.clear()
        assert esp.send(MAIL) == Accepted("2.0.0 Ok: queued as 4XyZ")
        assert len(server.messages) == 1


@pytest.mark.parametrize("fault", [dropping, RESETTING, replying("what?"), replying("354 Go on")])
def test_what_breaks_after_the_content_may_have_been_accepted(fault: Fault) -> None:
    with faulty_server(content=fault) as server, smtp_to(server.port) as esp:
        assert isinstance(esp.send(MAIL), Unknown)
        assert len(server.messages) == 1


@pytest.mark.parametrize("point", [*before_content(), "content"])
def test_a_server_that_falls_silent_is_left(point: str) -> None:
    with faulty_server() as server, smtp_to(server.port, timeout_seconds=IMPATIENT_SECONDS) as esp:
        server.faults[point] = server.silent
        outcome = esp.send(MAIL)
    assert isinstance(outcome, Unknown if point == "content" else TryLater)


def test_a_server_that_goes_in_the_middle_of_the_content_has_accepted_nothing() -> None:
    taken = threading.Event()

    def half(connection: socket.socket) -> None:
        connection.sendall(b"354 Go on\r\n")
        connection.settimeout(PATIENT_SECONDS)
        connection.recv(1_000)
        taken.set()
        RESETTING(connection)

    # More than the buffers of both sides hold.
    huge = replace(MAIL, html="<p>" + "x" * 20_000_000 + "</p>")
    with faulty_server(DATA=half) as server, smtp_to(server.port) as esp:
        outcome = esp.send(huge)
    assert taken.is_set()
    assert isinstance(outcome, TryLater)


def test_a_server_that_is_not_there_is_tried_later() -> None:
    with smtp_to(free_ports(1)[0]) as esp:
        outcome = esp.send(MAIL)
    assert isinstance(outcome, TryLater)
    assert "ConnectionRefusedError" in outcome.reason


def test_a_name_that_is_not_known_is_a_setting_to_look_at() -> None:
    with smtp_to(1, host="mail.invalid") as esp:
        outcome = esp.send(MAIL)
    assert isinstance(outcome, TryLater)
    assert outcome.reason.startswith("look at the settings esp.main: gaierror")


# Replies


@pytest.mark.parametrize("point", ["MAIL", "RCPT", "DATA", "content"])
@pytest.mark.parametrize("line", ["450 4.2.1 Mailbox busy", "451 4.7.1 Greylisted", "452 4.3.1 No space"])
def test_a_refusal_for_now_is_tried_later(point: str, line: str) -> None:
    assert outcome_with(**{point: replying(line)}) == TryLater(60.0, line)


@pytest.mark.parametrize(
    ("point", "line"),
    [
        ("MAIL", "552 5.3.4 Message too big"),
        ("RCPT", "550 5.1.1 No such user"),
        ("RCPT", "553 5.1.3 Bad address syntax"),
        ("DATA", "554 5.5.1 No valid recipients"),
        ("content", "550 5.7.1 Looks like spam"),
        ("content", "554 5.6.0 Bad content"),
    ],
)
def test_a_refusal_of_the_mail_is_final(point: str, line: str) -> None:
    assert outcome_with(**{point: replying(line)}) == Rejected(line)


@pytest.mark.parametrize(
    ("point", "line"),
    [
        ("MAIL", "530 5.7.0 Must issue a STARTTLS command first"),
        ("MAIL", "550 5.7.60 Client does not have permissions to send as this sender"),
        ("MAIL", "553 5.7.1 Sender address rejected"),
        ("MAIL", "503 5.5.1 Say hello first"),
        ("RCPT", "554 5.7.1 Relay access denied"),
        ("RCPT", "550 Authentication required"),
        ("content", "554 Message rejected: Email address is not verified."),
    ],
)
def test_a_refusal_because_of_the_settings_loses_no_mail(point: str, line: str) -> None:
    assert outcome_with(**{point: replying(line)}) == TryLater(60.0, SETTINGS + line)


def test_a_password_that_nobody_asks_for_is_a_setting_to_look_at() -> None:
    with faulty_server() as server, smtp_to(server.port, username=USER, password=PASSWORD) as esp:
        outcome = esp.send(MAIL)
    assert isinstance(outcome, TryLater)
    assert outcome.reason == (
        "look at the settings esp.main: SMTPNotSupportedError: SMTP AUTH extension not supported by server."
    )


def test_a_server_without_starttls_gets_no_mail() -> None:
    with faulty_server() as server, smtp_to(server.port, security="starttls") as esp:
        outcome = esp.send(MAIL)
        assert "MAIL" not in server.reached
    assert isinstance(outcome, TryLater)
    assert "STARTTLS" in outcome.reason


@pytest.mark.parametrize("line", ["554 5.7.1 Go away", "421 4.7.0 Too many connections"])
def test_a_server_that_does_not_want_us_is_tried_later(line: str) -> None:
    outcome = outcome_with(connect=leaving(line))
    assert isinstance(outcome, TryLater)
    assert line in outcome.reason


@pytest.mark.parametrize(
    "wrong", [{"to": "ada@example.com\nRCPT TO:<eve@example.com>"}, {"to": "jürgen@example.com"}, {"sender": "<>"}]
)
def test_what_no_message_can_carry_is_rejected_before_anybody_is_asked(wrong: dict[str, Any]) -> None:
    with faulty_server() as server, smtp_to(server.port) as esp:
        assert isinstance(esp.send(replace(MAIL, **wrong)), Rejected)
        assert server.connections == 0


# Connections


def test_a_connection_is_used_again_and_left_in_good_order() -> None:
    with faulty_server() as server:
        with smtp_to(server.port) as esp:
            assert [type(esp.send(MAIL)) for _ in range(3)] == [Accepted] * 3
        assert server.connections == 1
    assert (server.reached.count("MAIL"), server.reached[-1]) == (3, "QUIT")


def test_a_refused_mail_leaves_the_connection_for_the_next() -> None:
    with faulty_server(RCPT=replying("550 5.1.1 No such user")) as server, smtp_to(server.port) as esp:
        assert isinstance(esp.send(MAIL), Rejected)
        server.faults.clear()
        assert isinstance(esp.send(MAIL), Accepted)
        assert (server.connections, server.reached.count("RSET")) == (1, 1)


@pytest.mark.parametrize("fault", [dropping, RESETTING, leaving("421 4.4.2 Timeout")])
@pytest.mark.parametrize("point", ["MAIL", "RCPT", "DATA"])
def test_a_connection_that_the_server_gave_up_is_replaced_within_the_same_send(point: str, fault: Fault) -> None:
    with faulty_server() as server, smtp_to(server.port) as esp:
        assert isinstance(esp.send(MAIL), Accepted)

        def once(connection: socket.socket) -> None:
            server.faults.clear()
            fault(connection)

        server.faults[point] = once
        assert isinstance(esp.send(MAIL), Accepted)
        assert (server.connections, len(server.messages)) == (2, 2)


def test_an_answer_that_is_lost_on_an_old_connection_is_not_asked_for_on_a_new_one() -> None:
    with faulty_server() as server, smtp_to(server.port) as esp:
        assert isinstance(esp.send(MAIL), Accepted)
        server.faults["content"] = RESETTING
        assert isinstance(esp.send(MAIL), Unknown)
        assert (server.connections, len(server.messages)) == (1, 2)


def test_a_connection_that_was_idle_for_long_is_not_used_again() -> None:
    with faulty_server() as server, smtp_to(server.port, monotonic=count(step=100).__next__) as esp:
        assert [type(esp.send(MAIL)) for _ in range(3)] == [Accepted] * 3
        assert server.connections == 3


def test_a_connection_is_renewed_after_a_hundred_mails() -> None:
    with faulty_server() as server, smtp_to(server.port) as esp:
        assert {type(esp.send(MAIL)) for _ in range(101)} == {Accepted}
        assert server.connections == 2


# The content


@given(
    text=st.text(st.characters(codec="utf-8", categories=("L", "P", "Zs"), include_characters=".\n"), max_size=300),
)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
def test_no_text_ends_a_mail_early_or_breaks_a_line_limit(faulty: FaultyServer, text: str) -> None:
    before = len(faulty.messages)
    with smtp_to(faulty.port) as esp:
        assert isinstance(esp.send(replace(MAIL, text=text)), Accepted)
    [content] = faulty.messages[before:]
    lines = content.removesuffix(b"\r\n.\r\n").split(b"\r\n")
    assert all(len(line) <= 999 and line != b"." and line.isascii() for line in lines)
    plain = b"\r\n".join(line.removeprefix(b".") for line in lines)
    [part, _] = message_from_bytes(plain, _class=EmailMessage, policy=default).iter_parts()
    assert unix(part.get_content()) == unix(text)


@pytest.fixture
def faulty() -> Iterator[FaultyServer]:
    with faulty_server() as server:
        yield server


# Settings


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"username": "ann", "password": "a-password", "host": "mail.example.com"}, "readable to all"),
        ({"username": "ann"}, "belong together"),
        ({"password": "a-password"}, "belong together"),
    ],
)
def test_a_password_that_would_be_read_or_missing_is_refused(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised, smtp_to(25, **table):
        pass
    assert "a-password" not in raised.value.errors()[0]["msg"]  # type: ignore[attr-defined]


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for name in ("empty.pem", "missing.pem"):
        with pytest.raises(ConfigError, match=f"esp.main.ca_file: .*{name}"), smtp_to(25, ca_file=tmp_path / name):
            pass


def test_the_time_of_the_message_is_the_clock_s() -> None:
    with faulty_server() as server, smtp_to(server.port) as esp:
        esp.send(MAIL)
    message = message_from_bytes(server.messages[0], policy=default)
    assert message["Date"].datetime.timestamp() == NOW_MS // 1000
