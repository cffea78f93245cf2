import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from clickhouse_connect.driver.client import Client
from support.messages import rows, track
from support.ports import free_ports
from support.warehouse import CHAIN, WarehouseProcess, empty

from wakeline.errors import WarehouseError
from wakeline.settings import WarehouseSettings
from wakeline.warehouse.client import connect
from wakeline.warehouse.landing import Landing

pytestmark = pytest.mark.stack

BATCH = rows(
    track("Product Added", "m1", user="ann", device="phone", product_id="p1", category="bags", quantity=1),
    track("Order Completed", "m2", user="ann", order_id="o1", products=[{"product_id": "p1", "category": "bags"}]),
)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarehouseProcess]:
    """A warehouse of this module's own that nothing is deployed to."""
    process = WarehouseProcess(tmp_path_factory.mktemp("server"))
    try:
        yield process.start()
    finally:
        process.kill()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[WarehouseProcess]:
    """Another warehouse, not yet started."""
    process = WarehouseProcess(tmp_path / "other")
    yield process
    process.kill()


def failure(process: WarehouseProcess) -> str:
    """What a warehouse that cannot start says: one sentence, and exit code 1."""
    process.launch()
    assert process.wait() == 1
    said = process.said().strip()
    assert said.startswith("wakeline: ")
    assert "\n" not in said
    return said


def test_it_stops_when_asked_and_gives_back_ports_and_folder(other: WarehouseProcess) -> None:
    other.start()
    other.ask("CREATE TABLE kept (number UInt8) ENGINE = MergeTree ORDER BY number")
    other.ask("INSERT INTO kept SELECT number FROM numbers(5)")
    assert other.stop() == 0
    other.start()
    assert other.ask("SELECT count() FROM kept") == [(5,)]
    assert other.stop() == 0


def test_clients_that_keep_their_connections_do_not_make_a_stop_a_failure(other: WarehouseProcess) -> None:
    other.start()
    client = connect(other.settings.warehouse, database="default")
    assert other.stop() == 0
    client.close()


def test_a_second_one_on_the_same_folder_is_refused(running: WarehouseProcess, other: WarehouseProcess) -> None:
    settings = other.settings_path.read_text(encoding="utf-8")
    data_dir = running.settings.data_dir
    other.settings_path.write_text(settings.replace('data_dir = "data"', f'data_dir = "{data_dir}"'), encoding="utf-8")
    said = failure(other)
    assert f"Another warehouse already runs on {data_dir / 'warehouse'}; stop it or set data_dir." in said
    assert running.ask("SELECT 1") == [(1,)]


@pytest.mark.parametrize("key", ["port", "native_port"])
def test_a_port_that_is_taken_is_named_with_its_setting(tmp_path: Path, key: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = failure(WarehouseProcess(tmp_path / key, **{key: port}))
    assert f"cannot listen on 127.0.0.1:{port} (Address already in use)" in said
    assert said.endswith(f"set warehouse.{key}.")


def test_it_writes_no_file_that_others_may_read_a_password_in(running: WarehouseProcess) -> None:
    folder = running.settings.data_dir / "warehouse"
    assert running.settings.warehouse.password in (folder / "users.xml").read_text(encoding="utf-8")
    assert {(folder / name).stat().st_mode & 0o077 for name in ("users.xml", "config.xml")} == {0}


def test_nothing_is_answered_without_the_password(running: WarehouseProcess) -> None:
    url = f"http://{running.settings.warehouse.host}:{running.settings.warehouse.port}/"
    running.ask("CREATE TABLE secret (number UInt8) ENGINE = MergeTree ORDER BY number")
    for query in (
        "SELECT * FROM secret",
        "SELECT * FROM system.processes",
        "SELECT * FROM file('/etc/hostname', 'LineAsString')",
        "SELECT * FROM url('http://127.0.0.1', 'LineAsString')",
        "CREATE DATABASE mine",
        "DROP TABLE secret",
        "KILL QUERY WHERE interface = 'Local'",
    ):
        assert httpx.post(url, content=query).status_code in (401, 403, 497, 500), query
    assert httpx.post(url, content="SELECT name FROM system.tables WHERE name = 'secret'").text == ""
    assert httpx.get(f"{url}ping").text == "Ok.\n"


def test_a_wrong_password_is_said_in_one_sentence(running: WarehouseProcess) -> None:
    wrong = running.settings.warehouse.model_copy(update={"password": "wrong"})
    assert refusal(wrong) == "ClickHouse refuses user 'wakeline'; correct warehouse.user and warehouse.password."


def test_a_user_that_does_not_exist_is_said_in_one_sentence(running: WarehouseProcess) -> None:
    wrong = running.settings.warehouse.model_copy(update={"user": "nobody"})
    assert refusal(wrong) == "ClickHouse refuses user 'nobody'; correct warehouse.user and warehouse.password."


def test_a_database_that_is_not_there_is_said_in_one_sentence(running: WarehouseProcess) -> None:
    wrong = running.settings.warehouse.model_copy(update={"database": "nowhere"})
    assert refusal(wrong) == "ClickHouse has no database 'nowhere'; run 'wakeline deploy' first."


def test_a_host_that_does_not_answer_is_said_in_one_sentence(running: WarehouseProcess) -> None:
    [port] = free_ports(1)
    said = refusal(running.settings.warehouse.model_copy(update={"port": port}))
    assert said == (
        f"ClickHouse does not answer at 127.0.0.1:{port}; start it ('wakeline warehouse') or"
        " correct warehouse.host and warehouse.port."
    )


def test_a_host_that_is_not_there_is_said_in_one_sentence(running: WarehouseProcess) -> None:
    said = refusal(running.settings.warehouse.model_copy(update={"host": "no-such-host.invalid"}))
    assert said.startswith("ClickHouse does not answer at no-such-host.invalid:")


def test_something_else_that_listens_there_is_said_in_one_sentence(running: WarehouseProcess) -> None:
    native = running.settings.warehouse.model_copy(update={"port": running.settings.warehouse.native_port})
    assert "\n" not in refusal(native)


def refusal(settings: WarehouseSettings) -> str:
    with pytest.raises(WarehouseError) as raised:
        connect(settings, database=settings.database if settings.database == "nowhere" else "default")
    return str(raised.value)


def test_rows_that_were_acknowledged_survive_a_kill(other: WarehouseProcess) -> None:
    other.start()
    client = connect(other.settings.warehouse, database="default")
    client.command("CREATE TABLE kept (number UInt32) ENGINE = MergeTree ORDER BY number")
    for number in range(40):
        client.insert("kept", [[number]], column_names=["number"])
    other.kill()
    client.close()
    other.start()
    assert other.ask("SELECT count(), uniqExact(number), max(number) FROM kept") == [(40, 40, 39)]


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_a_batch_done_again_after_a_restart_counts_once_in_every_table(warehouse: WarehouseProcess, how: str) -> None:
    client = connect(warehouse.settings.warehouse)
    landing = Landing(client, f"restart-{how}")
    empty(client)
    landing.pin_view_tokens()
    landing.insert(BATCH, {0: (0, 2)})
    before = contents(client)
    getattr(warehouse, how)()
    warehouse.start()
    landing.pin_view_tokens()
    landing.insert(BATCH, {0: (0, 2)})
    assert contents(client) == before
    client.close()


def contents(client: Client) -> dict[str, int]:
    """Rows of every table; those of states may have been put together meanwhile, which must not hide a repetition."""
    for table in CHAIN:
        client.command(f"OPTIMIZE TABLE {table} FINAL")
    counts = {table: client.query(f"SELECT count() FROM {table}").result_rows[0][0] for table in CHAIN}  # noqa: S608
    sums = "SELECT sum(event_count) + (SELECT sum(purchased_quantity) FROM product_states) FROM person_states"
    return {**counts, "sums": client.query(sums).result_rows[0][0]}
