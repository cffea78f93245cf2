"""The embedded ClickHouse: the engine of the chdb-core wheel, listening like any ClickHouse server.

`SYSTEM START LISTEN` in clickhouse-local (ClickHouse PR 101143) opens the real HTTP and native servers; the
one-shot query call of chdb runs clickhouse-local, whose last query here never ends and keeps the server up.
"""

import fcntl
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import IO
from xml.sax.saxutils import escape

import httpx

from wakeline.errors import WarehouseError
from wakeline.settings import WarehouseSettings
from wakeline.warehouse.deduplication_log import forget_unfinished_parts

_LISTEN = "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; "
_NEVER_ENDS = (
    "SELECT sleepEachRow(1) FROM system.numbers SETTINGS max_execution_time=0,"
    " function_sleep_max_microseconds_per_block=0, max_block_size=1 FORMAT Null"
)
#: How often the waiting main thread looks whether the engine ended by itself.
_WATCH_SECONDS = 0.5
_STOP_SECONDS = 20
# The engine waits five seconds for connections to be closed, idle ones that clients keep in their pools too, and then
# ends the process with exit code 1. What it acknowledged is on disk by then.
_PATIENCE_SECONDS = 3

# Caches default to several GiB; deduplication must be on for every table of a materialized-view chain, and the
# window, counted in blocks, is the longest retry horizon: 10,000 micro-batches.
_CONFIG = """<clickhouse>
  <listen_host>{host}</listen_host><http_port>{port}</http_port><tcp_port>{native_port}</tcp_port>
  <user_directories><users_xml><path>users.xml</path></users_xml></user_directories>
  <max_server_memory_usage>{max_memory_bytes}</max_server_memory_usage>
  <mark_cache_size>67108864</mark_cache_size><primary_index_cache_size>67108864</primary_index_cache_size>
  <index_mark_cache_size>16777216</index_mark_cache_size>
  <vector_similarity_index_cache_size>16777216</vector_similarity_index_cache_size>
  <text_index_tokens_cache_size>16777216</text_index_tokens_cache_size>
  <text_index_header_cache_size>16777216</text_index_header_cache_size>
  <text_index_postings_cache_size>16777216</text_index_postings_cache_size>
  <max_concurrent_queries>64</max_concurrent_queries><max_thread_pool_size>400</max_thread_pool_size>
  <background_pool_size>2</background_pool_size><background_schedule_pool_size>8</background_schedule_pool_size>
  <backups><allowed_path>{backups}</allowed_path></backups>
  <merge_tree>
    <non_replicated_deduplication_window>10000</non_replicated_deduplication_window>
  </merge_tree>
</clickhouse>
"""

# The engine's own session is the user `default` without a password; it may do nothing but listen and wait.
_USERS = """<clickhouse>
  <profiles><default>
    <max_threads>2</max_threads><max_memory_usage>{max_query_bytes}</max_memory_usage>
    <max_bytes_before_external_group_by>300000000</max_bytes_before_external_group_by>
    <max_bytes_before_external_sort>300000000</max_bytes_before_external_sort>
    <async_insert>0</async_insert>
  </default></profiles>
  <quotas><default/></quotas>
  <users>
    <default><no_password/><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>
      <grants>
        <query>GRANT SYSTEM LISTEN ON *.*</query><query>GRANT SELECT ON system.numbers</query>
      </grants></default>
    <{user}><password>{password}</password><networks><ip>{host}</ip></networks><profile>default</profile>
      <quota>default</quota><access_management>1</access_management></{user}>
  </users>
</clickhouse>
"""


def run_server(settings: WarehouseSettings, data_dir: Path) -> None:
    """Serve until SIGTERM or SIGINT; blocks. Raises WarehouseError when ports, lock or disk are not to be had.

    Must own its process: chdb is imported here and nowhere else, and the working directory is changed.
    """
    _write_config(settings, data_dir)
    lock = _take_lock(data_dir)
    _check_ports(settings)
    forget_unfinished_parts(data_dir / "data")
    # chdb boots a throw-away engine at import that would read ./config.xml, so: import first, then change folder.
    from chdb import _chdb

    os.chdir(data_dir)
    stop = threading.Event()
    engine = threading.Thread(target=_run_engine, args=(_chdb, data_dir / "data", stop), daemon=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    engine.start()
    while engine.is_alive() and not stop.wait(_WATCH_SECONDS):
        pass
    if not stop.is_set():
        raise WarehouseError(
            "The embedded ClickHouse ended by itself; the lines above say why"
            " (one that names LISTEN means that chdb-core is older than 26.7.3)."
        )
    _stop_engine(settings, engine)
    lock.close()


def backups_dir(data_dir: Path) -> Path:
    """The one folder that ClickHouse may write backups to, and read them from."""
    return data_dir / "backups"


def _take_lock(data_dir: Path) -> IO[str]:
    lock = (data_dir / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise WarehouseError(f"Another warehouse already runs on {data_dir}; stop it or set data_dir.") from error
    return lock


def _check_ports(settings: WarehouseSettings) -> None:
    for key, port in (("port", settings.port), ("native_port", settings.native_port)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port))
            except OSError as error:
                raise WarehouseError(
                    f"The warehouse cannot listen on {settings.host}:{port} ({error.strerror});"
                    f" stop what uses it or set warehouse.{key}."
                ) from error


def _write_config(settings: WarehouseSettings, data_dir: Path) -> None:
    values = {key: escape(str(value)) for key, value in settings.model_dump().items()}
    values["max_query_bytes"] = str(settings.max_memory_bytes * 2 // 3)
    values["backups"] = escape(str(backups_dir(data_dir)))
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        for name, template in (("config.xml", _CONFIG), ("users.xml", _USERS)):
            path = data_dir / name
            path.touch(mode=0o600)
            path.write_text(template.format(**values), encoding="utf-8")
    except OSError as error:
        raise WarehouseError(
            f"The warehouse cannot write to {data_dir} ({error.strerror}); free the disk or set data_dir."
        ) from error


def _run_engine(chdb: object, path: Path, stop: threading.Event) -> None:
    try:
        chdb.query(_LISTEN + _NEVER_ENDS, "TabSeparated", path=str(path))  # type: ignore[attr-defined]
    except Exception as error:
        if not stop.is_set():  # Ending the endless query at stop is reported as an error, rightly.
            sys.stderr.write(f"ClickHouse: {error}\n")


def _stop_engine(settings: WarehouseSettings, engine: threading.Thread) -> None:
    httpx.post(
        f"http://{settings.host}:{settings.port}/",
        content="KILL QUERY WHERE interface = 'Local'",
        auth=(settings.user, settings.password),
        timeout=_STOP_SECONDS,
    ).raise_for_status()
    engine.join(_PATIENCE_SECONDS)
    # The engine's own threads outlive the interpreter's teardown and crash it; everything is on disk by now.
    sys.stderr.flush()
    os._exit(0)
