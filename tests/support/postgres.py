"""A real Postgres: Debian's, in a folder of its own, run by somebody who is not root, whom it would refuse."""

import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg

from support.brokers import BrokerProcess, started
from support.ports import free_ports
from support.programs import require

USER = "wakeline"
_PACKAGED = Path("/usr/lib/postgresql")
_UNPRIVILEGED = ("postgres", "nobody")
_INITDB_SECONDS = 60
# A crash of the machine is not among the tests; a crash of the server is, and needs none of these.
_QUICK = ("fsync=off", "full_page_writes=off", "shared_buffers=32MB", "max_wal_size=128MB")


class PostgresServer(BrokerProcess):
    """The server; databases are made in it one for each test."""

    name = "postgres"

    def __init__(self, folder: Path, durable: bool = False) -> None:
        super().__init__(folder)
        self._settings = () if durable else _QUICK
        [self._port] = free_ports(1)
        self._password = secrets.token_urlsafe(12)
        self._numbers = count(1)

    def prepare(self) -> None:
        """Make the cluster's folder."""
        password_file = self.folder / "password"
        password_file.write_text(self._password, encoding="utf-8")
        if self._user is not None:
            for path in (self.folder, password_file):
                shutil.chown(path, self._user)
        subprocess.run(
            [_program("initdb"), "-D", str(self.folder / "data"), "-U", USER, "-A", "scram-sha-256", "-E", "UTF8",
             "--pwfile", str(password_file), "--locale", "C.UTF-8", "--no-sync"],
            check=True, capture_output=True, timeout=_INITDB_SECONDS, user=self._user, cwd=self.folder,
        )  # fmt: skip

    def create_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"ledger_{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, database: str, password: str | None = None) -> str:
        """How clients come in."""
        return f"postgresql://{USER}:{password or self._password}@127.0.0.1:{self._port}/{database}"

    @property
    def _user(self) -> str | None:
        if os.getuid() != 0:
            return None
        known = {one.pw_name for one in pwd.getpwall()}
        return next(name for name in _UNPRIVILEGED if name in known)

    def _command(self) -> Sequence[str]:
        settings = [*self._settings, f"port={self._port}", "listen_addresses=127.0.0.1", "unix_socket_directories="]
        options = [part for setting in settings for part in ("-c", setting)]
        return [_program("postgres"), "-D", str(self.folder / "data"), *options]

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def open_postgres_server(durable: bool = False) -> Iterator[PostgresServer]:
    """A server that runs; without it the test is skipped, or fails where brokers are required.

    What a `durable` one commits survives a crash of the machine.
    """
    require(None if _program("postgres") else "Postgres is not installed; run 'apt-get install postgresql'.")
    # Not pytest's folder: nobody but its owner may look into that.
    folder = Path(tempfile.mkdtemp(prefix="wakeline-postgres-"))
    server = PostgresServer(folder, durable)
    try:
        server.prepare()
        with started(server):
            yield server
    finally:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)


def _program(name: str) -> str:
    """Its path, empty when there is none; Debian keeps servers off the path."""
    packaged = sorted(_PACKAGED.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return str(packaged[-1]) if packaged else shutil.which(name) or ""
