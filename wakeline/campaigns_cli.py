"""`wakeline campaigns`, `wakeline pause` and `wakeline resume`."""

import getpass

import click

from wakeline.clock import system_clock, to_iso
from wakeline.settings import load_settings

_by = click.option("--by", metavar="NAME", help="Who does it; without it the login name.")


@click.command()
@click.option(
    "--hours",
    type=click.FloatRange(min=0, min_open=True),
    default=24.0,
    show_default=True,
    help="How far back sends are counted.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the campaigns as JSON.")
def campaigns(hours: float, as_json: bool) -> None:
    """List the campaigns: whether they run, and what became of their sends.

    Sent, skipped, unknown and failed are those of the last hours; deferred, held and retry all that wait now.
    """
    import orjson
    from rich.console import Console

    from wakeline.overview import build_overview, overview_tables

    found = build_overview(load_settings(), hours, system_clock)
    if as_json:
        click.echo(orjson.dumps(found).decode())
    else:
        Console().print(*overview_tables(found, hours), sep="\n")


@click.command()
@click.argument("campaign")
@click.option("--reason", required=True, metavar="TEXT", help="Why; shown to whoever resumes it.")
@_by
def pause(campaign: str, reason: str, by: str | None) -> None:
    """Hold the mails of CAMPAIGN until it is resumed, transactional ones as well.

    Mails that expire in the meantime are skipped. A campaign that is paused already stays so, with its first reason.
    """
    from wakeline.activation.control import open_control
    from wakeline.replay.audit import Doing, audited_on

    who, settings = by or getpass.getuser(), load_settings()
    doing = Doing("pause", who, "", {"campaign": campaign, "reason": reason})
    with audited_on(settings, system_clock, doing), open_control(settings, system_clock) as control:
        paused = control.pause(campaign, who, reason)
    since = f"since {to_iso(paused['paused_at_ms'])} by {paused['paused_by']}: {paused['reason']}"
    click.echo(f"{campaign} is paused {since}")


@click.command()
@click.argument("campaign")
@_by
def resume(campaign: str, by: str | None) -> None:
    """Let the mails of CAMPAIGN go on, those held as well."""
    from wakeline.activation.control import open_control
    from wakeline.replay.audit import Doing, audited_on

    who, settings = by or getpass.getuser(), load_settings()
    doing = Doing("resume", who, "", {"campaign": campaign})
    with audited_on(settings, system_clock, doing) as result, open_control(settings, system_clock) as control:
        resumed = result["was_paused"] = control.resume(campaign, who)
    click.echo(f"{campaign} is resumed." if resumed else f"{campaign} was not paused.")
