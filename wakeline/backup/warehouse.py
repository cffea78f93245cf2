"""ClickHouse's own BACKUP and RESTORE of the database, in the one folder that the embedded server may use for it.

A backup is two: one of everything while the lanes work, and one of what has changed since while they stand still. See
docs/decisions/0021-backups.md.
"""

from collections.abc import Callable
from pathlib import Path

from clickhouse_connect.driver.binding import quote_identifier
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, OperationalError

from wakeline.errors import BackupError
from wakeline.warehouse.client import FAULTS, first_line

#: The names of the two within a backup.
BASE, CHANGES = "base", "changes"

_POLL_SECONDS = 0.05
_RUNNING = ("CREATING_BACKUP", "RESTORING")
_DONE = ("BACKUP_CREATED", "RESTORED")
_STATE = "SELECT status, error FROM system.backups WHERE id = {id:String}"


class WarehouseBackups:
    """Backups of one database in `folder`; `sleep` waits between looks at ClickHouse's progress."""

    def __init__(self, client: Client, database: str, folder: Path, sleep: Callable[[float], None]) -> None:
        self._client = client
        self._database = quote_identifier(database)
        self._folder = folder
        self._sleep = sleep

    def version(self) -> str:
        """ClickHouse's."""
        return str(self._client.server_version)

    def back_up(self, name: str, base: str | None = None) -> None:
        """Write the backup `name`, of what is not in `base`. Raises BackupError."""
        since = f" SETTINGS base_backup = {self._place(base)}" if base else ""
        self._run(f"BACKUP DATABASE {self._database} TO {self._place(name)}{since} ASYNC")

    def restore(self, name: str, base: str) -> None:
        """Make the database what it was; it must not be there yet. Raises BackupError."""
        since = f" SETTINGS base_backup = {self._place(base)}"
        self._run(f"RESTORE DATABASE {self._database} FROM {self._place(name)}{since} ASYNC")

    def _place(self, name: str) -> str:
        path = str(self._folder / name).replace("\\", "\\\\").replace("'", "\\'")
        return f"File('{path}')"

    def _run(self, statement: str) -> None:
        try:
            [[id_, status]] = self._client.query(statement).result_rows
            error = ""
            while status in _RUNNING:
                self._sleep(_POLL_SECONDS)
                [[status, error]] = self._client.query(_STATE, parameters={"id": id_}).result_rows
        except FAULTS as fault:
            raise BackupError(_fault(fault)) from fault
        if status not in _DONE:
            raise BackupError(
                f"ClickHouse could not finish it ({status}): {str(error).splitlines()[0] if error else ''}"
            )


def _fault(fault: Exception) -> str:
    if isinstance(fault, ClickHouseError) and not isinstance(fault, OperationalError):
        return f"ClickHouse does not do it: {first_line(fault)}"
    return (
        "ClickHouse hangs or has ended: it does not answer any more. Look at its log (logs/warehouse.log of a running"
        " stack), and do it again when it answers."
    )
