"""Sends numbered events with one of the public Python clients, unmodified: server.py CLIENT ADDRESS WRITE_KEY.

Ends when the client has sent everything, and prints what it was given.
"""

import json
import sys
from typing import Any

EVENTS = 45


def client_of(name: str, address: str, write_key: str, errors: list[Any]) -> Any:
    """The module's default client, as the README of each tells to use it."""
    if name == "rudder":
        import rudderstack.analytics as client

        client.dataPlaneUrl = address
    else:
        import segment.analytics as client

        client.host = address
        client.gzip = name == "segment-gzip"
    client.write_key = write_key
    client.on_error = lambda error, items: errors.append(repr(error))
    return client


def main(name: str, address: str, write_key: str) -> None:
    errors: list[Any] = []
    given: list[tuple[str, str, int]] = []

    def give(kind: str, event: str, number: int) -> int:
        given.append((kind, event, number))
        return number

    client = client_of(name, address, write_key, errors)
    client.identify("u1", {"email": "ann@example.com", "n": give("identify", "", 1000)})
    for number in range(EVENTS):
        client.track("u1", "Product Viewed", {"n": give("track", "Product Viewed", number)})
    client.page("u1", "Shop", "Home", {"n": give("page", "", 1001)})
    client.screen("u1", "Shop", "Cart", {"n": give("screen", "", 1002)})
    client.group("u1", "g1", {"n": give("group", "", 1003)})
    client.alias("u1", "u2")
    give("alias", "", 0)
    client.shutdown()
    assert not errors, errors
    print(json.dumps(given))  # noqa: T201 - the answer to whoever started this


main(*sys.argv[1:])
