"""`wakeline audit`."""

import click

from wakeline.settings import load_settings


@click.command()
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="How many, newest first.")
@click.option("--json", "as_json", is_flag=True, help="Print the entries as JSON.")
def audit(limit: int, as_json: bool) -> None:
    """Show what was done by hand: who, when, what, and what came of it."""
    import orjson
    from rich.console import Console

    from wakeline.engines import open_database
    from wakeline.replay.audit import open_audit
    from wakeline.replay.audit_view import audit_table, described

    database = open_database(load_settings())
    try:
        entries = open_audit(database).latest(limit)
    finally:
        database.dispose()
    if as_json:
        click.echo(orjson.dumps(list(map(described, entries))).decode())
    elif entries:
        Console().print(audit_table(entries))
    else:
        click.echo("Nothing was done by hand yet.")
