"""Links of a mail: found, given UTM parameters, led through the click redirect."""

import copy
import re
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml.html import document_fromstring
from mjml import mjml2html
from support.clocks import NOW_MS
from support.mailing import ANN, CAMPAIGNS, HOSTS, KEY, PUBLIC_URL, SEND, SENDER, Hrefs

from wakeline.activation import rendering
from wakeline.activation.anchors import find_anchors, replace_addresses
from wakeline.activation.campaigns import Campaign
from wakeline.activation.esp.protocol import Mail
from wakeline.activation.links import MailLinks
from wakeline.activation.rendering import Renderer
from wakeline.activation.tokens import Click, Confirm, Mailed, Open, OptOut, Tokens, View
from wakeline.activation.utm import with_utm
from wakeline.settings import ActivationSettings, CollectorSettings, Settings

TOKENS = Tokens("the signing key")
#: Those that show products.
SHOPPING = sorted(name for name, one in CAMPAIGNS.items() if "products" in one.preview)
#: Those that cannot be unsubscribed from.
TRANSACTIONAL = sorted(name for name, one in CAMPAIGNS.items() if one.purpose is None)
UTM = (("utm_source", "wakeline"), ("utm_medium", "email"), ("utm_campaign", "c"), ("utm_content", "1"))
DOCUMENT = "<mjml><mj-body><mj-section><mj-column>{}</mj-column></mj-section></mj-body></mjml>"

segments = st.text("abcäßж 0-_.~!$&'()*+,;=:@%/[]{}|\"<>^`", max_size=20)
web_addresses = st.builds(
    "{}://{}{}/{}{}{}".format,
    st.sampled_from(["http", "https", "HTTPS"]),
    st.sampled_from(["shop.example.com", "bücher.example", "127.0.0.1", "[::1]", "user:pw@shop.example.com"]),
    st.sampled_from(["", ":8225"]),
    segments,
    st.just("") | segments.map(lambda text: f"?{text}") | st.just("?a=1&b=2&a=3&&c&utm_source=own"),
    st.just("") | segments.map(lambda text: f"#{text}"),
)


def sign(token: Mailed) -> str:
    return TOKENS.sign(token, NOW_MS)


def clicks(html: str) -> list[Click]:
    """What the click links of a mail say, in order."""
    tokens = [parse_qs(urlsplit(href).query)["t"][0] for href in Hrefs(html).found if "/v1/click?" in href]
    found = [TOKENS.read(Click, token) for token in tokens]
    return [click.token for click in found if click is not None]


def rendered(body: str, context: dict[str, Any] | None = None, **fields: Any) -> Mail:
    values = {"description": "d", "owner": "o", "trigger": "t", "class": "marketing", "name": "mine"}
    texts = {"body": DOCUMENT.format(body), "subject": "s", "partials": {}, "definition_hash": ""}
    campaign = Campaign.model_validate(values | texts | fields)
    return Renderer({"mine": campaign}, SENDER, PUBLIC_URL, sign, HOSTS).render("mine", KEY, ANN, context or {})


def shipped(name: str, context: dict[str, Any] | None = None) -> Mail:
    return Renderer(CAMPAIGNS, SENDER, PUBLIC_URL, sign, HOSTS).render(
        name, KEY, ANN, context or CAMPAIGNS[name].preview
    )


def without_links(html: str) -> str:
    """The document with the value of every `href` taken out."""
    return re.sub(r'href="[^"]*"', "href", html)


# Whose links are led through the redirect


@pytest.mark.parametrize(
    "url", ["https://evil.example/p", "https://shop.example.com.evil.example/", "http://127.0.0.1.evil.example"]
)
def test_a_link_to_another_host_stays_as_it_is(url: str) -> None:
    mail = rendered(f'<mj-button href="{url}">x</mj-button>')
    assert clicks(mail.html) == []
    assert [urlsplit(href).hostname for href in Hrefs(mail.html).found] == [urlsplit(url).hostname]


@pytest.mark.parametrize(
    "url",
    ["https://SHOP.example.com/p", "https://user:pw@shop.example.com/p", "http://bücher.example/p", "http://[::1]/p"],
)
def test_a_host_is_ours_however_it_is_written(url: str) -> None:
    assert len(clicks(rendered(f'<mj-button href="{url}">x</mj-button>').html)) == 1


def test_the_hosts_are_those_of_the_pages_that_may_post_and_those_of_the_settings() -> None:
    settings = Settings(
        collector=CollectorSettings(allowed_origins=["https://Shop.example.com", "http://127.0.0.1:8225"]),
        activation=ActivationSettings(link_hosts=["bücher.example"]),
    )
    assert settings.link_hosts == {"shop.example.com", "127.0.0.1", "xn--bcher-kva.example"}
    assert Settings().link_hosts == frozenset()


# Finding and replacing


def test_anchors_are_found_as_the_grammar_of_html_has_them() -> None:
    html = (
        '<A class="x > y" HREF = \'https://a.example/?a=1&amp;b=2\' data-link-id="first">1</a>'
        '<area href="http://b.example">'
        '<a title="href=\'https://no.example\'" href="https://c.example" name=" n ">2</a>'
        '<!--[if mso]><a\nhref="https://d.example">3</a><![endif]--><abbr href="https://no.example"></abbr><link href="https://no.example">'
        '<a href="mailto:a@b.example">4</a>'
        '<a href="#1">5</a><a href="javascript:alert(1)">6</a><a name="x">7</a><a href="//no.example">8</a>'
        '<a href="https://e.example" href="https://no.example">9</a><a href="http://[">10</a>'
    )
    found = [(anchor.address, anchor.name) for anchor in find_anchors(html)]
    assert found == [
        ("https://a.example/?a=1&b=2", "first"),
        ("http://b.example", ""),
        ("https://c.example", "n"),
        ("https://d.example", ""),
        ("https://e.example", ""),
    ]


@given(st.lists(web_addresses, max_size=5), st.text("<>&\"'=ax -!", max_size=30))
def test_only_addresses_are_replaced_and_a_parser_reads_the_new_ones(addresses: list[str], between: str) -> None:
    text = between.replace("<", "&lt;")
    html = text.join(f'<p><a class="x" href="https://old.example/{place}">' for place in range(len(addresses))) + text
    anchors = find_anchors(html)
    replaced = replace_addresses(html, anchors, addresses)
    assert Hrefs(replaced).found == addresses
    assert without_links(replaced) == without_links(html)


def test_replacing_each_address_by_itself_changes_nothing() -> None:
    for name in CAMPAIGNS:
        html = shipped(name).html
        anchors = find_anchors(html)
        assert anchors
        assert replace_addresses(html, anchors, [anchor.address for anchor in anchors]) == html
        assert [anchor.address for anchor in anchors] == Hrefs(html).found


# UTM parameters


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://a.example", "https://a.example?{}"),
        ("https://a.example/p#top", "https://a.example/p?{}#top"),
        ("https://a.example/p?", "https://a.example/p?{}"),
        ("https://a.example/p?x=1&y=%2F+&x=2#a?b", "https://a.example/p?x=1&y=%2F+&x=2&{}#a?b"),
        ("https://bücher.example/ä?ü=ö", "https://xn--bcher-kva.example/%C3%A4?%C3%BC=%C3%B6&{}"),
    ],
)
def test_what_an_address_has_stays_and_utm_parameters_come_last(address: str, expected: str) -> None:
    added = "utm_source=wakeline&utm_medium=email&utm_campaign=c&utm_content=1"
    assert with_utm(address, UTM) == expected.format(added)


def test_the_utm_parameters_of_an_address_are_kept() -> None:
    given_utm = "https://a.example/?utm_source=partner&UTM_Medium=&utm_content=x"
    assert with_utm(given_utm, UTM) == f"{given_utm}&utm_campaign=c"


def test_without_utm_parameters_an_address_stays_as_it_is() -> None:
    assert with_utm("https://a.example/?x=%2f#y", ()) == "https://a.example/?x=%2f#y"


@pytest.mark.parametrize("address", ["https://", "https://a.example:x/", "https://a.example/\x00", "ftp://a"])
def test_what_no_browser_can_open_has_no_target(address: str) -> None:
    assert with_utm(address, UTM) is None


@given(web_addresses)
def test_an_address_with_utm_parameters_is_ascii_and_leads_to_the_same_place(address: str) -> None:
    tagged = with_utm(address, UTM)
    assert tagged is not None
    assert tagged.isascii()
    assert tagged.isprintable()
    before, after = httpx.URL(address), httpx.URL(tagged)
    assert (after.scheme, after.netloc, after.raw_path.partition(b"?")[0], after.fragment) == (
        before.scheme,
        before.netloc,
        before.raw_path.partition(b"?")[0],
        before.fragment,
    )
    own = parse_qsl(before.query.decode(), keep_blank_values=True)
    now = parse_qsl(after.query.decode(), keep_blank_values=True)
    assert now[: len(own)] == own
    missing = {name for name, _ in UTM} - {name.lower() for name, _ in own}
    assert {name for name, _ in now[len(own) :]} == missing


# Campaigns


@pytest.mark.parametrize("name", SHOPPING)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_every_link_of_a_shipped_campaign_leads_to_where_it_led(name: str, data: st.DataObject) -> None:
    context = copy.deepcopy(CAMPAIGNS[name].preview)
    products = [*context["products"], *context["recommendations"]]
    for product in products:
        product["url"] = data.draw(web_addresses).strip()
    addresses = {product["product_id"]: product["url"] for product in products}
    addresses["cart"] = context["products"][0]["url"]
    html = shipped(name, context).html
    found = clicks(html)
    assert {click.link_id for click in found} == addresses.keys() - ({"cart"} if name != "abandoned_cart" else set())
    for click in found:
        assert click.url == with_utm(addresses[click.link_id], utm_of(name, click.link_id))
    assert len(found) + len(own_links(html)) == len(Hrefs(html).found)


def own_links(html: str) -> list[str]:
    """The addresses of the collector that are no redirects."""
    return [href for href in Hrefs(html).found if "/v1/unsubscribe?" in href or "/v1/mail?" in href]


def utm_of(campaign: str, link_id: str) -> list[tuple[str, str]]:
    return [
        ("utm_source", "wakeline"),
        ("utm_medium", "email"),
        ("utm_campaign", campaign),
        ("utm_content", link_id),
    ]


@pytest.mark.parametrize("name", sorted(CAMPAIGNS))
def test_a_tracked_mail_is_what_mjml_made_but_for_its_links(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def noted(mjml: str, **options: Any) -> str:
        made.append(mjml2html(mjml, **options))
        return made[-1]

    monkeypatch.setattr(rendering, "mjml2html", noted)
    html = shipped(name).html
    assert [without_links(html)] == [without_links(untouched) for untouched in made]
    assert html.startswith("<!doctype html>")
    assert "<!--[if mso | IE]>" in html
    links = document_fromstring(html).xpath("//a")
    assert len(links) == len(Hrefs(html).found)
    assert all(link.get("href").startswith(f"{PUBLIC_URL}/v1/") for link in links)


@pytest.mark.parametrize("name", sorted(CAMPAIGNS))
def test_the_open_pixel_comes_last(name: str) -> None:
    html = shipped(name).html
    assert html.count("/v1/pixel.gif?") == 1
    rest = html[html.index("/v1/pixel.gif?") :]
    assert "href=" not in rest
    assert not re.sub(r"<[^>]*>", "", rest.partition(">")[2]).strip()


@pytest.mark.parametrize("name", sorted(CAMPAIGNS))
def test_the_text_part_has_addresses_that_a_person_can_read(name: str) -> None:
    mail = shipped(name)
    assert "/v1/click" not in mail.text
    assert (f"utm_campaign={name}&utm_content=sneakers-3>" in mail.text) == (name in SHOPPING)
    assert ("Unsubscribe <https://events.example.com/v1/unsubscribe?t=" in mail.text) == (name not in TRANSACTIONAL)
    assert "View in browser <https://events.example.com/v1/mail?t=" in mail.text


def test_a_link_s_id_is_its_name_or_else_its_place() -> None:
    body = (
        '<mj-button href="https://a.example">A</mj-button><mj-button name="hero" href="https://b.example">B</mj-button>'
        '<mj-text><a data-link-id="{{ context.id }}" href="https://a.example/c">C</a><a href="https://b.example/d">D</a></mj-text>'
    )
    found = clicks(rendered(body, {"id": "x\"y&'" + "z" * 200}).html)
    assert [click.link_id for click in found] == ["1", "hero", "x\"y&'" + "z" * 95, "4"]
    assert [dict(parse_qsl(urlsplit(click.url).query))["utm_content"] for click in found] == [
        click.link_id for click in found
    ]


def test_a_campaign_names_its_own_utm_parameters() -> None:
    body = '<mj-button href="https://a.example/">A</mj-button>'
    utm = {"source": "shop", "campaign": "autumn", "content": "top", "term": "boots"}
    [click] = clicks(rendered(body, utm=utm).html)
    assert click.url == (
        "https://a.example/?utm_source=shop&utm_medium=email&utm_campaign=autumn&utm_content=top&utm_term=boots"
    )


def test_without_utm_a_link_is_still_recorded() -> None:
    [click] = clicks(rendered('<mj-button href="https://a.example/">A</mj-button>', utm=False).html)
    assert click == Click(KEY, "mine", "user:ann", "https://a.example/", "1")


def test_what_is_no_web_link_stays_as_it_is() -> None:
    hrefs = ["mailto:help@shop.example", "tel:+1", "#top", "https://a.example:x/"]
    body = "".join(f'<mj-text><a href="{href}">x</a></mj-text>' for href in hrefs)
    assert Hrefs(rendered(body).html).found == hrefs


def test_a_link_too_long_for_a_token_leads_straight_to_its_target() -> None:
    long = "https://a.example/" + "".join(f"{number:x}" for number in range(4_000, 8_000))
    [href] = Hrefs(rendered(f'<mj-button href="{long}">A</mj-button>').html).found
    assert href.startswith(f"{long}?utm_source=wakeline")


def test_the_address_of_the_collector_may_end_in_a_slash_and_have_a_path() -> None:
    links = MailLinks("https://example.com/events/", lambda token: "a+b", SEND, HOSTS)
    assert links.open_pixel() == "https://example.com/events/v1/pixel.gif?t=a%2Bb"
    assert links.click("https://a.example", "1") == "https://example.com/events/v1/click?t=a%2Bb"


# Headers


def test_marketing_mail_offers_one_click_unsubscribe() -> None:
    mail = shipped("abandoned_cart")
    [address] = [href for href in Hrefs(mail.html).found if "/v1/unsubscribe?" in href]
    assert mail.headers["List-Unsubscribe"] == f"<{address}>"
    assert mail.headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


@pytest.mark.parametrize("name", TRANSACTIONAL)
def test_transactional_mail_cannot_be_unsubscribed_from(name: str) -> None:
    mail = shipped(name)
    assert not [name for name in mail.headers if name.startswith("List-")]
    assert "unsubscribe" not in (mail.html + mail.text).lower()


@pytest.mark.parametrize("name", sorted(CAMPAIGNS))
def test_no_token_holds_an_address(name: str) -> None:
    def noted(token: Mailed) -> str:
        assert "ann@example.com" not in repr(token)
        signed.append(token)
        return sign(token)

    signed: list[Mailed] = []
    Renderer(CAMPAIGNS, SENDER, PUBLIC_URL, noted, HOSTS).render(name, KEY, ANN, CAMPAIGNS[name].preview)
    expected = {Open, View} | ({Click} if name in SHOPPING else {Confirm})
    assert {type(token) for token in signed} == expected | (set() if name in TRANSACTIONAL else {OptOut})
