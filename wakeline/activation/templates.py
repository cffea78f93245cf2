"""Liquid as campaigns may use it: strict about names, with the shared partials and our filters."""

import re
from collections.abc import Mapping
from functools import lru_cache
from urllib.parse import urlsplit

from babel.numbers import format_currency
from liquid import Environment, StrictUndefined
from liquid.builtin import DictLoader
from liquid.builtin.loaders.mixins import CachingLoaderMixin
from liquid.exceptions import FilterArgumentError

#: Prices in mails are written the way English-language shops write them: €1,299.00.
PRICE_LOCALE = "en_US"


class _Partials(CachingLoaderMixin, DictLoader):
    """Serves partials from memory and nothing else, so a template cannot reach a file by its name."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        CachingLoaderMixin.__init__(self, auto_reload=False, thread_safe=True)
        DictLoader.__init__(self, dict(texts))


def liquid_environment(partials: Mapping[str, str], *, escape_html: bool) -> Environment:
    """An environment whose templates may render `partials` and nothing else.

    A name that is not there is an error rather than an empty string; `escape_html` escapes every value.
    """
    environment = Environment(loader=_Partials(partials), undefined=StrictUndefined, autoescape=escape_html)
    environment.add_filter("money", money)
    environment.add_filter("web_url", web_url)
    return environment


def money(amount: object, currency: object = "") -> str:
    """`€1,299.00` for 1299 and "EUR"; a bare number when the currency is not known.

    Raises FilterArgumentError when the amount is no number.
    """
    try:
        return _money(float(str(amount)), str(currency or "").upper())
    except (ValueError, ArithmeticError) as error:
        raise FilterArgumentError(f"money: {amount!r} is not an amount", token=None) from error


@lru_cache(maxsize=4096)
def _money(amount: float, currency: str) -> str:
    formatted = format_currency(amount, currency, locale=PRICE_LOCALE).strip()
    return re.sub(r"(?<=[A-Z])(?=\d)", "\u00a0", formatted)


def web_url(value: object) -> str:
    """The address if a mail can link to it or show it, else an empty string.

    A browser can send any text as a product's url, and in a mail a relative one leads nowhere.
    """
    text = str(value or "").strip()
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    return text if parts.scheme in ("http", "https") and parts.netloc else ""
