import asyncio
import hashlib
import json
import os
import re
import socket
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import pytest
from starlette.applications import Starlette

from wakeline.activation.esp.outbox import OutboxEsp
from wakeline.activation.esp.protocol import Mail
from wakeline.collector.service import STATIC
from wakeline.errors import WakelineError
from wakeline.pages import mailbox
from wakeline.pages.app import create_app
from wakeline.pages.images import product_image
from wakeline.pages.letters import Head, parse_head
from wakeline.pages.mailbox import Filter, Mailbox
from wakeline.pages.server import serve
from wakeline.pages.shop import integrity
from wakeline.play.catalogue import categories, products
from wakeline.settings import ActivationSettings, CollectorSettings, PageSettings, Settings

HOSTILE = '"><script>alert(1)</script>'
NOTICE = "Two minutes <count> as interest."


class Client:
    """Asks the application without a network."""

    def __init__(self, app: Starlette) -> None:
        self._transport = httpx.ASGITransport(app=app)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._request(method, path, options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    async def _request(self, method: str, path: str, options: dict[str, Any]) -> httpx.Response:
        async with httpx.AsyncClient(transport=self._transport, base_url="http://127.0.0.1:8225") as client:
            return await client.request(method, path, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


@pytest.fixture
def client(tmp_path: Path) -> Client:
    settings = Settings(
        data_dir=tmp_path,
        project_dir=tmp_path,
        collector=CollectorSettings(write_key="the-key"),
        activation=ActivationSettings(public_url="http://events.example.com:8200/"),
    )
    return Client(create_app(settings, lambda: 0, NOTICE))


def key_of(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def send(folder: Path, number: int, subject: str = "", campaign: str = "category_dwell", **fields: str) -> str:
    """Puts a mail there as if it had been written `number` seconds after the epoch."""
    mail = Mail(
        key=key_of(number),
        campaign=campaign,
        to=fields.get("to", f"person{number}@example.com"),
        sender="Shop <shop@example.com>",
        subject=subject or f"Subject {number}",
        html=fields.get("html", f"<p>HTML {number}</p>"),
        text=fields.get("text", f"Text {number}\n"),
        headers={"X-Wakeline-Key": key_of(number), "X-Wakeline-Campaign": campaign},
    )
    OutboxEsp(folder, lambda: number * 1000).send(mail)
    os.utime(folder / f"{mail.key}.eml", (number, number))
    return mail.key


def listed(client: Client, query: str = "") -> list[str]:
    heads = client.get(f"/outbox.json{query}").json()["heads"]
    return [head["subject"] for head in heads]


def test_an_outbox_without_mails_says_so(client: Client) -> None:
    page = client.get("/")
    assert page.status_code == 200
    assert "No mail here yet" in page.text
    assert client.get("/outbox.json").json()["total"] == 0


def test_the_newest_mail_comes_first(client: Client, folder: Path) -> None:
    for number in (2, 1, 3):
        send(folder, number)
    assert listed(client) == ["Subject 3", "Subject 2", "Subject 1"]
    page = client.get("/").text
    assert page.index("Subject 3") < page.index("Subject 1")
    assert "3 mails" in page


def test_a_listed_mail_says_when_to_whom_and_why(client: Client, folder: Path) -> None:
    key = send(folder, 5, "Grüße, Jürgen", to="ada@example.com")
    (head,) = client.get("/outbox.json").json()["heads"]
    assert head == {
        "key": key,
        "at_ms": 5000,
        "to": "ada@example.com",
        "subject": "Grüße, Jürgen",
        "campaign": "category_dwell",
    }


def test_the_list_follows_what_is_written_and_deleted(client: Client, folder: Path) -> None:
    key = send(folder, 1)
    assert listed(client) == ["Subject 1"]
    send(folder, 2)
    assert listed(client) == ["Subject 2", "Subject 1"]
    (folder / f"{key}.eml").unlink()
    assert listed(client) == ["Subject 2"]


def test_what_is_no_finished_mail_is_not_listed(client: Client, folder: Path) -> None:
    send(folder, 1)
    for name in (".draft", f".{key_of(2)}.x.draft", "notes.txt", "NOT-HEX.eml", ".eml"):
        (folder / name).write_bytes(b"Subject: no\r\n\r\n")
    assert listed(client) == ["Subject 1"]


def test_mails_are_filtered_by_campaign_and_text(client: Client, folder: Path) -> None:
    send(folder, 1, "Your cart", "abandoned_cart")
    send(folder, 2, "Sneakers, ADA?", "category_dwell")
    send(folder, 3, "Boots?", "category_dwell", to="ada@example.com")
    assert listed(client, "?campaign=category_dwell") == ["Boots?", "Sneakers, ADA?"]
    assert listed(client, "?q=ada") == ["Boots?", "Sneakers, ADA?"]
    assert listed(client, "?q=ada&campaign=abandoned_cart") == []
    assert listed(client, f"?q={key_of(1)}") == ["Your cart"]
    assert "Your cart" not in client.get("/?q=boots").text
    assert client.get("/outbox.json").json()["campaigns"] == ["abandoned_cart", "category_dwell"]


def test_older_mails_are_a_page_away_and_stay_there(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wakeline.pages.outbox.PAGE_SIZE", 2)
    for number in range(1, 6):
        send(folder, number)
    first = client.get("/outbox.json").json()
    send(folder, 6)
    assert listed(client, f"?before={first['older']}") == ["Subject 3", "Subject 2"]
    searched = client.get("/outbox.json?q=subject").json()
    assert (searched["matching"], len(searched["heads"])) == (6, 2)
    assert listed(client, f"?q=subject&before={searched['older']}") == ["Subject 4", "Subject 3"]
    for nonsense in ("nonsense", "9" * 5000, "-", "1-"):
        assert listed(client, f"?before={nonsense}") == ["Subject 6", "Subject 5"]
    assert f"before={first['older']}" not in client.get("/").text
    assert "Back to the newest" in client.get(f"/?before={first['older']}").text


def test_a_search_goes_on_at_the_next_look(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "HEADS_PER_LOOK", 2)
    for number in range(1, 6):
        send(folder, number)
    box = Mailbox(folder, lambda: 0)
    looks = [box.look(Filter(text="subject"), "", 100) for _ in range(3)]
    assert [(look.searched, look.matching, look.total) for look in looks] == [(2, 2, 5), (4, 4, 5), (5, 5, 5)]


def test_only_the_mails_that_are_shown_are_opened(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("wakeline.pages.outbox.PAGE_SIZE", 3)

    def watched(key: str, at_ms: int, content: bytes) -> Head:
        opened.append(key)
        return parse_head(key, at_ms, content)

    monkeypatch.setattr(mailbox, "parse_head", watched)
    for number in range(1, 8):
        send(folder, number)
    for _ in range(2):
        client.get("/outbox.json")
    assert opened == [key_of(7), key_of(6), key_of(5)]


def test_a_mail_is_shown_with_its_text_and_headers(client: Client, folder: Path) -> None:
    key = send(folder, 1, text="The plain text\n")
    for path in (f"/mails/{key}", f"/mails/{key}/pane"):
        page = client.get(path).text
        assert "The plain text" in page
        assert "X-Wakeline-Campaign" in page
        assert f'src="/mails/{key}/html"' in page
    assert re.search(r'<iframe[^>]+sandbox="allow-popups allow-popups-to-escape-sandbox"', page)
    assert 'aria-current="true"' in client.get(f"/mails/{key}").text


def test_the_html_of_a_mail_can_run_nothing(client: Client, folder: Path) -> None:
    key = send(folder, 1, html="<p>Hello</p><script>alert(1)</script>")
    answer = client.get(f"/mails/{key}/html")
    assert "<p>Hello</p>" in answer.text
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox ")
    assert "allow-scripts" not in policy
    assert "default-src 'none'" in policy


def test_a_mail_can_be_taken_away(client: Client, folder: Path) -> None:
    key = send(folder, 1)
    answer = client.get(f"/mails/{key}/eml")
    assert answer.content == (folder / f"{key}.eml").read_bytes()
    assert f'attachment; filename="{key}.eml"' in answer.headers["content-disposition"]


@pytest.mark.parametrize("key", ["ffff", "..%2Fsecrets", "%2e%2e", "NOT-HEX"])
@pytest.mark.parametrize("part", ["", "/pane", "/html", "/eml"])
def test_a_mail_that_is_not_there_is_not_found(client: Client, folder: Path, key: str, part: str) -> None:
    folder.mkdir()
    (folder.parent / "secrets.eml").write_text("Subject: secret\n\n")
    assert client.get(f"/mails/{key}{part}").status_code == 404


def test_hostile_mails_stay_text(client: Client, folder: Path) -> None:
    key = send(folder, 1, f"Hello {HOSTILE}", campaign=HOSTILE, text=HOSTILE)
    for path in ("/", f"/mails/{key}", f"/mails/{key}/pane", f"/?q={HOSTILE}&campaign={HOSTILE}&before={HOSTILE}"):
        assert "<script>alert" not in client.get(path).text
    assert listed(client) == [f"Hello {HOSTILE}"]


def test_a_foreign_file_is_shown_as_far_as_it_can_be_read(client: Client, folder: Path) -> None:
    folder.mkdir()
    (folder / "ab.eml").write_bytes(b"Subject: =?nonsense?q?x?=\r\nTo: \xff\xfe\r\nMessage-ID: <>\r\n\r\n\xff\xff")
    (folder / "cd.eml").write_bytes(b"\x00\x01 no mail at all")
    (folder / "ef.eml").write_bytes(b"Content-Type: text/html; charset=klingon\r\n\r\n<p>Hello</p>")
    assert client.get("/outbox.json").json()["total"] == 3
    assert client.get("/").status_code == 200
    for key in ("ab", "cd", "ef"):
        assert client.get(f"/mails/{key}").status_code == 200
        assert client.get(f"/mails/{key}/html").status_code == 200


def test_looking_changes_nothing(client: Client, folder: Path) -> None:
    key = send(folder, 1)
    before = [(path.name, path.stat().st_mtime_ns) for path in sorted(folder.parent.rglob("*"))]
    for path in ("/", "/outbox.json?q=x", f"/mails/{key}", f"/mails/{key}/html", f"/mails/{key}/eml", "/shop"):
        client.get(path)
    assert [(path.name, path.stat().st_mtime_ns) for path in sorted(folder.parent.rglob("*"))] == before
    assert client.request("POST", "/").status_code == 405
    assert client.request("DELETE", f"/mails/{key}").status_code == 405


def test_only_the_loopback_names_are_answered(client: Client) -> None:
    assert client.get("/", headers={"host": "evil.example.com"}).status_code == 400
    assert client.get("/", headers={"host": "localhost:8225"}).status_code == 200


def test_every_answer_says_what_may_run(client: Client) -> None:
    for path in ("/", "/shop", "/outbox.json", "/static/shop.js", "/nothing"):
        headers = client.get(path).headers
        assert "script-src 'self' http://events.example.com:8200;" in headers["content-security-policy"]
        assert "connect-src 'self' http://events.example.com:8200;" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


def test_no_page_loads_anything_from_elsewhere_or_inline(client: Client, folder: Path) -> None:
    key = send(folder, 1)
    for path in ("/", f"/mails/{key}", "/shop", "/shop/sneakers", "/shop/products/bags-1", "/shop/login", "/nothing"):
        page = client.get(path).text
        elsewhere = re.findall(r'<(?:script|link|img|iframe)\b[^>]*?(?:src|href)="((?:https?:)?//[^"]*)"', page)
        assert set(elsewhere) <= {"http://events.example.com:8200/wakeline.js"}
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=", page)
        for source in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
            assert client.get(source).status_code == 200


SHOP_PAGES = ["/shop", "/shop/cart", "/shop/checkout", "/shop/login", *[f"/shop/{one}" for one in categories()]]


@pytest.mark.parametrize("path", SHOP_PAGES)
def test_a_shop_page_carries_the_notice_and_all_categories(client: Client, path: str) -> None:
    page = client.get(path)
    assert page.status_code == 200
    assert "Two minutes &lt;count&gt; as interest." in page.text
    assert all(f'href="/shop/{category}"' in page.text for category in categories())


def test_every_product_has_a_page_and_a_picture(client: Client) -> None:
    for product in products():
        page = client.get(product.url)
        assert page.status_code == 200
        assert product.name.replace("&", "&amp;") in page.text
        picture = client.get(product.image_url)
        assert picture.headers["content-type"] == "image/svg+xml"
        assert ElementTree.fromstring(picture.text).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314 - our own


def test_products_look_different_from_each_other() -> None:
    assert len({product_image(product) for product in products()}) == len(products())


def test_a_product_page_tells_the_script_what_it_shows(client: Client) -> None:
    page = client.get("/shop/products/sneakers-3").text
    found = re.search(r'<script type="application/json" id="shop">(.+?)</script>', page)
    assert found
    told = json.loads(found[1])
    assert told["page"]["category"] == "sneakers"
    assert told["page"]["product"]["product_id"] == "sneakers-3"


def test_the_shop_loads_the_browser_sdk_and_lets_the_browser_check_it(client: Client) -> None:
    [script] = re.findall(
        r'<script src="http://events.example.com:8200/wakeline.js" ([^>]+)>', client.get("/shop").text
    )
    said = dict(re.findall(r'([a-z-]+)="([^"]*)"', script))
    assert said["integrity"] == integrity(STATIC / "wakeline.js")
    assert (said["crossorigin"], said["data-write-key"]) == ("anonymous", "the-key")


@pytest.mark.parametrize("path", ["/shop/hats", "/shop/products/hats-1", "/shop/images/hats-1.svg"])
def test_what_the_shop_does_not_have_is_not_found(client: Client, path: str) -> None:
    page = client.get(path)
    assert page.status_code == 404
    assert "We do not have that" in page.text


def test_a_login_gives_one_id_to_one_address(client: Client) -> None:
    first = client.request("POST", "/shop/login", json={"email": "Ada@Example.com "}).json()
    again = client.request("POST", "/shop/login", json={"email": "ada@example.com"}).json()
    other = client.request("POST", "/shop/login", json={"email": "eve@example.com"}).json()
    assert first == again
    assert first["email"] == "ada@example.com"
    assert first["user_id"] != other["user_id"]
    assert "ada" not in first["user_id"]


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"nonsense", b'{"email": "ada"}', b'{"email": null}', b" " * 5000])
def test_a_login_without_an_address_is_refused(client: Client, body: bytes) -> None:
    answer = client.request("POST", "/shop/login", content=body)
    assert answer.status_code == 422
    assert "valid e-mail address" in answer.json()["error"]


def test_a_port_in_use_is_one_sentence_that_names_the_setting(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(data_dir=tmp_path, pages=PageSettings(port=port))
        with pytest.raises(WakelineError, match=rf"port {port} .*pages\.port"):
            serve(settings, NOTICE)
