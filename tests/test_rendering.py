import copy
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from inscriptis.model.html_document_state import HtmlDocumentState
from support.mailing import HOSTS

from wakeline.activation.addresses import parse_address, parse_mailbox
from wakeline.activation.campaigns import Campaign, load_campaigns
from wakeline.activation.esp.message import to_message
from wakeline.activation.esp.protocol import Mail
from wakeline.activation.plaintext import plain_text
from wakeline.activation.rendering import MissingVariableError, Renderer, RenderError
from wakeline.activation.templates import Template, TemplateError
from wakeline.activation.tokens import Click, Mailed
from wakeline.errors import ConfigError

CAMPAIGNS = load_campaigns(Path(__file__).parent.parent / "campaigns")
#: Those that show products.
SHOPPING = sorted(name for name, one in CAMPAIGNS.items() if "products" in one.preview)
SENDER = "Wakeline Demo Shop <shop@mail.example.com>"
ADA = {"profile_id": "p-1", "email": "ada@example.com", "first_name": "Ada"}
KEY = "a1" * 32
DOCUMENT = "<mjml><mj-body><mj-section><mj-column>{}</mj-column></mj-section></mj-body></mjml>"


def sign(token: Mailed) -> str:
    """A token that can be read."""
    where = f"{token.link_id}>{token.url}" if isinstance(token, Click) else type(token).__name__
    return f"{token.key[:4]}+{token.campaign}/{token.profile_id}/{where}"


def renderer(campaigns: dict[str, Campaign] | None = None, sender: str = SENDER) -> Renderer:
    return Renderer(campaigns or CAMPAIGNS, sender, "https://events.example.com/", sign, HOSTS)


def campaign(body: str, subject: str = "Hello", **fields: Any) -> dict[str, Campaign]:
    values = {"description": "d", "owner": "o", "trigger": "t", "class": "marketing", "name": "mine"}
    texts = {"body": body, "subject": subject, "partials": {}, "definition_hash": ""}
    return {"mine": Campaign.model_validate(values | texts | fields)}


def render_text(text: str, context: dict[str, Any], **fields: Any) -> Mail:
    body = DOCUMENT.format(f"<mj-text>{text}</mj-text>")
    return renderer(campaign(body, **fields)).render("mine", KEY, ADA, context)


def test_a_mail_says_whom_it_is_for() -> None:
    mail = render_text("Hello", {})
    assert (mail.key, mail.campaign, mail.profile_id, mail.to) == (KEY, "mine", "p-1", "ada@example.com")


class Elements(HTMLParser):
    """Collects what a browser would see as elements, and the addresses they point to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: dict[str, list[str]] = {"href": [], "src": []}
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name in self.addresses:
                self.addresses[name].append(value or "")


def sparse(context: dict[str, Any]) -> dict[str, Any]:
    """The same trigger row from a shop that sends nothing but ids."""
    thin = copy.deepcopy(context)
    for product in [*thin["products"], *thin["recommendations"]]:
        product.update(name="", url="", image_url="", price=0, currency="")
    if "total" in thin:
        thin.update(total=0, currency="")
    return thin


@pytest.mark.parametrize("name", SHOPPING)
def test_a_shipped_campaign_renders_its_preview(name: str) -> None:
    mail = renderer().render(name, KEY, ADA, CAMPAIGNS[name].preview)
    assert (mail.to, mail.sender, mail.key, mail.campaign) == ("ada@example.com", SENDER, KEY, name)
    assert "Ada" in mail.subject
    for text in (mail.html, mail.text):
        assert "Pace Runner Coral" in text
        assert "€119.00" in text
        assert "Ribbed Beanie Mustard" in text
        assert "You get this mail because" in text
    assert "<http://127.0.0.1:8225/shop/products/sneakers-3?utm_source=wakeline&utm_medium=email&" in mail.text


@pytest.mark.parametrize("name", SHOPPING)
def test_sparse_data_leaves_no_broken_image_and_no_dead_link(name: str) -> None:
    nameless = {**ADA, "first_name": ""}
    mail = renderer().render(name, KEY, nameless, sparse(CAMPAIGNS[name].preview))
    found = Elements(mail.html)
    assert not [address for address in found.addresses["href"] if "/v1/click" in address]
    assert found.addresses["src"] == [f"https://events.example.com/v1/pixel.gif?t=a1a1%2B{name}%2Fp-1%2FOpen"]
    assert "Item sneakers-3" in mail.text
    assert "0.00" not in mail.text
    assert "Ada" not in mail.subject


@pytest.mark.parametrize("name", SHOPPING)
def test_the_recommendations_vanish_when_there_are_none(name: str) -> None:
    with_some = renderer().render(name, KEY, ADA, CAMPAIGNS[name].preview)
    without = renderer().render(name, KEY, ADA, CAMPAIGNS[name].preview | {"recommendations": []})
    heading = "You might also like" if name == "category_dwell" else "Goes well with"
    assert heading in with_some.text
    assert heading not in without.html
    assert "Ribbed Beanie" not in without.html


@pytest.mark.parametrize("name", SHOPPING)
def test_a_shipped_campaign_loads_nothing_from_elsewhere(name: str) -> None:
    mail = renderer().render(name, KEY, ADA, sparse(CAMPAIGNS[name].preview))
    assert "//fonts." not in mail.html
    assert "<link" not in mail.html
    assert "@import" not in mail.html


@pytest.mark.parametrize("name", SHOPPING)
def test_hostile_names_stay_text(name: str) -> None:
    hostile = '"><script>alert(1)</script><mj-raw><img src=x onerror=alert(2)>{{ 7 }}&amp;'
    context = copy.deepcopy(CAMPAIGNS[name].preview)
    for product in [*context["products"], *context["recommendations"]]:
        product.update(name=hostile, url=f"https://example.com/{hostile}", image_url=f"https://example.com/{hostile}")
    mail = renderer().render(name, KEY, {**ADA, "first_name": hostile}, context)
    tags = Elements(mail.html).tags
    assert "script" not in tags
    assert "mj-raw" not in tags
    assert hostile in mail.text


@pytest.mark.parametrize("url", ["javascript:alert(1)", "/shop/products/1", "data:text/html,x", "https://", "http://["])
def test_what_is_no_web_address_is_no_link(url: str) -> None:
    context = copy.deepcopy(CAMPAIGNS["category_dwell"].preview)
    for product in [*context["products"], *context["recommendations"]]:
        product.update(url=url, image_url=url)
    found = Elements(renderer().render("category_dwell", KEY, ADA, context).html)
    assert {urlsplit(address).path for address in found.addresses["href"]} == {"/v1/unsubscribe", "/v1/mail"}
    assert len(found.addresses["src"]) == 1


def test_a_variant_replaces_the_subject_or_the_body_and_shares_the_rest() -> None:
    bodies = {"long": DOCUMENT.format("<mj-text>Long</mj-text>"), "both": DOCUMENT.format("<mj-text>Both</mj-text>")}
    variants = {
        "variants": {"short": 1, "long": 1, "both": 1},
        "variant_subjects": {"short": "Hi", "both": "Both, {{ profile.first_name }}"},
        "variant_bodies": bodies,
    }
    shared = renderer(campaign(DOCUMENT.format("<mj-text>Common</mj-text>"), **variants))
    mails = {variant: shared.render("mine", KEY, ADA, {}, variant) for variant in ("", "short", "long", "both", "gone")}
    assert {variant: (mail.subject, mail.text) for variant, mail in mails.items()} == {
        "": ("Hello", "Common\n"),
        "short": ("Hi", "Common\n"),
        "long": ("Hello", "Long\n"),
        "both": ("Both, Ada", "Both\n"),
        "gone": ("Hello", "Common\n"),
    }
    assert "Long" in shared.render_view("mine", KEY, ADA, {}, sign, "long")


@pytest.mark.parametrize(
    ("file", "texts"),
    [
        ("subject.short.liquid", {"variant_subjects": {"short": "{% if %}"}}),
        ("email.short.mjml.liquid", {"variant_bodies": {"short": "{% if %}"}}),
    ],
)
def test_a_mistake_in_a_variant_names_its_file(file: str, texts: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=rf"mine/{file} line 1"):
        renderer(campaign("x", variants={"short": 1}, **texts))


def confirm_link(mail: Mail) -> str:
    """The one confirm link of a mail, the same in both parts."""
    [link] = [href for href in Elements(mail.html).addresses["href"] if urlsplit(href).path == "/v1/confirm"]
    assert f"Yes, I want them <{link}>" in mail.text
    return link


@pytest.mark.parametrize("first_name", ["Ada", ""])
def test_the_mail_that_asks_for_confirmation_has_one_button_and_advertises_nothing(first_name: str) -> None:
    mail = renderer().render("confirm_opt_in", KEY, {**ADA, "first_name": first_name}, {"purpose": "product_news"})
    assert mail.subject == f"{'Ada, please' if first_name else 'Please'} confirm that you want our emails"
    assert "asked for product news emails" in mail.text
    assert confirm_link(mail) == "https://events.example.com/v1/confirm?t=a1a1%2Bconfirm_opt_in%2Fp-1%2FConfirm"
    found = Elements(mail.html)
    assert [urlsplit(href).path for href in found.addresses["href"]] == ["/v1/confirm", "/v1/mail"]
    assert len(found.addresses["src"]) == 1
    assert "List-Unsubscribe" not in mail.headers


def test_a_hostile_purpose_stays_text() -> None:
    mail = renderer().render("confirm_opt_in", KEY, ADA, {"purpose": '"><script>alert(1)</script>'})
    assert "script" not in Elements(mail.html).tags


@pytest.mark.parametrize("context", [{}, {"purpose": ""}, {"purpose": None}])
def test_without_a_purpose_there_is_nothing_to_confirm(context: dict[str, Any]) -> None:
    assert ">[]<" in render_text("[{{ confirm_url }}]", context).html


def test_the_mail_in_the_browser_has_the_same_button() -> None:
    html = renderer().render_view("confirm_opt_in", KEY, ADA, {"purpose": "marketing"}, lambda token: "again")
    assert "https://events.example.com/v1/confirm?t=again" in Elements(html).addresses["href"]


STRANGE = [
    "https://evil.example/shop",
    "HTTPS://evil.example",
    "//evil.example/x.png",
    "\\\\evil.example",
    " https:evil.example",
    "https:\\\\evil.example",
    "ht\ntps://evil.example",
    "h\x00ttps://evil.example",
    "https://evil.example\\@shop.example.com/",
    "https://shop.example.com@evil.example/",
    "https://shop.example.com.evil.example/",
    "https://shop.example.com:x@evil.example",
    "https://[",
    "Your account is locked: https://evil.example/unlock",
]


@pytest.mark.parametrize("name", SHOPPING)
@pytest.mark.parametrize("address", STRANGE)
def test_an_address_of_a_strange_host_that_an_event_named_stands_nowhere_in_a_mail(name: str, address: str) -> None:
    context = copy.deepcopy(CAMPAIGNS[name].preview)
    for product in [*context["products"], *context["recommendations"]]:
        product.update(name=address, url=address, image_url=address)
    mail = renderer().render(name, KEY, {**ADA, "first_name": address}, context)
    for text in (mail.html, mail.text, mail.subject):
        assert "evil.example" not in text
    sources = Elements(mail.html).addresses["src"]
    assert {urlsplit(source).hostname for source in sources} == {"events.example.com"}
    view = renderer().render_view(name, KEY, ADA, context, sign)
    assert "evil.example" not in view


def test_addresses_of_our_hosts_and_those_that_a_template_names_stay() -> None:
    text = '<a href="{{ context.own }}">a</a> <a href="https://elsewhere.example/x">b</a> {{ context.of[0].note }}'
    context = {"own": "https://shop.example.com/bags?from=https://other.example", "of": [{"note": "http 2: fine"}]}
    mail = render_text(text, context)
    assert "shop.example.com/bags?from=https://other.example" in mail.text
    assert "https://elsewhere.example/x?utm" in mail.html
    assert "http 2: fine" in mail.text


def test_a_missing_variable_names_campaign_place_and_variable() -> None:
    context = {name: value for name, value in CAMPAIGNS["category_dwell"].preview.items() if name != "category"}
    with pytest.raises(
        MissingVariableError, match=r"'category_dwell'.*liquid line \d+: context\.category is undefined"
    ):
        renderer().render("category_dwell", KEY, ADA, context)


def test_a_missing_field_of_a_product_names_the_partial() -> None:
    context = copy.deepcopy(CAMPAIGNS["category_dwell"].preview)
    del context["products"][0]["price"]
    with pytest.raises(MissingVariableError, match=r"_shared/feature\.liquid line \d+: product\.price is undefined"):
        renderer().render("category_dwell", KEY, ADA, context)


def test_a_condition_on_a_missing_variable_is_an_error_too() -> None:
    with pytest.raises(MissingVariableError, match=r"context\.vip is undefined"):
        render_text("{% if context.vip %}Hello{% endif %}", {})


def test_a_missing_variable_of_the_subject_counts_too() -> None:
    with pytest.raises(MissingVariableError, match=r"mine/subject\.liquid line 1: context\.city is undefined"):
        render_text("x", {}, subject="{{ context.city }}")


def test_other_mistakes_are_no_missing_variable() -> None:
    with pytest.raises(RenderError) as caught:
        render_text("{{ context.a | money: 'EUR' }}", {"a": "a lot"})
    assert not isinstance(caught.value, MissingVariableError)


SCRIPT = "<script>alert(1)</script>"
#: Each filter with arguments that are harmless themselves.
FILTERS = {
    **dict.fromkeys(("append", "prepend", "remove", "remove_first", "remove_last", "default"), ": 'z'"),
    **dict.fromkeys(("replace", "replace_first", "replace_last"), ": 'z', 'y'"),
    **{"split": ": ','", "join": ": ','", "slice": ": 0, 99", "truncate": ": 99", "truncatewords": ": 99"},
    **dict.fromkeys(
        ("base64_decode", "base64_encode", "base64_url_safe_decode", "capitalize", "downcase", "escape", "escape_once"),
        "",
    ),
    **dict.fromkeys(
        ("escapejs", "first", "last", "lstrip", "newline_to_br", "reverse", "rstrip", "size", "squish"), ""
    ),
    **dict.fromkeys(("strip", "strip_html", "strip_newlines", "upcase", "url_decode", "url_encode", "web_url"), ""),
}


@pytest.mark.parametrize("name", sorted(FILTERS))
@pytest.mark.parametrize(
    "text",
    [
        "{{{{ context.x | {} }}}}",
        "{{% assign y = context.x | {} %}}{{{{ y }}}}",
        "{{% capture y %}}{{{{ context.x }}}}{{% endcapture %}}{{{{ y | {} }}}}",
        "{{% assign y = context.x | escape %}}{{{{ y | {} }}}}",
    ],
)
def test_no_filter_brings_back_what_was_escaped(name: str, text: str) -> None:
    template = Template(text.format(name + FILTERS[name]), "x", {}, escape_html=True)
    for hostile in (SCRIPT, quote(SCRIPT), b64encode(SCRIPT.encode()).decode(), escape(SCRIPT), escape(escape(SCRIPT))):
        try:
            rendered = template.render({"context": {"x": hostile}})
        except TemplateError:
            continue
        assert "<script" not in rendered.lower()


def test_a_filter_that_would_not_escape_is_no_filter() -> None:
    with pytest.raises(ConfigError, match=r"mine/email\.mjml\.liquid: there is no filter 'safe'"):
        renderer(campaign("{{ context.x | safe }}"))


def test_a_value_that_a_filter_cannot_take_is_a_render_error() -> None:
    with pytest.raises(RenderError, match="a filter cannot take a value"):
        render_text("{{ context.x | sum }}", {"x": ["two"]})


@pytest.mark.parametrize("first_name", ["Ada\r\nBcc: everyone@example.com", "Ada\u2028\x00Bcc: x", "\x85Ada\n\n"])
def test_a_subject_is_one_line_whatever_is_in_it(first_name: str) -> None:
    profile = {**ADA, "first_name": first_name}
    mail = renderer().render("category_dwell", KEY, profile, CAMPAIGNS["category_dwell"].preview)
    assert len(mail.subject.splitlines()) == 1
    assert mail.subject == mail.subject.strip()
    message = to_message(mail, 0)
    assert message["Bcc"] is None


def test_a_subject_is_not_escaped() -> None:
    mail = render_text("x", {"name": "Velo & Sons <3"}, subject="From {{ context.name }}")
    assert mail.subject == "From Velo & Sons <3"


@pytest.mark.parametrize(
    "email",
    [
        "",
        None,
        "ada",
        "ada@",
        "@example.com",
        "ada@example.com, eve@example.com",
        "ada@example.com\nBcc: eve@b.example",
    ],
)
def test_what_is_no_address_is_a_render_error(email: str | None) -> None:
    with pytest.raises(RenderError, match="is not a mail address"):
        renderer().render("category_dwell", KEY, {**ADA, "email": email}, CAMPAIGNS["category_dwell"].preview)


@given(st.text(max_size=40) | st.from_regex(r"[\w.\"<>(),;:\\\[\] -]{0,9}@[\w.\[\] -]{0,9}"))
@example("ada@[")
@settings(max_examples=300, deadline=None)
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    for parse in (parse_address, parse_mailbox):
        try:
            address = parse(text)
        except ValueError:
            continue
        message = EmailMessage()
        message["To"] = address
        assert len(str(message["To"]).splitlines()) == 1


def test_an_international_domain_is_written_in_ascii() -> None:
    assert parse_address("jörg@example.com".replace("ö", "o")).addr_spec == "jorg@example.com"
    assert parse_address("ada@bücher.example").addr_spec == "ada@xn--bcher-kva.example"


def test_the_headers_tie_the_mail_to_its_send() -> None:
    mail = renderer().render("order_confirmation", KEY, ADA, CAMPAIGNS["order_confirmation"].preview)
    assert mail.headers == {
        "Message-ID": f"<{KEY}@mail.example.com>",
        "X-Wakeline-Key": KEY,
        "X-Wakeline-Campaign": "order_confirmation",
        "Feedback-ID": ":order_confirmation:transactional:wakeline",
        "Auto-Submitted": "auto-generated",
    }


def test_marketing_mail_says_that_it_is_bulk_and_which_list_it_belongs_to() -> None:
    mail = render_text("x", {}, purpose="news", variants={"short": 1}, variant_subjects={"short": "Hi"})
    assert mail.headers["Precedence"] == "bulk"
    assert mail.headers["List-Id"] == "<news.mail.example.com>"
    assert mail.headers["Feedback-ID"] == ":mine:marketing:wakeline"


def test_mail_that_needs_consent_belongs_to_a_list_whatever_its_class() -> None:
    mail = render_text("x", {}, **{"class": "transactional", "purpose": "service_news"})
    assert mail.headers["List-Id"] == "<service_news.mail.example.com>"
    assert "List-Unsubscribe" in mail.headers
    assert "Precedence" not in mail.headers


def test_the_complaints_about_a_variant_are_counted_apart() -> None:
    variants = campaign(DOCUMENT, variants={"short": 1}, variant_subjects={"short": "Hi"})
    mail = renderer(variants).render("mine", KEY, ADA, {}, "short")
    assert mail.headers["Feedback-ID"] == "mine.short:mine:marketing:wakeline"
    assert to_message(mail, 0)["List-Id"] == "<marketing.mail.example.com>"


def test_a_campaign_may_have_its_own_sender() -> None:
    mail = render_text("{{ sender.name }}", {}, sender='"Ada, from the shop" <ada@other.example>')
    assert mail.sender == '"Ada, from the shop" <ada@other.example>'
    assert "Ada, from the shop" in mail.html
    assert mail.headers["Message-ID"].endswith("@other.example>")


def test_a_wrong_sender_is_found_before_anything_is_sent() -> None:
    with pytest.raises(ConfigError, match=r"activation\.sender is no mail address"):
        renderer(sender="Wakeline <shop>")
    with pytest.raises(ConfigError, match=r"mine/campaign\.yml: 'sender' is no mail address"):
        renderer(campaign("x", sender="nobody"))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("{% if %}", "mine/email.mjml.liquid line 1"),
        ("\n{{ context.name | shout }}", "mine/email.mjml.liquid: there is no filter 'shout'"),
        ("{% render '../../secrets' %}", "mine/email.mjml.liquid line 1"),
        ("{% include context.partial %}", "mine/email.mjml.liquid line 1: unexpected tag 'include'"),
        ("{% render '/etc/hostname' %}", "mine/email.mjml.liquid line 1"),
    ],
)
def test_a_template_mistake_names_file_and_line_before_anything_is_sent(body: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        renderer(campaign(body))
    assert expected in str(caught.value)


def test_a_mistake_in_a_partial_is_found_before_anything_is_sent() -> None:
    with pytest.raises(ConfigError, match=r"_shared/block\.liquid line 1"):
        renderer(campaign("{% render 'block' %}", partials={"block": "{% for %}"}))


@pytest.mark.parametrize("body", ["", "no tags", "<mjml><mj-body><mj-section></mj-body></mjml>", DOCUMENT + "<p>"])
def test_what_is_no_mjml_is_a_render_error(body: str) -> None:
    with pytest.raises(RenderError, match="'mine' is not valid MJML"):
        renderer(campaign(body)).render("mine", KEY, ADA, {})


def test_an_unknown_mjml_tag_is_named() -> None:
    with pytest.raises(RenderError, match="<mj-txt> is not an MJML tag"):
        renderer(campaign(DOCUMENT.format("<mj-txt>Hello</mj-txt>"))).render("mine", KEY, ADA, {})


def test_an_mjml_include_reaches_no_file() -> None:
    with pytest.raises(RenderError, match="<mj-include> is not an MJML tag"):
        renderer(campaign(DOCUMENT.format("<mj-include path='/etc/hostname' />"))).render("mine", KEY, ADA, {})


def test_an_unknown_campaign_is_a_render_error() -> None:
    with pytest.raises(RenderError, match="no campaign 'gone'"):
        renderer().render("gone", KEY, ADA, {})


@pytest.mark.parametrize(
    ("amount", "currency", "expected"),
    [
        (1299, "EUR", "€1,299.00"),
        (129.9, "usd", "$129.90"),
        (-5, "GBP", "-£5.00"),
        (1200, "JPY", "¥1,200"),
        ("19.90", "CHF", "CHF\u00a019.90"),
        (3.39, "", "3.39"),
    ],
)
def test_money_is_written_as_shops_write_it(amount: object, currency: str, expected: str) -> None:
    mail = render_text("{{ context.a | money: context.c }}", {"a": amount, "c": currency})
    assert f">{expected}<" in mail.html


@pytest.mark.parametrize("amount", ["a lot", None, "1e999x"])
def test_money_that_is_no_number_is_a_render_error(amount: object) -> None:
    with pytest.raises(RenderError, match="is not an amount"):
        render_text("{{ context.a | money: 'EUR' }}", {"a": amount})


@given(st.text(max_size=30))
@settings(max_examples=100, deadline=None)
def test_any_text_comes_through_as_text(text: str) -> None:
    mail = SHARED.render("mine", KEY, ADA, {"name": text})
    assert Elements(mail.html).tags.count("b") == 1
    bytes(to_message(mail, 0))


SHARED = renderer(campaign(DOCUMENT.format("<mj-text><b>{{ context.name }}</b></mj-text>"), "{{ context.name }}"))


def test_the_plain_text_leaves_out_what_only_the_eye_needs() -> None:
    body = (
        "<mjml><mj-head><mj-preview>PREHEADER</mj-preview></mj-head><mj-body><mj-section>"
        "<mj-column><mj-image src='https://example.com/a.png' alt='ALT' href='https://example.com/picture' />"
        "<mj-text>First</mj-text><mj-text>Second</mj-text></mj-column><mj-column>"
        "<mj-table><tr><td><img src='x' /></td><td>Boot</td><td>€1</td></tr>"
        "<tr><td colspan='2'>Total</td><td>€10</td></tr></mj-table>"
        "<mj-button href='https://example.com/go?a=1&amp;currency=EUR'>Go &amp;amp; look</mj-button>"
        "</mj-column></mj-section></mj-body></mjml>"
    )
    mail = renderer(campaign(body, utm=False)).render("mine", KEY, ADA, {})
    assert (
        mail.text
        == "First\nSecond\n\nBoot   €1\nTotal  €10\n\nGo &amp; look <https://example.com/go?a=1&currency=EUR>\n"
    )


def test_threads_render_the_same_mail_at_the_same_time() -> None:
    shared = renderer()
    expected = shared.render("category_dwell", KEY, ADA, CAMPAIGNS["category_dwell"].preview)

    def render(_: int) -> Mail:
        return shared.render("category_dwell", KEY, ADA, CAMPAIGNS["category_dwell"].preview)

    with ThreadPoolExecutor(4) as pool:
        assert all(mail == expected for mail in pool.map(render, range(40)))


def test_a_text_that_is_made_in_the_middle_of_another_is_not_mixed_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As threads do: the text of one mail begins and ends while that of another is being written."""
    original, others = HtmlDocumentState.apply_starttag_layout, iter(["<p>Order of Bob</p>"])

    def interrupted(state: HtmlDocumentState, tag: str, attributes: Any) -> None:
        for other in others:
            assert plain_text(other) == "Order of Bob\n"
        original(state, tag, attributes)

    monkeypatch.setattr(HtmlDocumentState, "apply_starttag_layout", interrupted)
    assert plain_text("<p>Order of Ann</p>") == "Order of Ann\n"
    assert list(others) == []
