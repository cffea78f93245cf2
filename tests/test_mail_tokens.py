import base64
import hashlib
from dataclasses import make_dataclass
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.clocks import NOW_MS

from wakeline.activation import tokens
from wakeline.activation.tokens import Click, Confirm, Mailed, Open, OptOut, Stamped, Tokens, View

TOKENS = Tokens("the signing key")
SEND = ("a1" * 16, "abandoned_cart", "user:ann")
ALL = (
    Open(*SEND),
    View(*SEND),
    Click(*SEND, "https://shop.example.com/?a=1&b=ü#x", "cart"),
    OptOut(*SEND, "marketing"),
    Confirm(*SEND, "marketing"),
)
KINDS = tuple(type(token) for token in ALL)


@pytest.mark.parametrize("token", ALL, ids=lambda token: type(token).__name__)
def test_what_was_signed_is_read_and_says_when(token: Mailed) -> None:
    assert TOKENS.read(type(token), TOKENS.sign(token, NOW_MS)) == Stamped(token, NOW_MS)


@pytest.mark.parametrize("token", ALL, ids=lambda token: type(token).__name__)
def test_a_token_of_one_kind_is_none_of_another(token: Mailed) -> None:
    text = TOKENS.sign(token, NOW_MS)
    assert [kind for kind in KINDS if TOKENS.read(kind, text)] == [type(token)]


@pytest.mark.parametrize("token", ALL, ids=lambda token: type(token).__name__)
def test_a_token_with_any_character_changed_is_not_ours(token: Mailed) -> None:
    text = TOKENS.sign(token, NOW_MS)
    for place, old in enumerate(text):
        for new in "Aa0-_.":
            if new != old:
                changed = f"{text[:place]}{new}{text[place + 1 :]}"
                found = TOKENS.read(type(token), changed)
                # The last character of base64 has bits that no byte has.
                assert found is None or (place == len(text) - 1 and found.token == token)


def test_a_token_signed_with_another_key_is_not_ours() -> None:
    assert TOKENS.read(Open, Tokens("another key").sign(ALL[0], NOW_MS)) is None


def test_a_token_of_another_version_is_not_read() -> None:
    older = make_dataclass("older", ["key", "campaign", "profile_id"], bases=(Mailed,), frozen=True)(*SEND)
    with mock.patch.dict(tokens._PURPOSES, {type(older): tokens._PURPOSES[Click]}):
        sealed = TOKENS.sign(older, NOW_MS)
    assert TOKENS.read(Click, sealed) is None


def test_nobody_reads_an_address_in_a_token_and_the_same_mail_has_the_same() -> None:
    token = Click("k", "c", "user:ann@example.com", "https://shop.example.com/", "1")
    text = TOKENS.sign(token, NOW_MS)
    assert b"ann" not in base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    assert text == TOKENS.sign(token, NOW_MS)


def test_a_token_of_any_length_is_read_up_to_a_bound() -> None:
    path = hashlib.shake_256(b"seed").hexdigest(20_000)
    for length, is_read in ((2_000, True), (40_000, False)):
        token = Click(*SEND, f"https://shop.example.com/{path[:length]}", "1")
        assert (TOKENS.read(Click, TOKENS.sign(token, NOW_MS)) is not None) is is_read
    assert TOKENS.read(Click, "x" * 10_000_000) is None


def test_a_profile_id_that_cannot_be_is_not_signed() -> None:
    with pytest.raises(ValueError, match="starts with user:, anonymous: or email:"):
        TOKENS.sign(Open("k", "c", "ann"), NOW_MS)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert [TOKENS.read(kind, text) for kind in KINDS] == [None] * len(KINDS)


@given(st.text(max_size=255), st.integers(0, 2**52))
def test_any_id_goes_into_a_token_and_comes_out(id_value: str, made_at_ms: int) -> None:
    token = OptOut("k", "c", f"anonymous:{id_value}", "marketing")
    text = TOKENS.sign(token, made_at_ms)
    assert TOKENS.read(OptOut, text) == Stamped(token, made_at_ms)
    assert text.replace("-", "").replace("_", "").isalnum()


def test_a_mail_from_a_clock_that_is_ahead_is_younger_than_nothing() -> None:
    assert Stamped(ALL[0], NOW_MS + 5).age_ms(NOW_MS) == -5
