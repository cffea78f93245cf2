import errno
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from math import inf
from pathlib import Path
from typing import Any

import pytest

from wakeline.activation.esp.factory import open_esp
from wakeline.activation.esp.outbox import OutboxEsp
from wakeline.activation.esp.protocol import Accepted, Mail, Rejected, TryLater
from wakeline.settings import Settings

NOW_MS = 1_700_000_000_000
KEY = "0123456789abcdef" * 4
MAIL = Mail(
    key=KEY,
    campaign="category_dwell",
    to="ada@example.com",
    sender="Wakeline Demo Shop <shop@example.com>",
    subject="Still thinking about sneakers?",
    html="<p>Grüße, " + "sehr lange Zeile " * 200 + "</p>",
    text="Grüße\n",
    headers={"Message-ID": f"<{KEY}@example.com>", "X-Wakeline-Key": KEY, "X-Wakeline-Campaign": "category_dwell"},
)


def outbox_in(folder: Path) -> OutboxEsp:
    return OutboxEsp(folder / "outbox", lambda: NOW_MS)


def written(folder: Path) -> EmailMessage:
    (path,) = (folder / "outbox").iterdir()
    return message_from_bytes(path.read_bytes(), _class=EmailMessage, policy=default)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_mail_becomes_a_message_that_mail_clients_read(tmp_path: Path) -> None:
    assert outbox_in(tmp_path).send(MAIL) == Accepted(KEY)
    message = written(tmp_path)
    assert message["From"] == MAIL.sender
    assert message["To"] == MAIL.to
    assert message["Subject"] == MAIL.subject
    assert message["Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"
    assert {name: message[name] for name in MAIL.headers} == MAIL.headers
    assert message.get_content_type() == "multipart/alternative"
    parts = [part.get_content().replace("\r\n", "\n") for part in message.iter_parts()]
    assert parts == [MAIL.text, MAIL.html + "\n"]


def test_the_file_conforms_to_the_line_limits_of_mail(tmp_path: Path) -> None:
    outbox_in(tmp_path).send(MAIL)
    content = (tmp_path / "outbox" / f"{KEY}.eml").read_bytes()
    lines = content.split(b"\r\n")
    assert b"\n" not in b"".join(lines)
    assert all(len(line) <= 998 for line in lines)


@pytest.mark.parametrize(
    "subject",
    [
        "Jürgen, are you still thinking about the blue sneakers and the große Tour?",
        "Zoë",
        "日本語の件名 テスト です " * 5,
        "x " * 60 + "é",
        "😀" * 40,
        "plain but rather long " * 8,
    ],
)
def test_a_subject_arrives_with_every_character(tmp_path: Path, subject: str) -> None:
    outbox_in(tmp_path).send(replace(MAIL, subject=subject.strip()))
    assert written(tmp_path)["Subject"] == subject.strip()


def test_only_the_owner_can_read_the_mails(tmp_path: Path) -> None:
    outbox_in(tmp_path).send(MAIL)
    assert mode(tmp_path / "outbox") == 0o700
    assert mode(tmp_path / "outbox" / f"{KEY}.eml") == 0o600


def test_a_second_send_of_a_key_leaves_the_first_file_and_says_the_same(tmp_path: Path) -> None:
    esp = outbox_in(tmp_path)
    first = esp.send(MAIL)
    before = (tmp_path / "outbox" / f"{KEY}.eml").stat()
    assert esp.send(replace(MAIL, subject="Another")) == first
    after = (tmp_path / "outbox" / f"{KEY}.eml").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert written(tmp_path)["Subject"] == MAIL.subject


def test_threads_that_send_one_key_at_once_write_one_mail(tmp_path: Path) -> None:
    senders = [outbox_in(tmp_path) for _ in range(8)]
    subjects = [f"From thread {number}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda esp, subject: esp.send(replace(MAIL, subject=subject)), senders, subjects))
    assert sent == [Accepted(KEY)] * 8
    assert written(tmp_path)["Subject"] in subjects


def test_the_loser_of_a_race_leaves_the_winner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    esp, link = outbox_in(tmp_path), os.link

    def overtaken(source: Path, target: Path) -> None:
        monkeypatch.setattr(os, "link", link)
        assert esp.send(replace(MAIL, subject="The winner")) == Accepted(KEY)
        link(source, target)

    monkeypatch.setattr(os, "link", overtaken)
    assert esp.send(MAIL) == Accepted(KEY)
    assert written(tmp_path)["Subject"] == "The winner"


class Killed(BaseException):
    """Stands for a process that ends between two calls."""


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_a_crash_leaves_no_half_mail_and_the_key_can_be_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(os, step, die)
        with pytest.raises(Killed):
            outbox_in(tmp_path).send(MAIL)
    assert list((tmp_path / "outbox").glob("*.eml")) == []
    assert outbox_in(tmp_path).send(MAIL) == Accepted(KEY)
    content = (tmp_path / "outbox" / f"{KEY}.eml").read_bytes()
    assert message_from_bytes(content, policy=default)["Subject"] == MAIL.subject


@pytest.mark.parametrize("step", ["fsync", "link"])
def test_a_full_disk_is_worth_another_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, step, full)
        outcome = outbox_in(tmp_path).send(MAIL)
    assert isinstance(outcome, TryLater)
    assert "No space left on device" in outcome.reason
    assert list((tmp_path / "outbox").iterdir()) == []
    assert outbox_in(tmp_path).send(MAIL) == Accepted(KEY)


def test_a_folder_that_cannot_be_made_is_worth_another_try(tmp_path: Path) -> None:
    (tmp_path / "outbox").touch()
    outcome = outbox_in(tmp_path).send(MAIL)
    assert isinstance(outcome, TryLater)
    assert "outbox" in outcome.reason


@pytest.mark.parametrize("key", ["", "../../etc/passwd", "ABCDEF", "a/b", "a\x00", "a\n", "0x1", "a" * 129, "é"])
def test_a_key_that_is_not_hex_is_refused(tmp_path: Path, key: str) -> None:
    assert isinstance(outbox_in(tmp_path).send(replace(MAIL, key=key)), Rejected)
    assert not (tmp_path / "outbox").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"subject": "Hello\r\nBcc: everyone@example.com"},
        {"to": "ada@example.com\nBcc: everyone@example.com"},
        {"to": "ada@example.com, eve@example.com"},
        {"to": ""},
        {"to": '"'},
        {"sender": "nobody"},
        {"sender": "Eve\nBcc: ada@example.com <eve@example.com>"},
        {"headers": {"X-Wakeline-Key": "a\nb: c"}},
        {"headers": {"Message-ID": "<>"}},
        {"headers": {"To": "eve@example.com"}},
        {"subject": "\ud800"},
        {"text": "\ud800"},
    ],
)
def test_what_no_message_can_carry_is_rejected_and_never_raises(tmp_path: Path, wrong: dict[str, Any]) -> None:
    assert isinstance(outbox_in(tmp_path).send(replace(MAIL, **wrong)), Rejected)
    assert not list(tmp_path.glob("outbox/*"))


def test_the_settings_open_the_outbox_in_the_data_folder(tmp_path: Path) -> None:
    esp = open_esp(Settings(data_dir=tmp_path), lambda: NOW_MS)
    assert (esp.name, esp.idempotency_key_seconds) == ("outbox", inf)
    assert esp.send(MAIL) == Accepted(KEY)
    assert (tmp_path / "outbox" / f"{KEY}.eml").is_file()
