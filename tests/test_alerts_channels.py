"""Channels: a real service on a bad day, secrets that stay secret, settings that are wrong, and the commands."""

import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.alerting import problem
from support.clocks import HOUR_MS, SECOND_MS, Hand
from support.listening import SILENT, Listener, listening
from support.ports import free_ports

from wakeline.alerts.book import open_book
from wakeline.alerts.channels import open_channels, without_secrets
from wakeline.alerts.collector_look import KEYS, look_at_collector, problems
from wakeline.alerts.concerns import BY_NAME, CONCERNS
from wakeline.alerts.delivery import deliver
from wakeline.alerts.gist import UNKNOWN, gist
from wakeline.alerts.links import collector_url, links
from wakeline.alerts.machine import Kind
from wakeline.alerts.problem import Look, Severity
from wakeline.alerts.text import Message
from wakeline.cli import cli
from wakeline.clock import system_clock
from wakeline.errors import ConfigError
from wakeline.settings import Settings, load_settings

MESSAGE = Message(
    "[error] lane/0", "Nobody processes lane 0.\nSince: now & <then> {{ x }}", Kind.OPENED, Severity.ERROR
)
SECRET = "T0PSECRET"


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listening() as opened:
        yield opened


Configure = Callable[..., Settings]


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Writes the settings file that commands read."""

    def write(text: str) -> Settings:
        path = tmp_path / "wakeline.toml"
        path.write_text(f'data_dir = "{tmp_path / "data"}"\n{text}', encoding="utf-8")
        monkeypatch.setenv("WAKELINE_CONFIG", str(path))
        return load_settings()

    return write


def channel(url: str, **more: Any) -> Any:
    return open_channels(Settings.model_validate({"alerts": {"channels": {"chat": {"url": url, **more}}}}).alerts)[
        "chat"
    ]


# A real service


def test_a_message_arrives_as_it_is(listener: Listener) -> None:
    assert channel(listener.url).send(MESSAGE) is None
    [taken] = listener.taken
    assert (taken["title"], taken["message"], taken["type"]) == (MESSAGE.title, MESSAGE.body, "failure")
    recovered = Message("Recovered: lane/0", "Well.", Kind.RECOVERED, Severity.ERROR)
    assert channel(listener.url).send(recovered) is None
    assert listener.taken[1]["type"] == "success"


def test_what_a_service_answers_is_told_without_the_address(
    listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    listener.statuses.append(500)
    url = f"json://ann:{SECRET}@127.0.0.1:{listener.port}/{SECRET}/x?+X-Token={SECRET}"
    with caplog.at_level(logging.DEBUG):
        said = channel(url).send(MESSAGE)
        down = channel(f"json://ann:{SECRET}@127.0.0.1:{free_ports(1)[0]}/{SECRET}").send(MESSAGE)
    assert "500" in said
    assert "onnection" in down
    assert SECRET not in said + down + caplog.text
    assert "127.0.0.1" not in said + down + caplog.text


def test_a_service_that_does_not_answer_has_not_taken_it(listener: Listener) -> None:
    listener.statuses.append(SILENT)
    assert channel(f"{listener.url}?rto=0.2").send(MESSAGE) is not None
    assert channel(listener.url).send(MESSAGE) is None


def test_messages_wait_out_a_bad_day_of_the_service(listener: Listener, tmp_path: Path) -> None:
    listener.statuses.extend([500, SILENT, 503])
    channels = {"chat": {"url": f"{listener.url}?rto=0.2"}}
    chosen, clock = Settings.model_validate({"data_dir": tmp_path, "alerts": {"channels": channels}}), Hand()
    lanes = BY_NAME["lanes"]
    with open_book(chosen) as book:
        book.take(lanes, Look((problem("lane/0", open_after_seconds=0),)), clock())
        book.take(lanes, Look(), clock())
    for _ in range(20):  # Each round is that of another process.
        with open_book(chosen) as book:
            deliver(book.outbox, book.channels, clock, 20_000)
        clock.now_ms += 10 * SECOND_MS
    assert listener.titles() == ["[error] lane/0", "Recovered: lane/0"]
    assert listener.requests == 5


@pytest.mark.parametrize(("overflow", "taken"), [("", 1), ("?overflow=split", 2)])
def test_a_message_that_is_too_long_for_a_service_does_not_hold_up_the_others(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, overflow: str, taken: int
) -> None:
    monkeypatch.setattr("apprise.plugins.custom_json.NotifyJSON.body_maxlen", 50)
    assert channel(listener.url + overflow).send(MESSAGE) is None
    assert len(listener.taken) == taken
    assert MESSAGE.body.startswith(listener.taken[0]["message"])
    assert all(len(one["message"]) <= 50 for one in listener.taken)


def test_a_sentence_without_secrets_is_still_one() -> None:
    url = "slack://TokenAAAA/TokenBBBB/TokenCCCC/#ops"
    assert without_secrets("Failed at TokenBBBB (TokenAAAA): 404.\nmore", url) == "Failed at *** (***): 404."
    assert without_secrets("  ", url) == "The channel did not take the message."
    assert without_secrets("Not for 'p@ssword'.", "mailtos://ann:p%40ssword@example.com") == "Not for '***'."


# Settings


def test_addresses_are_in_no_text_of_the_settings(configure: Configure) -> None:
    chosen = configure(
        f'[alerts]\nurl = "postgresql://u:{SECRET}@h/d"\n[alerts.channels.chat]\nurl = "json://{SECRET}"'
    )
    assert SECRET not in repr(chosen) + str(chosen.alerts) + repr(open_channels(chosen.alerts))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            '[alerts.channels.chat]\nurl = "slak://T0PSECRET"',
            "alerts.channels.chat.url is no address that",
        ),
        ('[alerts.channels.chat]\nurl = "slack://T0PSECRET"', "alerts.channels.chat.url is no address"),
        ('[alerts.channels.chat]\nurl = "nothing T0PSECRET"', "alerts.channels.chat.url is no address"),
        ('[alerts.channels]\nchat = "slack://T0PSECRET"', "setting 'alerts.channels.chat' is wrong"),
        ('[alerts.channels.chat]\nurl = ["T0PSECRET"]', "setting 'alerts.channels.chat.url' is wrong"),
        ('[alerts.channels."a b"]\nurl = "json://T0PSECRET"', "alerts.channels.a b"),
        ('[alerts.channels.chat]\nurl = "json://h"\nconcerns = ["lane"]', "alerts.channels.chat.concerns names 'lane'"),
        (
            '[alerts.channels.chat]\nurl = "json://h"\nmin_severity = "bad"',
            "'alerts.channels.chat.min_severity' is wrong",
        ),
        ('[[alerts.maintenance]]\nfrom = "2"\nto = "03:00"', 'write a time of day such as "21:00"'),
        ('[[alerts.maintenance]]\nfrom = "02:00"\nto = "02:00"', "'from' and 'to' are the same time"),
        ('[[alerts.maintenance]]\nfrom = "02:00"\nto = "03:00"\ntime_zone = "Mars"', "write an IANA name"),
        ('[[alerts.maintenance]]\nfrom = "02:00"\nto = "03:00"\nconcern = "lane"', "names 'lane'; known concerns are"),
    ],
)
def test_a_wrong_setting_is_one_sentence_that_names_its_key(configure: Configure, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)) as raised:
        open_channels(configure(text).alerts)
    assert SECRET not in str(raised.value)


def test_an_address_can_come_from_the_environment(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAKELINE_ALERTS__CHANNELS__CHAT__URL", "json://127.0.0.1:1")
    assert list(configure('[alerts.channels.chat]\nurl = "json://h"\n').alerts.channels) == ["chat"]
    assert load_settings().alerts.channels["chat"].url == "json://127.0.0.1:1"


def test_links_lead_to_where_people_reach_dagster() -> None:
    assert links(Settings()).run("1") == "http://127.0.0.1:8230/runs/1"
    outside = Settings.model_validate({"dagster": {"url": "https://d.example.com/"}, "collector": {"host": "0.0.0.0"}})  # noqa: S104
    assert links(outside).asset("campaigns/a b") == "https://d.example.com/assets/campaigns/a%20b"
    assert collector_url(outside) == "http://127.0.0.1:8200"
    six = Settings.model_validate({"collector": {"host": "::1"}, "alerts": {"collector_url": ""}})
    assert collector_url(six) == "http://[::1]:8200"


# What the collector says


@pytest.mark.parametrize(
    ("status", "health", "keys"),
    [
        (200, {"status": "ok"}, []),
        (200, {"status": "refusing", "refusing": "Too many."}, ["collector/refusing"]),
        (200, {"status": "refusing", "refusing": "Too many.", "unread_events": 7}, ["collector/unread"]),
        (
            200,
            {"status": "ok", "spooled_events": 3, "spooled_bytes": 9, "stream_error": ""},
            ["collector/spooling"],
        ),
        (503, {"status": "failing", "error": "The disk is full."}, ["collector/failing"]),
    ],
)
def test_what_the_collector_says_of_itself(status: int, health: dict[str, Any], keys: list[str]) -> None:
    found = problems(status, health)
    assert [one.key for one in found] == keys
    assert set(keys) <= set(KEYS)


def test_of_a_collector_that_does_not_answer_nothing_else_is_known(listener: Listener) -> None:
    # Nobody listens; something else does; the setting is wrong.
    for place in (f"http://127.0.0.1:{free_ports(1)[0]}", f"http://127.0.0.1:{listener.port}", "http://["):
        look = look_at_collector(place)
        assert [one.key for one in look.problems] == ["collector/down"]
        assert look.unknown == set(KEYS) - {"collector/down"}


@pytest.mark.parametrize(("host", "place"), [("::", "127.0.0.1"), ("::1", "[::1]"), ("0.0.0.0", "127.0.0.1")])  # noqa: S104
def test_heartbeats_go_to_a_collector_that_listens_everywhere(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, host: str, place: str
) -> None:
    class Client:
        def __init__(self, url: str, *_: object) -> None:
            raise ConfigError(url)

    configure(f'[collector]\nhost = "{host}"')
    monkeypatch.setattr("wakeline.play.collector_client.CollectorClient", Client)
    assert str(invoke("heartbeat").exception) == f"http://{place}:8200"


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("ValueError: boom\nsecond", "ValueError: boom"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("", UNKNOWN),
        (
            "KeyError: 'Ann@example.co.uk' is no key, see ann.b+c@example.com.",
            "KeyError: '***' is no key, see ***.",
        ),
        ("OSError: postgresql://u:secret@db/x is away", "OSError: *** is away"),
        (
            "The dbt CLI process with command\n\n`dbt build`\n\nfailed.\n\nErrors parsed from dbt logs:\n\n"
            "Database Error in model products (models/products.sql)\n  Code: 47. Unknown 'x'\n  more",
            "Database Error in model products (models/products.sql): Code: 47. Unknown 'x'",
        ),
        (
            "failed.\n\nErrors parsed from dbt logs:\n\nEncountered an error:\nCompilation Error\n"
            "  Model 'model.wakeline.products' depends on a node named 'x' which was not found",
            "Compilation Error: Model 'model.wakeline.products' depends on a node named 'x' which was not found",
        ),
    ],
)
def test_the_gist_of_an_error_is_its_first_line(said: str, line: str) -> None:
    assert gist(said) == line


# Commands


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(cli, list(arguments))


def test_the_command_shows_what_is_open_what_was_told_and_how_channels_fare(
    configure: Configure, listener: Listener
) -> None:
    chosen = configure(f'[alerts.channels.chat]\nurl = "{listener.url}"')
    assert "No alert is open." in invoke("alerts").output
    with open_book(chosen) as book:
        open_now = problem("lane/0", open_after_seconds=0, first_action="open the run.")
        book.take(BY_NAME["lanes"], Look((open_now, problem("lane/1"))), system_clock())
        deliver(book.outbox, book.channels, system_clock, 20_000)
    shown = invoke("alerts").output
    for word in ("lane/0", "lane/1", "[error] lane/0", "last message delivered"):
        assert word in shown
    found = json.loads(invoke("alerts", "--json").output)
    assert [(one["key"], one["first_action"]) for one in found["open"]] == [("lane/0", "open the run.")]
    assert [one["key"] for one in found["waiting"]] == ["lane/1"]
    assert [one["title"] for one in found["recent"]] == ["[error] lane/0"]


def test_without_a_channel_the_command_says_that_nobody_is_told(configure: Configure) -> None:
    configure("")
    assert "nobody is told" in invoke("alerts").output
    assert "There is no channel" in str(invoke("test-alert").exception)


def test_a_test_message_goes_through_every_channel_and_says_what_came_of_it(
    configure: Configure, listener: Listener
) -> None:
    [nobody] = free_ports(1)
    configure(
        f'[alerts.channels.chat]\nurl = "{listener.url}"\n[alerts.channels.pager]\nurl = "json://127.0.0.1:{nobody}"'
    )
    result = invoke("test-alert")
    assert result.exit_code == 1
    assert "chat: the channel took it\npager: " in result.output
    assert listener.titles() == ["Test of Wakeline's alerts"]
    assert invoke("test-alert", "chat").exit_code == 0
    scripted = invoke("test-alert", "--json")
    assert scripted.exit_code == 1
    [chat, pager] = json.loads(scripted.output)
    assert chat == {"channel": "chat", "taken": True, "error": None}
    assert (pager["channel"], pager["taken"], bool(pager["error"])) == ("pager", False, True)
    assert "known are chat, pager" in str(invoke("test-alert", "mail").exception)


def test_a_silence_is_begun_shown_and_ended(configure: Configure) -> None:
    configure("")
    assert invoke("silence", "--for", "2h", "--key", "lane/*", "--reason", "deploy", "--by", "ann").exit_code == 0
    [silence] = json.loads(invoke("alerts", "--json").output)["silences"]
    assert (silence["silence"], silence["key"], silence["by"]) == (1, "lane/*", "ann")
    with open_book(load_settings()) as book:
        [kept] = book.store.silences(system_clock())
        assert kept.until_ms - kept.from_ms == 2 * HOUR_MS
        assert book.take(BY_NAME["lanes"], Look((problem("lane/0", open_after_seconds=0),)), system_clock()) == ()
    assert invoke("unsilence", "1").output == "Silence 1 is ended.\n"
    assert invoke("unsilence", "--all").output == "0 ended.\n"


def test_silences_are_told_to_scripts_and_are_in_the_audit(configure: Configure) -> None:
    configure("")
    asked = ("--key", "lane/*", "--reason", "deploy", "--by", "ann", "--json")
    silence = json.loads(invoke("silence", "--for", "2h", *asked).output)
    assert [silence] == json.loads(invoke("alerts", "--json").output)["silences"]
    assert json.loads(invoke("unsilence", "1", "--by", "bob", "--json").output) == {"ended": 1}
    assert json.loads(invoke("unsilence", "--all", "--by", "bob", "--json").output) == {"ended": 0}
    assert isinstance(invoke("unsilence", "7", "--by", "cy").exception, ConfigError)
    [failed, none, ended, begun] = json.loads(invoke("audit", "--json").output)
    assert (begun["operation"], begun["done_by"], begun["state"]) == ("silence", "ann", "done")
    assert begun["config"] == {"for_seconds": 7200, "concern": "", "key": "lane/*", "reason": "deploy"}
    assert begun["result"] == {"silence": 1, "until": silence["until"]}
    assert [(one["done_by"], one["config"], one["state"], one["result"]) for one in (ended, none, failed)] == [
        ("bob", {"silence": 1}, "done", {"ended": 1}),
        ("bob", {"silence": "all"}, "done", {"ended": 0}),
        ("cy", {"silence": 7}, "failed", {}),
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("silence", "--for", "2x", "--reason", "x"), "is no duration; write e.g. 30m, 2h or 1d."),
        (("silence", "--for", "0h", "--reason", "x"), "is no duration"),
        (("silence", "--for", "1h", "--reason", " "), "Give a reason"),
        (("silence", "--for", "1h", "--reason", "x", "--concern", "lane"), "There is no concern 'lane'"),
        (("silence", "--for", "1h", "--reason", "x", "--key", "lane0"), "No key is like 'lane0'"),
        (("unsilence", "7"), "There is no silence 7 in force"),
        (("unsilence",), "Give the number of a silence, or --all."),
        (("unsilence", "7", "--all"), "Give the number of a silence, or --all."),
    ],
)
def test_wrong_use_of_silences_is_one_sentence(configure: Configure, arguments: tuple[str, ...], said: str) -> None:
    configure("")
    result = invoke(*arguments)
    assert result.exit_code != 0
    assert said in result.output + str(result.exception)


def test_keys_of_a_silence_may_be_patterns(configure: Configure) -> None:
    configure("")
    for key in ("*", "check/*", "ch*", "*/quarantine_within_limit", *(one.prefix + "x" for one in CONCERNS)):
        assert invoke("silence", "--for", "1m", "--reason", "x", "--key", key).exit_code == 0, key
