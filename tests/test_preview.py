"""Mails to look at: files and test mails that leave no trace."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.mailing import CAMPAIGNS, PERSON, ROOT, Hrefs, Postbox

from wakeline.activation.links import CLICK_PATH, CONFIRM_PATH, PIXEL_PATH, UNSUBSCRIBE_PATH, VIEW_PATH
from wakeline.activation.tokens import Open, OptOut, Tokens
from wakeline.clock import system_clock
from wakeline.collector.images import GIF
from wakeline.errors import ConfigError, WakelineError
from wakeline.preview import cli
from wakeline.preview.mails import Material, addressed, chosen_campaign, render
from wakeline.settings import CONFIG_VARIABLE, load_secrets, load_settings

PREVIEW = CAMPAIGNS["abandoned_cart"].preview


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of a deployment with campaigns of its own."""
    shutil.copytree(ROOT / "campaigns", tmp_path / "campaigns")
    (tmp_path / "wakeline.toml").write_text(
        'data_dir = "data"\n[activation]\nlink_hosts = ["127.0.0.1"]\n', encoding="utf-8"
    )
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "wakeline.toml"))
    return tmp_path / "data"


@pytest.fixture
def postbox(data: Path) -> Iterator[Postbox]:
    """The collector of the same deployment."""
    made = Postbox(data)
    yield made
    made.stream.close()


def preview(*arguments: str) -> Result:
    return CliRunner(catch_exceptions=False).invoke(cli.preview, arguments)


def send_test(*arguments: str) -> Result:
    return CliRunner(catch_exceptions=False).invoke(cli.test_send, arguments)


def sent(data: Path) -> EmailMessage:
    [path] = (data / "outbox").glob("*.eml")
    return message_from_bytes(path.read_bytes(), _class=EmailMessage, policy=default)


def links(data: Path) -> list[str]:
    body = sent(data).get_body(("html",))
    assert body is not None
    html = body.get_content()
    return [*Hrefs(html).found, *re.findall(r'src="([^"]*pixel[^"]*)"', html)]


def add_variants(data: Path) -> None:
    home = data.parent / "campaigns" / "abandoned_cart"
    with (home / "campaign.yml").open("a", encoding="utf-8") as file:
        file.write("variants: {short: 1, long: 3}\n")
    for name in ("short", "long"):
        (home / f"subject.{name}.liquid").write_text(f"A {name} one", encoding="utf-8")


def test_a_preview_is_written_as_html_text_subject_and_headers(data: Path) -> None:
    said = preview("abandoned_cart").output
    folder = data / "previews" / "abandoned_cart"
    assert said == f"{folder / 'mail.html'}: Ada, your cart is still here\n"
    assert (folder / "subject.txt").read_text(encoding="utf-8") == "Ada, your cart is still here\n"
    assert "Pace Runner Coral" in (folder / "mail.html").read_text(encoding="utf-8")
    assert "Pace Runner Coral" in (folder / "mail.txt").read_text(encoding="utf-8")
    headers = (folder / "headers.txt").read_text(encoding="utf-8").splitlines()
    assert "To: ada@example.com" in headers
    assert "Precedence: bulk" in headers


def test_a_preview_sends_nothing_and_needs_neither_warehouse_nor_ledger(data: Path) -> None:
    preview("order_confirmation")
    assert sorted(path.name for path in data.iterdir()) == ["previews", "secrets.json"]


def test_the_folder_and_the_form_of_the_answer_can_be_chosen(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    [written] = json.loads(preview("category_dwell", "--output", str(folder), "--json").output)
    assert written["html"] == str(folder / "mail.html")
    assert (written["campaign"], written["variant"], written["to"]) == ("category_dwell", "", "ada@example.com")
    assert written["headers"]["X-Wakeline-Campaign"] == "category_dwell"
    assert not (data / "previews").exists()


def test_every_variant_is_written_unless_one_is_named(data: Path) -> None:
    add_variants(data)
    folder = data / "previews" / "abandoned_cart"
    assert preview("abandoned_cart").output.splitlines() == [
        f"{folder / 'long' / 'mail.html'}: A long one",
        f"{folder / 'short' / 'mail.html'}: A short one",
    ]
    assert preview("abandoned_cart", "--variant", "short").output == f"{folder / 'short' / 'mail.html'}: A short one\n"


def test_the_browser_is_shown_the_file(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("click.launch", opened.append)
    preview("abandoned_cart", "--open")
    assert opened == [(data / "previews" / "abandoned_cart" / "mail.html").as_uri()]


def test_what_is_not_there_is_named_with_what_is(data: Path) -> None:
    with pytest.raises(ConfigError, match="no campaign 'cart'; known are abandoned_cart, category_dwell, "):
        preview("cart")
    with pytest.raises(ConfigError, match="'abandoned_cart' has no variant 'short'; it has none"):
        preview("abandoned_cart", "--variant", "short")
    add_variants(data)
    with pytest.raises(ConfigError, match="'abandoned_cart' has no variant 'tall'; known are short, long"):
        send_test("abandoned_cart", "--to", "me@example.com", "--variant", "tall")


def test_a_missing_variable_is_an_error_with_file_and_line(data: Path) -> None:
    subject = data.parent / "campaigns" / "abandoned_cart" / "subject.liquid"
    subject.write_text("{{ context.city }}", encoding="utf-8")
    with pytest.raises(WakelineError, match=r"abandoned_cart/subject\.liquid line 1: context\.city is undefined"):
        preview("abandoned_cart")
    assert not (data / "previews").exists()


def test_a_test_mail_goes_to_the_address_that_was_typed_and_says_what_it_is(data: Path) -> None:
    said = send_test("abandoned_cart", "--to", "me@example.com").output
    mail = sent(data)
    assert (mail["To"], mail["Subject"]) == ("me@example.com", "[Test] Ada, your cart is still here")
    text = mail.get_body(("plain",))
    assert text is not None
    assert "to me@example.com." in text.get_content()
    assert said == f"Sent to me@example.com as {mail['X-Wakeline-Key']}: {mail['Subject']}\n"


def test_a_provider_is_told_of_the_tester_and_not_of_the_person(data: Path) -> None:
    drawn_for = Material({"profile_id": "user:ann", "email": "ann@example.com", "first_name": "Ann"}, {})
    made_of = addressed(drawn_for, "Me@example.com")
    assert (made_of.profile_id, made_of.contact["first_name"]) == ("email:me@example.com", "Ann")
    settings = load_settings()
    mail = render(
        settings, chosen_campaign(settings, "abandoned_cart"), replace(made_of, context=PREVIEW), "", "0", int
    )
    assert (mail.to, mail.profile_id) == ("Me@example.com", "email:me@example.com")


def test_a_test_mail_touches_nothing_but_the_esp_and_can_be_sent_again(data: Path) -> None:
    for _ in range(2):
        send_test("abandoned_cart", "--to", "me@example.com")
    assert sorted(path.name for path in data.iterdir()) == ["outbox", "secrets.json"]
    keys = [path.stem for path in (data / "outbox").glob("*.eml")]
    assert [len(key) for key in keys] == [40, 40]  # A send's key has 32 digits.


def test_a_test_mail_is_that_of_a_variant(data: Path) -> None:
    add_variants(data)
    send_test("abandoned_cart", "--to", "me@example.com", "--variant", "short")
    assert sent(data)["Subject"] == "[Test] A short one"


@pytest.mark.parametrize("address", ["", "me", "me@example.com, you@example.com", "me@example.com\nBcc: you@b.example"])
def test_a_test_mail_goes_to_one_address(data: Path, address: str) -> None:
    with pytest.raises(WakelineError, match="is not a mail address"):
        send_test("abandoned_cart", "--to", address)
    assert not (data / "outbox").exists()


def test_a_test_mail_without_an_address_is_wrong_usage(data: Path) -> None:
    assert send_test("abandoned_cart").exit_code == 2
    assert not (data / "outbox").exists()


def test_what_the_esp_refuses_is_said(data: Path) -> None:
    data.mkdir()
    (data / "outbox").touch()
    with pytest.raises(WakelineError, match=r"not accepted by outbox: .*outbox cannot be written"):
        send_test("abandoned_cart", "--to", "me@example.com")


def test_the_links_of_a_test_mail_work_and_nothing_is_recorded_of_it(postbox: Postbox, data: Path) -> None:
    send_test("abandoned_cart", "--to", "me@example.com")
    by_path: dict[str, list[str]] = {}
    for url in links(data):
        by_path.setdefault("/" + url.split("/", 3)[3].partition("?")[0], []).append(url)
    assert set(by_path) == {PIXEL_PATH, CLICK_PATH, VIEW_PATH, UNSUBSCRIBE_PATH}

    pixel = postbox.call("GET", by_path[PIXEL_PATH][0], headers=PERSON)
    assert (pixel.status_code, pixel.content) == (200, GIF)
    for url in by_path[CLICK_PATH]:
        click = postbox.call("GET", url, headers=PERSON)
        assert click.status_code == 302
        assert click.headers["Location"].startswith("http://127.0.0.1:8225/shop/products/")
    view = postbox.call("GET", by_path[VIEW_PATH][0], headers=PERSON)
    assert (view.status_code, "This was a test email" in view.text) == (404, True)
    [unsubscribe] = set(by_path[UNSUBSCRIBE_PATH])
    assert "Do you want to unsubscribe?" in postbox.call("GET", unsubscribe, headers=PERSON).text
    pressed = postbox.call("POST", unsubscribe, headers=PERSON)
    assert (pressed.status_code, "Nobody was unsubscribed" in pressed.text) == (200, True)
    assert postbox.records() == []


def test_the_one_click_header_of_a_test_mail_opts_nobody_out(postbox: Postbox, data: Path) -> None:
    send_test("abandoned_cart", "--to", "me@example.com")
    address = sent(data)["List-Unsubscribe"].strip("<>")
    assert postbox.call("POST", address, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    assert postbox.records() == []


def test_the_confirmation_of_a_test_mail_confirms_nothing(postbox: Postbox, data: Path) -> None:
    send_test("confirm_opt_in", "--to", "me@example.com")
    [url] = (link for link in links(data) if CONFIRM_PATH in link)
    postbox.clock.now_ms = system_clock()
    assert "Do you want our emails?" in postbox.call("GET", url, headers=PERSON).text
    assert "Nothing was confirmed" in postbox.call("POST", url, headers=PERSON).text
    assert postbox.records() == []


def test_the_links_of_a_preview_count_for_nothing_either(postbox: Postbox, data: Path) -> None:
    preview("abandoned_cart")
    html = (data / "previews" / "abandoned_cart" / "mail.html").read_text(encoding="utf-8")
    for url in [*Hrefs(html).found, *re.findall(r'src="([^"]*pixel[^"]*)"', html)]:
        assert postbox.call("GET", url, headers=PERSON).status_code in (200, 302, 404)
    assert postbox.records() == []


def test_the_tokens_of_tests_and_of_mails_do_not_know_each_other(data: Path) -> None:
    secret = load_secrets(data).signing_key
    real, test = Tokens(secret), Tokens(secret, test=True)
    for token in (Open("k", "c", "user:a"), OptOut("k", "c", "user:a", "marketing")):
        assert real.read(type(token), test.sign(token, 1)) is None
        assert test.read(type(token), real.sign(token, 1)) is None
        assert test.read(type(token), test.sign(token, 1)) is not None
