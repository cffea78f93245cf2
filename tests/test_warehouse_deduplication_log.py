import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client
from support.warehouse import WarehouseProcess

from wakeline.warehouse.client import connect
from wakeline.warehouse.deduplication_log import forget_unfinished_parts

COUNTS = """
    SELECT (SELECT count() FROM chain.landed), (SELECT count() FROM chain.seen), (SELECT sum(n) FROM chain.counted)
"""
WINDOW = "SETTINGS non_replicated_deduplication_window = 100"


@pytest.fixture
def warehouse(tmp_path: Path) -> Iterator[WarehouseProcess]:
    process = WarehouseProcess(tmp_path / "warehouse").start()
    yield process
    process.kill()


def table(data: Path, notes: list[str], parts: list[str], number: int = 1) -> Path:
    """The files of a table as ClickHouse lays them out."""
    folder = data / "store" / "abc" / "abc-def"
    log = folder / "deduplication_logs" / f"deduplication_log_{number}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(f"1\t{part}\t{part}_token\n" for part in notes), encoding="utf-8")
    for part in parts:
        (folder / part).mkdir()
    return log


def noted(log: Path) -> list[str]:
    return [line.split("\t")[1] for line in log.read_text(encoding="utf-8").splitlines()]


def test_a_part_without_its_files_is_forgotten(tmp_path: Path) -> None:
    log = table(tmp_path, ["202611_1_1_0", "202611_2_2_0"], ["202611_1_1_0", "tmp_insert_202611_2_2_0"])
    assert forget_unfinished_parts(tmp_path) == 1
    assert noted(log) == ["202611_1_1_0"]


def test_a_part_that_was_merged_or_mutated_since_is_still_known(tmp_path: Path) -> None:
    notes = ["202611_1_1_0", "202611_2_2_0", "202612_3_3_0"]
    log = table(tmp_path, notes, ["202611_1_2_1", "202612_3_3_0_4"])
    assert forget_unfinished_parts(tmp_path) == 0
    assert noted(log) == notes


def test_the_same_block_of_another_partition_is_another_part(tmp_path: Path) -> None:
    log = table(tmp_path, ["202611_1_1_0", "202612_2_2_0"], ["202611_1_2_1"])
    assert forget_unfinished_parts(tmp_path) == 1
    assert noted(log) == ["202611_1_1_0"]


def test_only_the_newest_log_can_end_with_an_unfinished_part(tmp_path: Path) -> None:
    older = table(tmp_path, ["202611_1_1_0"], [], number=9)
    newest = table(tmp_path, ["202611_2_2_0", "202611_3_3_0"], ["202611_2_2_0"], number=10)
    assert forget_unfinished_parts(tmp_path) == 1
    assert (noted(older), noted(newest)) == (["202611_1_1_0"], ["202611_2_2_0"])


def test_a_table_without_notes_and_a_folder_without_tables_are_nothing_to_mend(tmp_path: Path) -> None:
    assert forget_unfinished_parts(tmp_path / "missing") == 0
    log = table(tmp_path, [], [])
    assert forget_unfinished_parts(tmp_path) == 0
    log.unlink()
    assert forget_unfinished_parts(tmp_path) == 0


@pytest.mark.stack
@pytest.mark.parametrize("cut_off", ["landed", "seen", "counted"])
def test_a_server_killed_between_a_note_and_its_part_takes_the_repeated_insert(
    warehouse: WarehouseProcess, cut_off: str
) -> None:
    client = connect(warehouse.settings.warehouse, database="default")
    make_chain(client)
    for batch in (1, 2):
        insert(client, batch)
    part = newest_part(client, cut_off)
    client.close()
    warehouse.kill()
    shutil.rmtree(part)  # As if it had never been given its name; the tables after it have theirs.

    warehouse.start()
    client = connect(warehouse.settings.warehouse, database="default")
    insert(client, 2)
    assert client.query(COUNTS).result_rows == [(20, 20, 20)]
    client.close()


def make_chain(client: Client) -> None:
    """A table, a view behind it, and a view of sums behind that one."""
    client.command("CREATE DATABASE chain")
    client.command(f"CREATE TABLE chain.landed (id UInt64) ENGINE = MergeTree ORDER BY id {WINDOW}")
    client.command(f"CREATE TABLE chain.seen (id UInt64) ENGINE = MergeTree ORDER BY id {WINDOW}")
    client.command("CREATE MATERIALIZED VIEW chain.seen_mv TO chain.seen AS SELECT id FROM chain.landed")
    client.command(f"CREATE TABLE chain.counted (n UInt64) ENGINE = MergeTree ORDER BY n {WINDOW}")
    client.command("CREATE MATERIALIZED VIEW chain.counted_mv TO chain.counted AS SELECT count() AS n FROM chain.seen")


def insert(client: Client, batch: int) -> None:
    client.insert(
        "chain.landed",
        [[batch * 100 + number] for number in range(10)],
        column_names=["id"],
        settings={"insert_deduplication_token": f"batch-{batch}"},
    )


def newest_part(client: Client, name: str) -> Path:
    query = """
        SELECT path FROM system.parts
        WHERE active AND database = 'chain' AND table = {name:String} ORDER BY min_block_number DESC LIMIT 1
    """
    return Path(client.query(query, {"name": name}).result_rows[0][0])
