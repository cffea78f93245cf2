"""What is in the outbox folder, kept in memory and brought up to date by each look."""

import os
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from wakeline.activation.esp.outbox import KEY
from wakeline.clock import Clock
from wakeline.pages.letters import Head, Letter, parse_head, parse_letter

#: Most mails opened for one look; a search in a large outbox goes on at the next one.
HEADS_PER_LOOK = 1_000
#: A file system's clock ticks coarsely: a folder changed this recently may change again without a new time.
SETTLE_MS = 2_000
_HEAD_BYTES = 8_192
# Fewer letters of a key are as likely a word: "ada", "face".
_KEY_LETTERS = 8
_SUFFIX = ".eml"
_CURSOR = re.compile(r"([0-9]{1,20})-([0-9a-f]+)")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which mails: those of a campaign, those with a text in address, subject or campaign or as key; "" for any."""

    campaign: str = ""
    text: str = ""

    def matches(self, head: Head) -> bool:
        if self.campaign and head.campaign != self.campaign:
            return False
        text = self.text.casefold()
        named = len(text) >= _KEY_LETTERS and head.key.startswith(text)
        return named or text in f"{head.to}\n{head.subject}\n{head.campaign}".casefold()


@dataclass(frozen=True, slots=True)
class Listing:
    """Mails newest first; `total` counts all, `matching` those found among the `searched` newest so far.

    `older` is the cursor of the mails that come after these, None at the end.
    """

    heads: list[Head]
    total: int
    matching: int
    searched: int
    older: str | None


class Mailbox:
    """The index of an outbox folder; safe to use from several threads.

    Mails never change once written, so a mail is opened once at most, and only when it is shown or searched.
    """

    def __init__(self, folder: Path, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._lock = Lock()
        self._folder_time_ns = -1
        self._times: dict[str, int] = {}
        self._newest_first: list[tuple[int, str]] = []
        self._heads: dict[str, Head] = {}

    def look(self, wanted: Filter, before: str, limit: int) -> Listing:
        """At most `limit` mails: the newest, or those after the cursor `before`."""
        with self._lock:
            self._refresh()
            if wanted == Filter():
                return self._page(before, limit)
            return self._search(wanted, before, limit)

    def campaigns(self) -> set[str]:
        """Those of the mails opened so far."""
        with self._lock:
            return {head.campaign for head in self._heads.values() if head.campaign}

    def read(self, key: str) -> Letter | None:
        """A whole mail; None when there is none of that key."""
        if not KEY.fullmatch(key):
            return None
        try:
            content = (self._folder / f"{key}{_SUFFIX}").read_bytes()
        except FileNotFoundError:
            return None
        return parse_letter(key, content)

    def _page(self, before: str, limit: int) -> Listing:
        start = self._position(before)
        shown = self._newest_first[start : start + limit]
        heads = [head for head in (self._head(key) for _, key in shown) if head]
        more = start + limit < len(self._newest_first)
        return Listing(
            heads=heads,
            total=len(self._times),
            matching=len(self._times),
            searched=len(self._times),
            older=_cursor(*shown[-1]) if shown and more else None,
        )

    def _search(self, wanted: Filter, before: str, limit: int) -> Listing:
        start = self._position(before)
        found: list[tuple[int, str]] = []
        searched = matching = 0
        for position, head in self._opened():
            searched = position + 1
            if wanted.matches(head):
                matching += 1
                if position >= start and len(found) <= limit:
                    found.append(self._newest_first[position])
        return Listing(
            heads=[self._heads[key] for _, key in found[:limit]],
            total=len(self._times),
            matching=matching,
            searched=searched,
            older=_cursor(*found[limit - 1]) if len(found) > limit else None,
        )

    def _opened(self) -> Iterator[tuple[int, Head]]:
        """Position and head of the newest mails, until this look has opened its share of new ones."""
        budget = HEADS_PER_LOOK
        for position, (_, key) in enumerate(self._newest_first):
            if key not in self._heads:
                if not budget:
                    return
                budget -= 1
            if head := self._head(key):
                yield position, head

    def _position(self, before: str) -> int:
        cursor = _CURSOR.fullmatch(before)
        return bisect_right(self._newest_first, (-int(cursor[1]), cursor[2])) if cursor else 0

    def _refresh(self) -> None:
        try:
            changed_ns = self._folder.stat().st_mtime_ns
            settled = self._clock() - changed_ns // 1_000_000 > SETTLE_MS
            if changed_ns != self._folder_time_ns or not settled:
                self._scan()
                self._folder_time_ns = changed_ns
        except FileNotFoundError:  # Nothing has been sent yet, or somebody has tidied up.
            self._forget(set(self._times))

    def _scan(self) -> None:
        names = os.listdir(self._folder)  # noqa: PTH208 - a Path for each of 50,000 names takes far longer.
        present = {name[: -len(_SUFFIX)] for name in names if name.endswith(_SUFFIX)}
        self._forget(self._times.keys() - present)
        for key in filter(KEY.fullmatch, present - self._times.keys()):
            try:
                self._times[key] = (self._folder / f"{key}{_SUFFIX}").stat().st_mtime_ns
            except FileNotFoundError:
                continue  # Deleted since it was listed.
            self._newest_first.append((-self._times[key], key))
        self._newest_first.sort()

    def _forget(self, keys: set[str]) -> None:
        for key in keys:
            del self._times[key]
            self._heads.pop(key, None)
        if keys:
            self._newest_first = [entry for entry in self._newest_first if entry[1] not in keys]

    def _head(self, key: str) -> Head | None:
        if key not in self._heads:
            try:
                with (self._folder / f"{key}{_SUFFIX}").open("rb") as file:
                    content = file.read(_HEAD_BYTES)
            except FileNotFoundError:
                return None  # Deleted since the scan; the next one forgets it.
            self._heads[key] = parse_head(key, self._times[key] // 1_000_000, content)
        return self._heads[key]


def _cursor(negative_time_ns: int, key: str) -> str:
    return f"{-negative_time_ns}-{key}"
