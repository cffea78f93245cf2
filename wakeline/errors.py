"""Errors a person can act on; anything else that is raised is a bug and keeps its stack trace."""


class WakelineError(Exception):
    """One clear sentence that names the file, setting, key or row and says what to do."""


class ConfigError(WakelineError):
    """A setting, campaign file or trigger is wrong."""


class WarehouseError(WakelineError):
    """ClickHouse cannot be reached, or refuses what was asked."""


class LedgerError(WakelineError):
    """The ledger database cannot be reached, or refuses what was asked."""


class StreamError(WakelineError):
    """The event stream cannot be read or appended to."""


class StreamFullError(StreamError):
    """The stream takes no more for now; the caller tries again after `retry_after_seconds`."""

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class EventRefusedError(StreamError):
    """An event that the stream will never take, as it is too large: trying again does not help."""


class AlertError(WakelineError):
    """The alert database cannot be reached, or refuses what was asked."""


class ArchiveError(WakelineError):
    """The archive cannot be written or read, or something in it is not what was written."""


class RebuildError(WakelineError):
    """Profiles cannot be rebuilt as things are, and what was there is as it was; or they must be rebuilt first."""


class ReplayError(WakelineError):
    """What was asked for by hand cannot be done, or needs a confirmation; nothing was changed unless it says so."""


class LeaseLostError(WakelineError):
    """Another holder has taken the lane; whatever was about to be written must not be."""


class BackupError(WakelineError):
    """A backup cannot be made or restored, or something in it is not what was written."""
