"""What holds for every provider that speaks HTTP: what is certain of a mail, whatever the server and the network do."""

import logging
import socket
import threading
import traceback
from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from support.accounts import ACCOUNTS, SECRET, SIGNING_SECRET, Account
from support.clocks import NOW_MS
from support.mailing import ANN, CAMPAIGNS, HOSTS, PUBLIC_URL, SENDER
from support.ports import free_ports
from support.providers import ADDRESS, KEY, MAIL, Behaviour, answering, providing, reset, saying
from support.stack import await_that

from wakeline.activation.esp.factory import open_esp
from wakeline.activation.esp.protocol import Accepted, Esp, Mail, Outcome, Rejected, TryLater, Unknown
from wakeline.activation.rendering import Renderer
from wakeline.errors import ConfigError
from wakeline.settings import Settings, load_settings

HUGE = b"x" * 3_000_000
HTML = b"<!doctype html><title>Sign in to this network</title>"
#: More than the buffers of two sockets hold.
BIG_MAIL = replace(MAIL, html="x" * 12_000_000)
#: Long enough for a busy machine to connect, and short enough to wait for.
IMPATIENT_SECONDS = 0.5


@pytest.fixture(params=ACCOUNTS.values(), ids=ACCOUNTS)
def account(request: pytest.FixtureRequest) -> Account:
    found: Account = request.param
    return found


@pytest.fixture(
    params=[
        *ACCOUNTS.values(),
        replace(
            ACCOUNTS["webhook"],
            settings={"signing_secret": SIGNING_SECRET, "idempotency_key_hours": 2},
            idempotency_key_hours=2,
        ),
    ],
    ids=[*ACCOUNTS, "webhook-with-key"],
)
def any_account(request: pytest.FixtureRequest) -> Account:
    found: Account = request.param
    return found


def is_lost(outcome: Outcome) -> bool:
    """The mail may be out. Whether the key makes a second try safe is not the adapter's to say: there may be others."""
    return isinstance(outcome, Unknown)


def test_what_the_settings_open_says_how_long_it_knows_a_key(any_account: Account) -> None:
    with any_account.opened("http://127.0.0.1:1") as esp:
        assert (esp.name, esp.idempotency_key_seconds) == ("main", any_account.idempotency_key_hours * 3600)


def test_a_mail_that_is_taken_is_accepted_under_the_providers_id(account: Account) -> None:
    behaviour = answering(account.status, account.document, account.headers)
    with providing(behaviour) as provider, account.opened(provider) as esp:
        assert esp.send(MAIL) == Accepted(account.provider_id)
    assert len(provider.requests) == 1


def test_threads_send_at_the_same_time_and_no_more_than_are_allowed(account: Account) -> None:
    answer = answering(account.status, account.document, account.headers)
    pair, lock = threading.Barrier(2), threading.Lock()
    in_progress, most = [0], [0]

    def counted(connection: socket.socket) -> None:
        with lock:
            in_progress[0] += 1
            most[0] = max(most[0], in_progress[0])
        pair.wait()
        with lock:
            in_progress[0] -= 1
        answer(connection)

    outcomes: list[Outcome] = []
    with providing(counted) as provider, account.opened(provider, concurrency=2) as esp:
        send_at_the_same_time(esp, 30, outcomes)
    assert outcomes == [Accepted(account.provider_id)] * 30
    assert most == [2]


def send_at_the_same_time(esp: Esp, times: int, outcomes: list[Outcome]) -> None:
    threads = [threading.Thread(target=lambda: outcomes.append(esp.send(MAIL))) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def outcomes_of(account: Account, behaviours: Mapping[Any, Behaviour], **more: Any) -> dict[Any, Outcome]:
    """What becomes of a mail under each behaviour; each must have got exactly one request."""
    found = {}
    with providing() as provider, account.opened(provider, **more) as esp:
        for number, (name, behaviour) in enumerate(behaviours.items(), start=1):
            provider.behaviour = behaviour
            found[name] = esp.send(MAIL)
            assert len(provider.requests) == number, name
    return found


def test_the_mails_of_all_campaigns_are_handed_over(account: Account) -> None:
    renderer = Renderer(CAMPAIGNS, SENDER, PUBLIC_URL, lambda token: f"{token.key}.sign", HOSTS)
    mails = [renderer.render(name, KEY, ANN, CAMPAIGNS[name].preview) for name in CAMPAIGNS]
    behaviour = answering(account.status, account.document, account.headers)
    with providing(behaviour) as provider, account.opened(provider) as esp:
        assert [esp.send(mail) for mail in mails] == [Accepted(account.provider_id)] * len(mails)
    for mail, request in zip(mails, provider.requests, strict=True):
        for value in (mail.key, mail.campaign, mail.headers.get("List-Unsubscribe", mail.to)):
            assert value.encode() in request.body


# The status


def test_a_provider_that_has_no_time_is_asked_again(account: Account) -> None:
    outcomes = outcomes_of(account, {status: answering(status, {}) for status in (429, 408, 425)})
    for status, outcome in outcomes.items():
        assert isinstance(outcome, TryLater)
        assert outcome.after_seconds == 5
        assert str(status) in outcome.reason


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "17"}, 17),
        ({"Retry-After": "Fri, 15 Jan 2027 08:02:00 GMT"}, 120),
        ({"Retry-After": "Fri, 15 Jan 2027 07:00:00 GMT"}, 1),
        ({"Retry-After": "0"}, 1),
        ({"Retry-After": "999999999"}, 86_400),
        ({"Retry-After": "soon"}, 5),
        ({"X-RateLimit-Reset": str(NOW_MS // 1000 + 30)}, 30),
        ({"X-RateLimit-Reset": "30"}, 5),
        ({"Retry-After": "9", "X-RateLimit-Reset": str(NOW_MS // 1000 + 30)}, 9),
    ],
)
def test_the_pause_is_the_one_that_the_provider_asks_for(headers: dict[str, str], seconds: float) -> None:
    with providing(answering(429, {}, headers)) as provider, ACCOUNTS["sendgrid"].opened(provider) as esp:
        outcome = esp.send(MAIL)
    assert isinstance(outcome, TryLater)
    assert outcome.after_seconds == seconds


def test_a_wrong_setting_loses_no_mail(account: Account) -> None:
    statuses = (301, 302, 307, 308, 401, 402, 403, 404, 405, 407, 410)
    elsewhere = {"Location": "/elsewhere"}
    for outcome in outcomes_of(account, {status: answering(status, {}, elsewhere) for status in statuses}).values():
        assert isinstance(outcome, TryLater)
        assert outcome.after_seconds == 60
        assert "esp.main" in outcome.reason


def test_a_mail_that_is_refused_is_rejected(account: Account) -> None:
    statuses = (400, 406, 409, 411, 413, 415, 422, 451)
    outcomes = outcomes_of(account, {status: answering(status, {}) for status in statuses})
    assert {status: type(outcome) for status, outcome in outcomes.items()} == dict.fromkeys(statuses, Rejected)


def test_a_server_that_fails_may_have_taken_the_mail(any_account: Account) -> None:
    statuses = (500, 501, 502, 503, 504, 599, 303)
    outcomes = outcomes_of(any_account, {status: answering(status, {}) for status in statuses})
    assert [status for status, outcome in outcomes.items() if not is_lost(outcome)] == []


# The network


def test_a_server_that_nobody_runs_has_taken_nothing(account: Account) -> None:
    [port] = free_ports(1)
    with account.opened(f"http://127.0.0.1:{port}") as esp:
        outcome = esp.send(MAIL)
    assert isinstance(outcome, TryLater)
    assert "not reached: ConnectError" in outcome.reason


def test_a_name_that_leads_nowhere_has_taken_nothing(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_name(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with account.opened("https://esp.invalid") as esp:
        monkeypatch.setattr(socket, "getaddrinfo", no_such_name)
        assert isinstance(esp.send(MAIL), TryLater)


def test_a_server_without_tls_has_taken_nothing(account: Account) -> None:
    outcome = meeting(account, "https", saying(b"HTTP/1.1 400 -\r\n\r\n"), MAIL)
    assert isinstance(outcome, TryLater)
    assert "not reached: ConnectError" in outcome.reason


def meeting(account: Account, scheme: str, behaviour: Behaviour, mail: Mail) -> Outcome:
    """What becomes of a mail whose connection is treated so after its first bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_meet, args=(listener, behaviour))
        thread.start()
        with account.opened(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}") as esp:
            outcome = esp.send(mail)
        thread.join()
    return outcome


def _meet(listener: socket.socket, behaviour: Behaviour) -> None:
    connection, _ = listener.accept()
    connection.recv(1_000)
    behaviour(connection)


def test_without_a_free_connection_nothing_is_sent() -> None:
    outcomes: list[Outcome] = []
    with providing() as provider, ACCOUNTS["postmark"].opened(provider, concurrency=1, timeout_seconds=2) as esp:
        provider.behaviour = provider.dripping
        busy = threading.Thread(target=lambda: outcomes.append(esp.send(MAIL)))
        busy.start()
        await_that("the only connection is in use", lambda: len(provider.requests) == 1, 20)
        outcome = esp.send(MAIL)
        provider.stopped.set()
        busy.join()
    assert outcome == TryLater(5, "the provider was not reached: no connection became free")
    assert isinstance(outcomes[0], Unknown)
    assert len(provider.requests) == 1


def test_a_body_that_does_not_go_out_in_time_is_not_taken(account: Account) -> None:
    with providing(reads=False) as provider, account.opened(provider, timeout_seconds=IMPATIENT_SECONDS) as esp:
        outcome = esp.send(BIG_MAIL)
    assert isinstance(outcome, TryLater)
    assert "WriteTimeout" in outcome.reason


def test_a_connection_that_breaks_in_the_middle_of_the_body_has_taken_nothing(account: Account) -> None:
    assert isinstance(meeting(account, "http", reset, BIG_MAIL), TryLater)


def test_an_answer_that_does_not_come_in_time_leaves_the_mail_in_doubt(any_account: Account) -> None:
    with providing() as provider, any_account.opened(provider, timeout_seconds=IMPATIENT_SECONDS) as esp:
        provider.behaviour = provider.silent
        outcome = esp.send(MAIL)
    assert len(provider.requests) == 1
    assert is_lost(outcome)
    assert "ReadTimeout" in getattr(outcome, "reason", "")


def test_without_a_status_the_mail_is_in_doubt(any_account: Account) -> None:
    behaviours = {
        "reset": reset,
        "closed": saying(b""),
        "no http": saying(b"\x00\xff garbage \r\n\r\n"),
        "half a status": saying(b"HTTP/1.1 2"),
        "endless header": saying(b"HTTP/1.1 200 OK\r\nX-Long: " + HUGE),
    }
    outcomes = outcomes_of(any_account, behaviours)
    assert [name for name, outcome in outcomes.items() if not is_lost(outcome)] == []


# A success that the provider did not write: a proxy or a wrong address answers 200 as well.

#: Their documentation takes the status, or a header, for an answer; the body does not matter.
BODILESS = ("sendgrid", "webhook")
READERS = {kind: one for kind, one in ACCOUNTS.items() if kind not in BODILESS}
WRONG_TYPES = b'{"id": {"a": 1}, "MessageID": [], "ErrorCode": 0, "dispatch_id": true, "delivery_id": null}'
UNREADABLE = {
    "a page": answering(200, body=HTML),
    "nothing": answering(200, body=b""),
    "half a document": answering(200, body=b'{"id": "1", "MessageID"'),
    "deep": answering(200, body=b"[" * 60_000),
    "a list": answering(200, body=b"[1]"),
    "null": answering(200, body=b"null"),
    "no utf-8": answering(200, body=b"\xff\xfe"),
    "types": answering(200, body=WRONG_TYPES),
    "huge": answering(200, body=HUGE),
    "no gzip": answering(200, body=b"\x1f\x8b garbage", headers={"Content-Encoding": "gzip"}),
    "cut off": saying(b"HTTP/1.1 200 -\r\nContent-Length: 900\r\n\r\n{"),
    "no chunk": saying(b"HTTP/1.1 200 -\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
}


@pytest.mark.parametrize("account", READERS.values(), ids=READERS)
def test_a_success_that_is_not_the_providers_leaves_the_mail_in_doubt(account: Account) -> None:
    outcomes = outcomes_of(account, UNREADABLE)
    assert [name for name, outcome in outcomes.items() if not is_lost(outcome)] == []


@pytest.mark.parametrize("body", [HTML, b"", HUGE])
def test_a_success_of_a_receiver_is_one_whatever_the_body(body: bytes) -> None:
    with providing(answering(200, body=body)) as provider, ACCOUNTS["webhook"].opened(provider) as esp:
        assert esp.send(MAIL) == Accepted(KEY)


def test_a_header_with_the_id_is_enough_where_the_provider_documents_no_body() -> None:
    cut_off = saying(b"HTTP/1.1 202 -\r\nX-Message-Id: 14c5d75ce93\r\nContent-Length: 900\r\n\r\n")
    with providing(cut_off) as provider, ACCOUNTS["sendgrid"].opened(provider) as esp:
        assert esp.send(MAIL) == Accepted("14c5d75ce93")


def test_a_success_without_the_header_is_not_the_providers() -> None:
    with providing(answering(202)) as provider, ACCOUNTS["sendgrid"].opened(provider) as esp:
        assert isinstance(esp.send(MAIL), Unknown)


@pytest.mark.parametrize(("status", "expected"), [(429, TryLater), (401, TryLater), (400, Rejected)])
def test_a_refusal_is_one_whatever_the_body(account: Account, status: int, expected: type) -> None:
    bodies = (HTML, HUGE, b"\xff", b"[[]]", b'{"errors": "no list", "meta": 5, "message": 1.5}')
    outcomes = outcomes_of(account, {body[:20]: answering(status, body=body) for body in bodies})
    assert {type(outcome) for outcome in outcomes.values()} == {expected}


def test_an_answer_that_never_ends_is_left_when_its_time_is_over(account: Account) -> None:
    ticks = count(NOW_MS, 4_000)

    def dripping(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 500 -\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1_000_000):
            connection.sendall(b"1\r\nx\r\n")

    with providing(dripping) as provider, account.opened(provider, clock=lambda: next(ticks)) as esp:
        assert is_lost(esp.send(MAIL))


# What is said of it


def echoes(secret: str) -> list[Any]:
    """Errors in the form of each provider that repeat what they were sent."""
    return [
        {"errors": [{"message": f"no mail for {ADDRESS} with {secret}", "field": "to"}]},
        {"ErrorCode": 300, "Message": f"Invalid 'To' address: '{ADDRESS.upper()}'. {secret}"},
        {"message": f"to: <{ADDRESS}>, key {secret}" + "!" * 1_000, "name": "validation_error"},
        {"meta": {"error": f"{ADDRESS}\r\n{secret}"}},
        {"error": f"mailto:{ADDRESS} {secret}"},
    ]


def test_a_reason_is_short_and_tells_no_address_and_no_key(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    secret = next(value for name, value in account.settings.items() if name.endswith(("key", "token", "secret")))
    documents = list(enumerate(echoes(secret)))
    cases = {(status, number): answering(status, one) for status in (400, 401, 429, 500) for number, one in documents}
    reasons = [getattr(outcome, "reason", "") for outcome in outcomes_of(account, cases).values()]
    assert all(0 < len(reason) < 500 for reason in reasons)
    assert any("(address)" in reason for reason in reasons)
    told = "\n".join([*(reason.replace("\r", "<return>") for reason in reasons), caplog.text]).lower()
    assert [text for text in (ADDRESS, secret.lower(), "<return>") if text in told] == []


# What no request can carry


NOT_TO_BE_CARRIED: list[dict[str, Any]] = [
    {"to": "nobody"},
    {"to": "ada@example.com, eve@example.com"},
    {"sender": "Shop <shop@example.com"},
    {"subject": "\ud800"},
    {"html": "\ud800"},
    {"headers": {"X-One": "1\r\nBcc: eve@example.com"}},
    {"headers": {"X-One: 1\r\nBcc": "eve@example.com"}},
    {"headers": {"": "1"}},
]


def test_what_no_request_can_carry_is_rejected_and_not_sent(account: Account) -> None:
    with providing() as provider, account.opened(provider) as esp:
        outcomes = [esp.send(replace(MAIL, **wrong)) for wrong in NOT_TO_BE_CARRIED]
    assert {type(outcome) for outcome in outcomes} == {Rejected}
    assert [outcome for outcome in outcomes if ADDRESS in getattr(outcome, "reason", "")] == []
    assert provider.requests == []


# Settings


@pytest.mark.parametrize(
    ("esp", "names", "sentence"),
    [
        ({}, ["main"], r"names 'main'; add a table \[esp.main\]"),
        ({"main": {}}, ["main", "main"], "names 'main' twice"),
        ({"outbox": {}}, ["outbox"], "esp.outbox: the name is that of the outbox"),
        ({"main": {}}, [], "at least 1"),
        ({"main": {"endpoint_url": "http://api.resend.com"}}, ["main"], "must begin with https://"),
        ({"main": {"endpoint_url": "https://ada:pw@api.resend.com"}}, ["main"], "without user name"),
        ({"main": {"endpoint_url": "https://api.resend.com/?a=1"}}, ["main"], "without user name, query"),
        ({"main": {"endpoint_url": "https://"}}, ["main"], "address"),
        ({"main": {"api_key": "a key with blanks"}}, ["main"], "api_key"),
        ({"main": {"rate_per_second": 0}}, ["main"], "rate_per_second"),
    ],
)
def test_wrong_settings_are_named(esp: dict[str, dict[str, Any]], names: list[str], sentence: str) -> None:
    found = {name: {"kind": "resend", "api_key": SECRET, **table} for name, table in esp.items()}
    with pytest.raises(ValueError, match=sentence):
        open_esp(Settings.model_validate({"esp": found, "activation": {"esp": names}}), lambda: NOW_MS)


@pytest.mark.parametrize("secret", ["whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_no base64!"])
def test_a_signing_secret_that_is_none_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        Settings.model_validate(
            {"esp": {"main": {"kind": "webhook", "url": "https://mail.example.com", "signing_secret": secret}}}
        )


@pytest.mark.parametrize("table", ['kind = "mailgun"', 'kind = "mailgn"', 'kind = "mailgun"\ndomain = "a/b"'])
def test_what_is_wrong_with_a_table_is_told_without_its_secrets(tmp_path: Path, table: str) -> None:
    path = tmp_path / "wakeline.toml"
    path.write_text(f'[esp.main]\napi_key = "{SECRET}"\n{table}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"esp\.main") as raised:
        load_settings(path)
    assert SECRET not in "".join(traceback.format_exception(raised.value))


def test_a_setting_that_a_table_lacks_is_named_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "wakeline.toml"
    path.write_text(f'[esp.main]\nkind = "mailgun"\napi_key = "{SECRET}"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"setting 'esp\.main\.domain' is wrong"):
        load_settings(path)
