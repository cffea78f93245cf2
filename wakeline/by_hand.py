"""What commands that change something have in common: who does it, and what came of it, for people or for scripts."""

import getpass
from typing import Any

import click

by_option = click.option("--by", metavar="NAME", help="Who does it; without it the login name.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def doer(by: str | None) -> str:
    """Who does it: the name that was given, or the login name."""
    return by or getpass.getuser()


def tell(found: Any, said: str, as_json: bool) -> None:
    """Print what came of it: the sentence, or the same as JSON."""
    import orjson

    click.echo(orjson.dumps(found).decode() if as_json else said)
