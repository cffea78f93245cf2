"""How full the disks of a ClickHouse server are."""

from clickhouse_connect.driver.client import Client


def free_space(client: Client) -> list[tuple[str, int, int]]:
    """Name, free and total bytes of each disk of the server that has a size; object stores have none."""
    rows = client.query("SELECT name, free_space, total_space FROM system.disks WHERE type = 'Local'").result_rows
    return [(str(name), int(free), int(total)) for name, free, total in rows if total]
