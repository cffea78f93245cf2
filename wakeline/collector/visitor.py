"""What the collector adds to a message about the visitor's device, and what it takes away.

A full IP address never reaches the stream: IPv4 keeps its first 24 bits, IPv6 its first 48. Names are those of the
Segment spec's `context` (https://segment.com/docs/connections/spec/common/#context), with `browser` beside `os`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

import ua_parser
from starlette.requests import Request

from wakeline.collector.wellformed import utf8

Network = IPv4Network | IPv6Network

#: How much of an address is kept, by IP version.
_KEPT_BITS = {4: 24, 6: 48}
_MAX_AGENT_CHARACTERS = 1_024
#: Few user agents make most of the traffic.
_AGENTS_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Visitor:
    """Where a request came from; empty texts for a server, whose address and agent say nothing about a person."""

    ip: str = ""
    user_agent: str = ""


def visitor_of(request: Request, trusted_proxies: Sequence[Network]) -> Visitor:
    """The browser behind a request: only browsers name the page they come from."""
    headers = request.headers
    if not any(name in headers for name in ("origin", "referer", "sec-fetch-site")):
        return Visitor()
    peer = request.client.host if request.client else ""
    forwarded = [hop.strip() for hop in headers.get("x-forwarded-for", "").split(",") if hop.strip()]
    agent = utf8(headers.get("user-agent", ""))[:_MAX_AGENT_CHARACTERS]  # It is added to every message of a batch.
    return Visitor(_client_ip([*forwarded, peer], trusted_proxies), agent)


def describe(message: Any, visitor: Visitor) -> None:
    """Fill in the message's `context`: what the client has set stays, but for the rest of an IP address."""
    if not isinstance(message, dict):
        return
    given = message.get("context")
    if given is None:
        given = {}
    if not isinstance(given, dict):
        return  # Quarantined with its reason.
    added = _added(given, visitor)
    if added:
        message["context"] = {**given, **added}


def truncated_ip(text: str) -> str:
    """The network of an address, e.g. 203.0.113.0 of 203.0.113.7; an empty text for what is no address."""
    try:
        address = ip_address(text)
    except ValueError:
        return ""
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return str(ip_network(f"{address}/{_KEPT_BITS[address.version]}", strict=False).network_address)


def _added(given: dict[str, Any], visitor: Visitor) -> dict[str, Any]:
    added: dict[str, Any] = {}
    if "ip" in given:
        ip = given["ip"]
        added["ip"] = truncated_ip(ip) if isinstance(ip, str) else ""
    elif visitor.ip:
        added["ip"] = truncated_ip(visitor.ip)
    agent = given.get("userAgent")
    if not agent and visitor.user_agent:
        agent = added["userAgent"] = visitor.user_agent
    if isinstance(agent, str) and agent:
        known = _device(utf8(agent[:_MAX_AGENT_CHARACTERS]))
        added |= {name: value for name, value in known.items() if not given.get(name)}
    return added


@lru_cache(maxsize=_AGENTS_REMEMBERED)
def _device(user_agent: str) -> dict[str, dict[str, str]]:
    parsed = ua_parser.parse(user_agent)
    browser, system, device = parsed.user_agent, parsed.os, parsed.device
    found = {
        "browser": {"name": browser.family, "version": _version(browser.major, browser.minor)} if browser else {},
        "os": {"name": system.family, "version": _version(system.major, system.minor)} if system else {},
        "device": {"manufacturer": device.brand or "", "model": device.model or ""} if device else {},
    }
    return {name: filled for name, value in found.items() if (filled := {k: v for k, v in value.items() if v})}


def _version(major: str | None, minor: str | None) -> str:
    return ".".join(part for part in (major, minor) if part)


def _client_ip(hops: Sequence[str], trusted_proxies: Sequence[Network]) -> str:
    """The nearest hop that is not a proxy of ours: what stands before it may be invented."""
    for hop in reversed(hops):
        if not _is_trusted(hop, trusted_proxies):
            return hop
    return hops[0]


def _is_trusted(hop: str, trusted_proxies: Sequence[Network]) -> bool:
    try:
        address = ip_address(hop)
    except ValueError:
        return False
    return any(address in network for network in trusted_proxies)
