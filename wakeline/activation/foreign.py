"""What events say may stand in a mail, but no web address of a host that is not ours: not as a link, an image or text.

A product's name and address may come from anybody who has the page's write key, and stand in everybody's mails.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

import httpx

from wakeline.activation.links import host_of

#: Browsers leave these out of an address before they read it (https://url.spec.whatwg.org/#url-parsing).
_LEFT_OUT = re.compile("[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
_ADDRESS = re.compile(r"https?:\S*|^\s*[/\\]{2}\S*", re.IGNORECASE)
#: A backslash ends the host for browsers, and not for other parsers.
_AMBIGUOUS = re.compile(r"//[^/?#]*\\")


def without_foreign_addresses(value: Any, hosts: Collection[str]) -> Any:
    """The value of a profile or context, each text in it empty that holds a web address of a host not in `hosts`."""
    if isinstance(value, Mapping):
        return {name: without_foreign_addresses(one, hosts) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_foreign_addresses(one, hosts) for one in value]
    return "" if isinstance(value, str) and _is_foreign(value, hosts) else value


def _is_foreign(text: str, hosts: Collection[str]) -> bool:
    return any(not _is_ours(address, hosts) for address in _ADDRESS.findall(_LEFT_OUT.sub("", text)))


def _is_ours(address: str, hosts: Collection[str]) -> bool:
    try:
        return not _AMBIGUOUS.search(address) and host_of(address.strip()) in hosts
    except httpx.InvalidURL:
        return False
