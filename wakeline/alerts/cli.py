"""`wakeline alerts`, `wakeline test-alert`, `wakeline silence` and `wakeline unsilence`."""

import getpass
import re

import click

from wakeline.clock import system_clock, to_iso
from wakeline.settings import load_settings

_UNITS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}


def _duration(context: click.Context, param: click.Parameter, value: str) -> int:
    """Milliseconds of `30m`, `2h` or `1d`."""
    found = re.fullmatch(r"(\d{1,4})([mhd])", value)
    if found is None or not int(found[1]):
        raise click.BadParameter(f"'{value}' is no duration; write e.g. 30m, 2h or 1d.")
    return int(found[1]) * _UNITS[found[2]]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def alerts(as_json: bool) -> None:
    """List what is wrong now, what was told last, how the channels fare, and what is silenced."""
    import orjson
    from rich.console import Console

    from wakeline.alerts.book import open_book
    from wakeline.alerts.overview import build_overview, overview_tables

    with open_book(load_settings()) as book:
        found = build_overview(book, system_clock())
    if as_json:
        click.echo(orjson.dumps(found).decode())
    else:
        Console().print(*overview_tables(found), sep="\n")


@click.command("test-alert")
@click.argument("channel", required=False)
def test_alert(channel: str | None) -> None:
    """Send a test message through CHANNEL, or through every channel, and say what came of it."""
    from wakeline.alerts.trial import try_channels

    results = try_channels(load_settings(), channel, system_clock())
    for name, error in results.items():
        click.echo(f"{name}: {'the channel took it' if error is None else error}")
    if any(results.values()):
        raise click.exceptions.Exit(1)


@click.command()
@click.option("--for", "for_ms", callback=_duration, required=True, metavar="TIME", help="How long: 30m, 2h, 1d.")
@click.option("--concern", default="", metavar="NAME", help="Only this concern; see docs/alerts.md.")
@click.option("--key", default="", metavar="KEY", help="Only this key, as `wakeline alerts` shows it; * is anything.")
@click.option("--reason", required=True, metavar="TEXT", help="Why; shown by `wakeline alerts`.")
@click.option("--by", metavar="NAME", help="Who does it; without it the login name.")
def silence(for_ms: int, concern: str, key: str, reason: str, by: str | None) -> None:
    """Tell nothing new for a while; what is still wrong at its end is told then.

    What is open stays open, and its recovery is told. Without --concern and --key all is silenced.
    """
    from wakeline.alerts.book import open_book
    from wakeline.alerts.silencing import begin

    with open_book(load_settings()) as book:
        asked = begin(book.store, for_ms, concern, key, reason, by or getpass.getuser(), system_clock())
    about = " and ".join(filter(None, (concern, key))) or "everything"
    click.echo(f"Silence {asked.silence_id} for {about} until {to_iso(asked.until_ms)}.")


@click.command()
@click.argument("silence_id", type=int, required=False, metavar="[SILENCE]")
@click.option("--all", "all_of_them", is_flag=True, help="End all of them.")
def unsilence(silence_id: int | None, all_of_them: bool) -> None:
    """End a silence now: SILENCE is the number that `wakeline alerts` shows."""
    from wakeline.alerts.book import open_book
    from wakeline.alerts.silencing import end

    if all_of_them == (silence_id is not None):
        raise click.UsageError("Give the number of a silence, or --all.")
    with open_book(load_settings()) as book:
        count = end(book.store, silence_id, system_clock())
    click.echo(f"{count} ended." if all_of_them else f"Silence {silence_id} is ended.")
