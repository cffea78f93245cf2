"""Beginning and ending silences by hand."""

from dataclasses import replace

from wakeline.alerts.concerns import BY_NAME, CONCERNS
from wakeline.alerts.silences import Silence
from wakeline.alerts.store import Store
from wakeline.errors import ConfigError


def begin(store: Store, for_ms: int, concern: str, key: str, reason: str, by: str, now_ms: int) -> Silence:
    """Silence something for a while. Raises ConfigError for a concern that there is not, or a blank reason."""
    if concern and concern not in BY_NAME:
        raise ConfigError(f"There is no concern '{concern}'; known are {', '.join(BY_NAME)}.")
    if key and not any(_may_match(key, one.prefix) for one in CONCERNS):
        known = ", ".join(one.prefix for one in CONCERNS)
        raise ConfigError(f"No key is like '{key}'; keys begin with {known}. 'wakeline alerts' shows them.")
    if not reason.strip():
        raise ConfigError("Why is it silenced? Give a reason; it is shown to others.")
    asked = Silence(concern, key, reason.strip(), by, now_ms, now_ms + for_ms)
    return replace(asked, silence_id=store.silence(asked))


def end(store: Store, silence_id: int | None, now_ms: int) -> int:
    """End a silence, or all; how many. Raises ConfigError when the one that was named is not in force."""
    count = store.unsilence(silence_id, now_ms)
    if silence_id is not None and not count:
        raise ConfigError(f"There is no silence {silence_id} in force; 'wakeline alerts' lists them.")
    return count


def _may_match(pattern: str, prefix: str) -> bool:
    """A pattern is compared with a prefix as far as it is plain text."""
    plain = pattern.partition("*")[0].partition("?")[0].partition("[")[0]
    return plain.startswith(prefix) or (plain != pattern and prefix.startswith(plain))
