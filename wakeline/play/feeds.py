"""The formats that can be played, by the names that the command line knows them by."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from wakeline.play import online_retail, otto, rees46, retailrocket, storefront
from wakeline.play.message import TimedMessage
from wakeline.play.progress import Extent
from wakeline.play.source import SourceFile

STOREFRONT = "storefront"
READERS: dict[str, Callable[[SourceFile], Iterator[TimedMessage]]] = {
    "online-retail": online_retail.read,
    "otto": otto.read,
    "rees46": rees46.read,
    "retailrocket": retailrocket.read,
}


@dataclass(frozen=True, slots=True)
class Feed:
    """Messages in time order and how many there are of them."""

    messages: Iterator[TimedMessage]
    extent: Extent

    def limited_to(self, count: int) -> "Feed":
        """The first so many messages."""
        return Feed(islice(self.messages, count), Extent(count, lambda standing: standing.posted))


@contextmanager
def file_feed(format_name: str, path: Path) -> Iterator[Feed]:
    """The messages of a file. Raises WakelineError if it cannot be opened."""
    with SourceFile(path) as source:
        extent = Extent(source.size_bytes, lambda standing: source.position_bytes())
        yield Feed(READERS[format_name](source), extent)


def storefront_feed(shop_url: str, people: int = 60, minutes: float = 30, seed: int = 1) -> Feed:
    """The messages of the simulator, for a shop at that address."""
    extent = Extent(round(minutes * 60_000), lambda standing: standing.at_ms)
    return Feed(storefront.simulate(seed, people, minutes, shop_url), extent)
