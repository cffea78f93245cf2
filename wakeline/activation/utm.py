"""UTM parameters: how the shop's web analytics knows which mail a visit comes from.

https://support.google.com/analytics/answer/10917952
"""

from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import parse_qsl, urlencode

import httpx


def with_utm(address: str, parameters: Iterable[tuple[str, str]]) -> str | None:
    """The address in ASCII with those of the parameters that it does not have yet; None when no browser can go there.

    The rest of it stays: the order and the encoding of its query, its fragment, its own UTM parameters.
    """
    return _with_utm(address, tuple(parameters))


# The same products stand in many mails, several times in each.
@lru_cache(maxsize=4_096)
def _with_utm(address: str, parameters: tuple[tuple[str, str], ...]) -> str | None:
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        return None
    if url.scheme not in ("http", "https") or not url.host:
        return None
    query = url.query.decode("ascii")
    present = {name.lower() for name, _ in parse_qsl(query, keep_blank_values=True)}
    added = urlencode([(name, value) for name, value in parameters if name not in present])
    joined = "&".join(part for part in (query, added) if part)
    return str(url.copy_with(query=joined.encode("ascii"))) if added else str(url)
