"""What a user agent gives away: programs that say what they are, and browsers that are none."""

import re
from functools import lru_cache

import ua_parser
from crawleruseragents import is_crawler

#: Few user agents make most of the traffic.
_AGENTS_REMEMBERED = 10_000

#: HTTP libraries and mail security products that neither list of user agents knows.
_TOOL = re.compile(
    r"^(dart|deno|guzzlehttp|java|node|php|postmanruntime|reqwest|ruby|undici|winhttp)\b"
    r"|avanan|barracuda|cloudmark|existence discovery|fireeye|forcepoint|fortimail|ironport|messagelabs|mimecast"
    r"|proofpoint|safelinks|sophos|symantec|trendmicro|vade ?secure|zscaler",
    re.IGNORECASE,
)

# Whole and unadorned agents only: an app that shows pages inside itself adds a word of its own, such as `Version/4.0`
# (Android WebView) or `Instagram`, and need not send what the browser does.
_CHROMIUM = re.compile(
    r"Mozilla/5\.0 \([^()]*\) AppleWebKit/537\.36 \(KHTML, like Gecko\) Chrome/(\d{1,4})[\d.]*( Mobile)? Safari/537\.36"
    r"( EdgA?/[\d.]+)?"
)
_FIREFOX = re.compile(r"Mozilla/5\.0 \([^()]*\) Gecko/[\d.]+ Firefox/(\d{1,4})[\d.]*")
#: The first versions that send all Sec-Fetch-* headers with every navigation to an https page:
#: https://developer.mozilla.org/en-US/docs/Web/HTTP/Reference/Headers/Sec-Fetch-Dest#browser_compatibility
_FIRST_CHROMIUM = 80
_FIRST_FIREFOX = 90


@lru_cache(maxsize=_AGENTS_REMEMBERED)
def is_bot(user_agent: str) -> bool:
    """True for crawlers, HTTP libraries, security scanners, and for no name at all."""
    if not user_agent.strip() or _TOOL.search(user_agent) or is_crawler(user_agent):
        return True
    device = ua_parser.parse_device(user_agent)
    return device is not None and device.family == "Spider"


def sends_fetch_metadata(user_agent: str) -> bool:
    """True for a browser that sends Sec-Fetch-* with every navigation over https.

    Safari is left out: it does so since 16.4 only, and apps on iOS share its agent.
    """
    for pattern, first in ((_CHROMIUM, _FIRST_CHROMIUM), (_FIREFOX, _FIRST_FIREFOX)):
        found = pattern.fullmatch(user_agent)
        if found:
            return int(found[1]) >= first
    return False
