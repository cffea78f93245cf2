"""`wakeline campaigns`, `wakeline pause` and `wakeline resume`."""

import click

from wakeline.by_hand import by_option, doer, json_option, tell
from wakeline.clock import system_clock, to_iso
from wakeline.settings import load_settings


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
@by_option
@json_option
def pause(campaign: str, reason: str, by: str | None, as_json: bool) -> None:
    """Hold the mails of CAMPAIGN until it is resumed, transactional ones as well.

    Mails that expire in the meantime are skipped. A campaign that is paused already stays so, with its first reason.
    """
    from wakeline.activation.control import open_control
    from wakeline.replay.audit import Doing, audited_on

    who, settings = doer(by), load_settings()
    doing = Doing("pause", who, "", {"campaign": campaign, "reason": reason})
    with audited_on(settings, system_clock, doing), open_control(settings, system_clock) as control:
        paused = control.pause(campaign, who, reason)
    found = {
        "campaign": campaign,
        "paused_at": to_iso(paused["paused_at_ms"]),
        "paused_by": paused["paused_by"],
        "pause_reason": paused["reason"],
    }
    since = f"since {found['paused_at']} by {found['paused_by']}: {found['pause_reason']}"
    tell(found, f"{campaign} is paused {since}", as_json)


@click.command()
@click.argument("campaign")
@by_option
@json_option
def resume(campaign: str, by: str | None, as_json: bool) -> None:
    """Let the mails of CAMPAIGN go on, those held as well."""
    from wakeline.activation.control import open_control
    from wakeline.replay.audit import Doing, audited_on

    who, settings = doer(by), load_settings()
    doing = Doing("resume", who, "", {"campaign": campaign})
    with audited_on(settings, system_clock, doing) as result, open_control(settings, system_clock) as control:
        resumed = result["was_paused"] = control.resume(campaign, who)
    said = f"{campaign} is resumed." if resumed else f"{campaign} was not paused."
    tell({"campaign": campaign, "was_paused": resumed}, said, as_json)
