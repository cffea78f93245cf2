"""Whether a person or a program opened a mail or pressed a link: labels on the event, never a reason to drop it.

`automated` is true or false; `automated_reason` is one of the terms below, the first that holds; `proxy` names the
mail service through whose image proxy a person's open came.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wakeline.collector.mail.agents import is_bot, sends_fetch_metadata

#: Fetched before anybody asked for it: https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Sec-Purpose
PREFETCH = "prefetch"
#: A program that says so: a crawler, an HTTP library, a security scanner; or one that does not say what it is.
BOT = "bot"
#: Apple's servers load the images of every mail, opened or not, under this agent.
APPLE_MAIL_PRIVACY = "apple_mail_privacy"
#: A click whose agent is that of a browser, but not its headers.
NOT_A_BROWSER = "not_a_browser"
#: A click sooner after the mail was made than a person can be: scanners press every link at delivery.
TOO_SOON = "too_soon"

_BARE_AGENT = "Mozilla/5.0"
_PREFETCH_HEADERS = ("sec-purpose", "purpose", "x-moz")
#: Image proxies fetch when the person opens the mail.
_PROXIES = {"GoogleImageProxy": "gmail", "YahooMailProxy": "yahoo"}
_MAX_AGENT_CHARACTERS = 1_024


@dataclass(frozen=True, slots=True)
class ClickRules:
    """`https`: whether people reach the collector over https, as browsers keep Sec-Fetch-* to themselves without."""

    too_soon_ms: float
    https: bool


def label_open(headers: Mapping[str, str]) -> dict[str, Any]:
    """The labels of an open; names of headers are in lower case, or the mapping does not care."""
    agent = user_agent(headers)
    if _is_prefetch(headers):
        return _automated(PREFETCH)
    for mark, proxy in _PROXIES.items():
        if mark in agent:
            return {"automated": False, "proxy": proxy}
    if agent == _BARE_AGENT:
        return _automated(APPLE_MAIL_PRIVACY)
    return _automated(BOT) if is_bot(agent) else {"automated": False}


def label_click(headers: Mapping[str, str], age_ms: int, rules: ClickRules) -> dict[str, Any]:
    """The labels of a click on a link of a mail that was made `age_ms` ago."""
    agent = user_agent(headers)
    if _is_prefetch(headers):
        return _automated(PREFETCH)
    if is_bot(agent):
        return _automated(BOT)
    if agent == _BARE_AGENT or (rules.https and sends_fetch_metadata(agent) and not _has_fetch_metadata(headers)):
        return _automated(NOT_A_BROWSER)
    return _automated(TOO_SOON) if max(age_ms, 0) < rules.too_soon_ms else {"automated": False}


def user_agent(headers: Mapping[str, str]) -> str:
    """The user agent, cut to what an event keeps of it; an empty text when there is none."""
    return headers.get("user-agent", "").strip()[:_MAX_AGENT_CHARACTERS]


def _automated(reason: str) -> dict[str, Any]:
    return {"automated": True, "automated_reason": reason}


def _is_prefetch(headers: Mapping[str, str]) -> bool:
    return any("prefetch" in headers.get(name, "").lower() for name in _PREFETCH_HEADERS)


def _has_fetch_metadata(headers: Mapping[str, str]) -> bool:
    return any(name.lower().startswith("sec-fetch-") for name in headers)
