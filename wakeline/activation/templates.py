"""Liquid as campaigns may use it: strict about names, with the shared partials and our filters."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from babel.numbers import format_currency
from liquid import Environment, StrictUndefined
from liquid.builtin import DictLoader
from liquid.builtin.loaders.mixins import CachingLoaderMixin
from liquid.exceptions import FilterArgumentError, LiquidError, UndefinedError

from wakeline.activation.campaigns import SHARED_FOLDER

#: Prices in mails are written the way English-language shops write them: €1,299.00.
PRICE_LOCALE = "en_US"


class TemplateError(ValueError):
    """Says which template, which line and what is wrong."""


class UndefinedVariableError(TemplateError):
    """A variable is not there."""


class Template:
    """A compiled template; safe to render from several threads.

    It may render `partials` and read no file. A name that is not there is an error rather than an empty
    string, and with `escape_html` every value is escaped. `path` is what errors call the template.
    Raises TemplateError when it, or a partial it renders, is wrong.
    """

    def __init__(self, text: str, path: str, partials: Mapping[str, str], *, escape_html: bool) -> None:
        self._path = path
        self._names = {source: f"{SHARED_FOLDER}/{name}.liquid" for name, source in partials.items()}
        environment = _environment(partials, escape_html)
        try:
            self._template = environment.from_string(text, path=path)
            filters = self._template.analyze().filters  # Parses the partials as well.
        except LiquidError as error:
            raise TemplateError(self._describe(error)) from error
        unknown = sorted(filters.keys() - environment.filters.keys())
        if unknown:
            raise TemplateError(f"{path}: there is no filter '{unknown[0]}'")

    def render(self, variables: Mapping[str, Any]) -> str:
        """The text with the variables filled in; raises UndefinedVariableError for one that is missing."""
        try:
            return self._template.render(variables)
        except UndefinedError as error:
            raise UndefinedVariableError(self._describe(error)) from error
        except LiquidError as error:
            raise TemplateError(self._describe(error)) from error
        except (ArithmeticError, ValueError) as error:  # Liquid's filters let some of Python's errors through.
            raise TemplateError(f"{self._path}: a filter cannot take a value ({type(error).__name__})") from error

    def _describe(self, error: LiquidError) -> str:
        place = error.context()
        if error.token is None or place is None:
            return f"{self._path}: {error.message}"
        # Liquid does not say in which partial a variable was missing, but it keeps the partial's text.
        return f"{self._names.get(error.token.source, self._path)} line {place[0]}: {error.message}"


class _Partials(CachingLoaderMixin, DictLoader):
    """Serves partials from memory and nothing else, so a template cannot reach a file by its name."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        CachingLoaderMixin.__init__(self, auto_reload=False, thread_safe=True)
        DictLoader.__init__(self, dict(texts))


def _environment(partials: Mapping[str, str], escape_html: bool) -> Environment:
    environment = Environment(loader=_Partials(partials), undefined=StrictUndefined, autoescape=escape_html)
    # Deprecated in Liquid; it could choose a partial by a variable, and a campaign's hash would not cover it.
    del environment.tags["include"]
    # It would let what a browser has sent into a mail unescaped; no other filter does.
    del environment.filters["safe"]
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
