"""Who may send events: a source is known by its write keys, and its name stands in every event it sends."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from wakeline.collector.refused import RefusedError
from wakeline.errors import ConfigError
from wakeline.settings import DEFAULT_SOURCE, HEARTBEAT_SOURCE, Settings, SourceSettings

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="write key"'}
_HOW = "send the write key as HTTP basic user name with an empty password, as X-Write-Key or as writeKey in the body"


@dataclass(frozen=True, slots=True)
class _Holder:
    source: str
    #: Why the key is not taken any more; empty when it is.
    refusal: str = ""


class Sources:
    """Finds the source of a request by what it carries.

    Raises ConfigError when a key or an app id belongs to two sources.
    """

    def __init__(self, settings: Settings, heartbeat_key: str) -> None:
        self._by_key: dict[bytes, _Holder] = {}
        self._by_app_id: dict[str, _Holder] = {}
        self._add_key(heartbeat_key, _Holder(HEARTBEAT_SOURCE))
        self._add_key(settings.collector.write_key, _Holder(DEFAULT_SOURCE))
        for name, source in settings.sources.items():
            self._add(name, source)

    def of_key(self, write_key: str | None) -> str:
        """The name of the source that has this write key; raises RefusedError (401)."""
        if not write_key:
            raise RefusedError(401, f"The write key is missing; {_HOW}.", _CHALLENGE)
        holder = self._by_key.get(_digest(write_key))
        if holder is None:
            raise RefusedError(401, f"The write key is wrong; {_HOW}.", _CHALLENGE)
        return _admitted(holder)

    def of_app_ids(self, app_ids: Sequence[str]) -> list[str]:
        """The name of the source of each event of a Snowplow tracker, whose app id is listed or is a write key.

        Snowplow's protocol has no write key. A request comes from one tracker: an event whose app id belongs to nobody
        goes with the first whose does. Raises RefusedError (401).
        """
        holders = [self._of_app_id(app_id) for app_id in app_ids]
        first = next(filter(None, holders), None)
        if first is None:
            raise RefusedError(
                401,
                "The app id (aid) belongs to no source; add it to the source's snowplow_app_ids, "
                "or give the tracker the write key as its app id.",
            )
        return [_admitted(holder or first) for holder in holders]

    def _of_app_id(self, app_id: str) -> _Holder | None:
        return self._by_app_id.get(app_id) or self._by_key.get(_digest(app_id))

    def _add(self, name: str, source: SourceSettings) -> None:
        refusal = "" if source.enabled else f"The source '{name}' is disabled."
        for key in source.write_keys:
            self._add_key(key, _Holder(name, refusal))
        for key in source.retired_write_keys:
            self._add_key(key, _Holder(name, f"The write key is retired; use the new one of the source '{name}'."))
        for app_id in source.snowplow_app_ids:
            _require_new(name, "app id", self._by_app_id.setdefault(app_id, _Holder(name, refusal)))

    def _add_key(self, key: str, holder: _Holder) -> None:
        # By digest, so that the time of a look-up tells nothing about the keys.
        _require_new(holder.source, "write key", self._by_key.setdefault(_digest(key), holder))


def _require_new(name: str, what: str, holder: _Holder) -> None:
    if holder.source != name:
        raise ConfigError(f"sources.{name}: a {what} of it also belongs to '{holder.source}'; give each its own.")


def _admitted(holder: _Holder) -> str:
    if holder.refusal:
        raise RefusedError(401, holder.refusal, _CHALLENGE)
    return holder.source


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="replace")).digest()
