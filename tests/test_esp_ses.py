"""Amazon SES: what an imitation of it gets, and what is certain of a mail when a call fails."""

import base64
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from support.certificates import write_certificate
from support.kinesis import CREDENTIALS, REGION, Ministack, open_ministack
from support.kinesis_streams import aws_environment
from support.ports import free_ports
from support.providers import MAIL, Behaviour, Provider, answering, fixed_clock, providing, reset, saying

from wakeline.activation.esp.metadata import SendMetadata
from wakeline.activation.esp.protocol import Accepted, Outcome, Rejected, TryLater, Unknown
from wakeline.activation.esp.ses import Ses
from wakeline.activation.esp.settings import SesEsp
from wakeline.collector.webhooks.ses import _send
from wakeline.errors import ConfigError

SETTINGS = "look at the settings esp.main and at the account: "
TAKEN = answering(200, {"MessageId": "0102018"}, {"Content-Type": "application/json"})
IMPATIENT_SECONDS = 0.3


@pytest.fixture(scope="module", autouse=True)
def environment() -> Iterator[None]:
    with aws_environment():
        yield


@contextmanager
def ses_at(url: str, **table: Any) -> Iterator[Ses]:
    esp = Ses("main", SesEsp.model_validate({"kind": "ses", "endpoint_url": url, **table}), fixed_clock)
    yield esp
    esp.close()


def refusal(code: str, message: str, status: int = 400) -> Behaviour:
    return answering(status, {"message": message}, {"x-amzn-ErrorType": code, "Content-Type": "application/json"})


def outcome_of(behaviour: Behaviour) -> Outcome:
    with providing(behaviour) as provider, ses_at(provider.url) as esp:
        outcome = esp.send(MAIL)
    assert len(provider.requests) == 1
    return outcome


# An imitation


@pytest.fixture(scope="module")
def ministack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministack]:
    with open_ministack(tmp_path_factory.mktemp("ministack"), "ses,sts,iam") as server:
        client = boto3.client("sesv2", endpoint_url=server.endpoint_url, region_name=REGION, **CREDENTIALS)
        client.create_email_identity(EmailIdentity="example.com")
        client.create_configuration_set(ConfigurationSetName="reports")
        client.close()
        yield server


def received(ministack: Ministack, to: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{ministack.endpoint_url}/_ministack/ses/messages", trust_env=False)
    by_account = answer.raise_for_status().json()["messages"]
    return [one for messages in by_account.values() for one in messages if to in one["To"]]


@pytest.mark.stack
def test_a_mail_is_taken_with_its_subject_and_parts(ministack: Ministack) -> None:
    with ses_at(ministack.endpoint_url, configuration_set="reports") as esp:
        outcome = esp.send(replace(MAIL, to="whole@example.com"))
    [mail] = received(ministack, "whole@example.com")
    assert outcome == Accepted(mail["MessageId"])
    assert mail["Subject"] == MAIL.subject
    assert (mail["BodyText"].strip(), mail["BodyHtml"].strip()) == (MAIL.text.strip(), MAIL.html)


@pytest.mark.stack
def test_threads_that_send_at_once_are_all_taken_once(ministack: Ministack) -> None:
    mails = [replace(MAIL, to=f"race-{number}@example.com") for number in range(40)]
    with ses_at(ministack.endpoint_url) as esp, ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(esp.send, mails))
    assert {type(outcome) for outcome in outcomes} == {Accepted}
    assert [len(received(ministack, mail.to)) for mail in mails] == [1] * len(mails)


@pytest.mark.stack
def test_a_server_that_restarts_is_tried_later(tmp_path: Path) -> None:
    with open_ministack(tmp_path, "ses") as server, ses_at(server.endpoint_url) as esp:
        server.kill()
        outcome = esp.send(MAIL)
    assert isinstance(outcome, TryLater)
    assert "EndpointConnectionError" in outcome.reason


# The request


def request_of(**table: Any) -> tuple[Provider, dict[str, Any]]:
    with providing(TAKEN) as provider, ses_at(provider.url, **table) as esp:
        assert esp.send(MAIL) == Accepted("0102018")
    return provider, provider.requests[0].document


def test_the_message_goes_raw_with_every_header_of_ours() -> None:
    provider, document = request_of()
    assert provider.requests[0].line == "POST /v2/email/outbound-emails HTTP/1.1"
    assert document["Destination"] == {"ToAddresses": [MAIL.to]}
    message = message_from_bytes(base64.b64decode(document["Content"]["Raw"]["Data"]), policy=default)
    assert {name: message[name] for name in MAIL.headers} == MAIL.headers
    assert (message["From"], message["To"], message["Subject"]) == (MAIL.sender, MAIL.to, MAIL.subject)


def test_the_tags_are_those_that_the_webhook_reads() -> None:
    _, document = request_of()
    tags = {tag["Name"]: [tag["Value"]] for tag in document["EmailTags"]}
    assert _send({"tags": tags}) == SendMetadata(MAIL.key, MAIL.campaign)


def test_a_tag_that_ses_would_refuse_is_left_out() -> None:
    with providing(TAKEN) as provider, ses_at(provider.url) as esp:
        esp.send(replace(MAIL, campaign="frühling"))
    assert [tag["Name"] for tag in provider.requests[0].document["EmailTags"]] == ["wakeline_key"]


def test_a_configuration_set_is_named_if_there_is_one() -> None:
    assert "ConfigurationSetName" not in request_of()[1]
    assert request_of(configuration_set="reports")[1]["ConfigurationSetName"] == "reports"


def test_what_no_message_can_carry_is_rejected_before_anybody_is_asked() -> None:
    with providing(TAKEN) as provider, ses_at(provider.url) as esp:
        for to in ("ada@example.com\nBcc: eve@example.com", "jürgen@example.com", ""):
            assert isinstance(esp.send(replace(MAIL, to=to)), Rejected)
    assert provider.requests == []


# Refusals


@pytest.mark.parametrize(
    ("code", "message", "status", "outcome"),
    [
        ("TooManyRequestsException", "Maximum sending rate exceeded.", 429, TryLater(5, "")),
        ("ThrottlingException", "Maximum sending rate exceeded.", 400, TryLater(5, "")),
        ("TooManyRequestsException", "Daily message quota exceeded.", 429, TryLater(600, "")),
        ("ServiceUnavailable", "Come back later", 503, TryLater(5, "")),
        ("LimitExceededException", "Too many instances", 400, TryLater(60, SETTINGS)),
        ("SendingPausedException", "Sending is paused", 400, TryLater(60, SETTINGS)),
        ("AccountSuspendedException", "Your account is suspended", 400, TryLater(60, SETTINGS)),
        ("MailFromDomainNotVerifiedException", "Not verified", 400, TryLater(60, SETTINGS)),
        ("NotFoundException", "Configuration set <x> does not exist.", 404, TryLater(60, SETTINGS)),
        ("AccessDeniedException", "You may not ses:SendEmail", 403, TryLater(60, SETTINGS)),
        ("UnrecognizedClientException", "The security token is invalid.", 403, TryLater(60, SETTINGS)),
        (
            "MessageRejected",
            "Email address is not verified. The following identities failed the check in region US-EAST-1: x",
            400,
            TryLater(60, SETTINGS),
        ),
        ("BadRequestException", "Configuration set name is wrong", 400, TryLater(60, SETTINGS)),
        ("MessageRejected", "Transaction failed: Bad content, as a virus was found", 400, Rejected("")),
        ("BadRequestException", "Illegal address", 400, Rejected("")),
        ("BadRequestException", "Missing final '@domain'", 400, Rejected("")),
        ("InternalFailure", "Something broke", 500, Unknown("")),
        ("InternalServiceErrorException", "Something broke", 500, Unknown("")),
    ],
)
def test_a_refusal_says_what_can_be_done(code: str, message: str, status: int, outcome: Outcome) -> None:
    found = outcome_of(refusal(code, message, status))
    assert not isinstance(outcome, Accepted)
    assert found == replace(outcome, reason=f"{outcome.reason}{code}: {message}")


def test_the_address_of_a_person_stays_out_of_the_reason() -> None:
    outcome = outcome_of(refusal("MessageRejected", "We do not write to ada@example.com."))
    assert outcome == Rejected("MessageRejected: We do not write to (address).")


# The network


@pytest.mark.parametrize(
    "behaviour",
    [
        reset,
        saying(b""),
        saying(b"HTTP/1.1 200 -\r\nContent-Length: 99\r\n\r\n{"),
        saying(b"220 mail.example.com\r\n"),
        answering(502, body=b"<html>Bad gateway</html>"),
        answering(504, body=b""),
        answering(200, body=b"not json"),
    ],
    ids=["reset", "closed", "half an answer", "no HTTP", "502", "504", "no JSON"],
)
def test_a_request_without_a_readable_answer_may_have_sent_the_mail_and_is_not_repeated(behaviour: Behaviour) -> None:
    assert isinstance(outcome_of(behaviour), Unknown)


def test_an_answer_that_does_not_come_in_time_is_lost() -> None:
    with providing() as provider, ses_at(provider.url, timeout_seconds=IMPATIENT_SECONDS) as esp:
        provider.behaviour = provider.silent
        assert isinstance(esp.send(MAIL), Unknown)
        assert len(provider.requests) == 1


def test_an_address_that_nobody_listens_on_got_nothing() -> None:
    with ses_at(f"http://127.0.0.1:{free_ports(1)[0]}") as esp:
        outcome = esp.send(MAIL)
    assert isinstance(outcome, TryLater)
    assert "EndpointConnectionError" in outcome.reason


def test_a_server_whose_certificate_is_wrong_got_nothing(tmp_path: Path) -> None:
    write_certificate(tmp_path / "key.pem", tmp_path / "certificate.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "key.pem")
    said: list[bytes] = []

    def meet() -> None:
        connection, _ = listener.accept()
        with connection, suppress(ssl.SSLError), tls.wrap_socket(connection, server_side=True) as secured:
            said.append(secured.recv(1_000))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=meet)
        thread.start()
        with ses_at(f"https://127.0.0.1:{listener.getsockname()[1]}") as esp:
            outcome = esp.send(MAIL)
        thread.join()
    assert isinstance(outcome, TryLater)
    assert "SSLError" in outcome.reason
    assert said == []


# Credentials


def role_at(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", provider.url)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")


def test_a_role_that_may_not_be_assumed_loses_no_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    denied = answering(403, body=b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>")
    with providing(denied) as sts, providing(TAKEN) as provider:
        role_at(sts, monkeypatch)
        with ses_at(provider.url, role_arn="arn:aws:iam::000000000000:role/mail") as esp:
            outcome = esp.send(MAIL)
    assert isinstance(outcome, TryLater)
    assert "there are no AWS credentials for esp.main" in outcome.reason
    assert (len(sts.requests), provider.requests) == (1, [])


def test_an_answer_of_the_service_of_roles_that_is_lost_says_nothing_about_the_mail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with providing(reset) as sts, providing(TAKEN) as provider:
        role_at(sts, monkeypatch)
        with ses_at(provider.url, role_arn="arn:aws:iam::000000000000:role/mail") as esp:
            outcome = esp.send(MAIL)
    assert isinstance(outcome, TryLater)
    assert provider.requests == []


def test_the_mail_is_signed_with_the_role_s_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    given = b"""<AssumeRoleResponse><AssumeRoleResult><Credentials>
        <AccessKeyId>ROLEKEY</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>t</SessionToken>
        <Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""
    with providing(answering(200, body=given)) as sts, providing(TAKEN) as provider:
        role_at(sts, monkeypatch)
        with ses_at(provider.url, role_arn="arn:aws:iam::000000000000:role/mail") as esp:
            assert [type(esp.send(MAIL)) for _ in range(2)] == [Accepted] * 2
    assert len(sts.requests) == 1
    assert all("Credential=ROLEKEY/" in request.headers["authorization"] for request in provider.requests)


def test_without_credentials_no_mail_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with providing(TAKEN) as provider, ses_at(provider.url) as esp:
        outcome = esp.send(MAIL)
    assert isinstance(outcome, TryLater)
    assert "NoCredentialsError" in outcome.reason
    assert provider.requests == []


def test_a_region_that_is_missing_or_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    for table in ({}, {"region": "not a region"}):
        with pytest.raises(ConfigError, match=r"esp\.main cannot be used; correct its region"):
            Ses("main", SesEsp.model_validate({"kind": "ses", **table}), fixed_clock)
