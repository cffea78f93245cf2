"""The few requests that webhooks make themselves."""

import logging
from collections.abc import Awaitable, Callable

import httpx

#: SNS waits 15 seconds for an answer, and two requests may be needed for one.
_TIMEOUT_SECONDS = 5.0

#: The answer to a GET; raises httpx.HTTPError when there is none.
Fetch = Callable[[str], Awaitable[httpx.Response]]


async def fetch(url: str) -> httpx.Response:
    """GET over the network; redirects are not followed, as they may lead anywhere."""
    # It logs whole addresses, and that of a confirmation holds a token.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, follow_redirects=False) as client:
        return await client.get(url)
