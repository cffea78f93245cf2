"""`wakeline alerts`, `wakeline test-alert`, `wakeline silence` and `wakeline unsilence`."""

import re

import click

from wakeline.by_hand import by_option, doer, json_option, tell
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
@json_option
def test_alert(channel: str | None, as_json: bool) -> None:
    """Send a test message through CHANNEL, or through every channel, and say what came of it.

    The exit code is 1 when a channel did not take it.
    """
    from wakeline.alerts.trial import try_channels

    results = try_channels(load_settings(), channel, system_clock())
    found = [{"channel": name, "taken": error is None, "error": error} for name, error in results.items()]
    said = [f"{name}: {'the channel took it' if error is None else error}" for name, error in results.items()]
    tell(found, "\n".join(said), as_json)
    if any(results.values()):
        raise click.exceptions.Exit(1)


@click.command()
@click.option("--for", "for_ms", callback=_duration, required=True, metavar="TIME", help="How long: 30m, 2h, 1d.")
@click.option("--concern", default="", metavar="NAME", help="Only this concern; see docs/alerts.md.")
@click.option("--key", default="", metavar="KEY", help="Only this key, as `wakeline alerts` shows it; * is anything.")
@click.option("--reason", required=True, metavar="TEXT", help="Why; shown by `wakeline alerts`.")
@by_option
@json_option
def silence(for_ms: int, concern: str, key: str, reason: str, by: str | None, as_json: bool) -> None:
    """Tell nothing new for a while; what is still wrong at its end is told then.

    What is open stays open, and its recovery is told. Without --concern and --key all is silenced.
    """
    from wakeline.alerts.book import open_book
    from wakeline.alerts.overview import described_silence
    from wakeline.alerts.silencing import begin
    from wakeline.replay.audit import Doing, audited_on

    who, settings = doer(by), load_settings()
    asked_for = {"for_seconds": for_ms // 1000, "concern": concern, "key": key, "reason": reason}
    with (
        audited_on(settings, system_clock, Doing("silence", who, "", asked_for)) as result,
        open_book(settings) as book,
    ):
        asked = begin(book.store, for_ms, concern, key, reason, who, system_clock())
        result |= {"silence": asked.silence_id, "until": to_iso(asked.until_ms)}
    about = " and ".join(filter(None, (concern, key))) or "everything"
    tell(described_silence(asked), f"Silence {asked.silence_id} for {about} until {result['until']}.", as_json)


@click.command()
@click.argument("silence_id", type=int, required=False, metavar="[SILENCE]")
@click.option("--all", "all_of_them", is_flag=True, help="End all of them.")
@by_option
@json_option
def unsilence(silence_id: int | None, all_of_them: bool, by: str | None, as_json: bool) -> None:
    """End a silence now: SILENCE is the number that `wakeline alerts` shows."""
    from wakeline.alerts.book import open_book
    from wakeline.alerts.silencing import end
    from wakeline.replay.audit import Doing, audited_on

    if all_of_them == (silence_id is not None):
        raise click.UsageError("Give the number of a silence, or --all.")
    settings = load_settings()
    doing = Doing("unsilence", doer(by), "", {"silence": "all" if all_of_them else silence_id})
    with audited_on(settings, system_clock, doing) as result, open_book(settings) as book:
        count = result["ended"] = end(book.store, silence_id, system_clock())
    tell({"ended": count}, f"{count} ended." if all_of_them else f"Silence {silence_id} is ended.", as_json)
