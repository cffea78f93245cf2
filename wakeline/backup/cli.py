"""`wakeline backup` and `wakeline restore`."""

import shlex
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wakeline.by_hand import by_option, doer, json_option, tell
from wakeline.clock import system_clock, to_epoch_ms, to_iso

if TYPE_CHECKING:
    from wakeline.backup.making import Progress

_SHOW_EVERY_SECONDS = 2.0


def _command(context: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """The words of a command line; without one none."""
    if value is None:
        return ()
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise click.BadParameter(f"'{value}' is no command: {str(error).lower()}.") from None
    if not words:
        raise click.BadParameter("it is empty; name a command, or leave the option out.")
    return tuple(words)


@click.command()
@click.argument("target", type=click.Path(path_type=Path))
@click.option(
    "--while-held",
    callback=_command,
    metavar="COMMAND",
    help="Run this as well while the lanes stand still, e.g. the backup of an outside ClickHouse.",
)
@by_option
@json_option
def backup(target: Path, while_held: tuple[str, ...], by: str | None, as_json: bool) -> None:
    """Back up all state to the new folder TARGET while the stack works.

    The folder holds personal data and secrets. It is a whole backup once it is there under its name.
    """
    from wakeline.backup.making import Backup
    from wakeline.cli import config_file
    from wakeline.replay.audit import Doing, audited_on
    from wakeline.settings import load_settings

    settings = load_settings()
    # Only its name: in its arguments there may be a password.
    doing = Doing("backup", doer(by), "", {"target": str(target.resolve()), "while_held": next(iter(while_held), "")})
    with audited_on(settings, system_clock, doing) as result:
        manifest = Backup(settings, config_file(), target, system_clock, _progress("backup"), while_held).make()
        result |= manifest.facts()
    said = (
        f"Backed up to {target}: the state of {to_iso(manifest.held_at_ms)}, {len(manifest.files)} files,"
        f" {manifest.bytes:,} bytes. The lanes stood still for {manifest.held_seconds:.2f} s."
    )
    tell(manifest.model_dump(mode="json"), said, as_json)


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--stopped-at",
    metavar="TIME",
    help="When the old stack was gone, e.g. 2026-05-01T10:00:00Z: mails about what occurred before then are held."
    "  [default: now]",
)
@by_option
@json_option
def restore(source: Path, stopped_at: str | None, by: str | None, as_json: bool) -> None:
    """Restore the backup in the folder SOURCE into an empty data folder; the stack must not run.

    Mails may have gone out after the backup was made, and the restored ledger does not know of them. So what occurred
    before now is held, as the campaign restored-mails shows: 'wakeline resume restored-mails' lets it go.
    """
    from wakeline.backup.restoring import Restore
    from wakeline.cli import config_file
    from wakeline.settings import read_settings

    stopped_at_ms = _time(stopped_at) if stopped_at else None
    settings, path = read_settings(), config_file()
    manifest = Restore(settings, path, source, stopped_at_ms, doer(by), system_clock, _progress("restore")).run()
    said = (
        f"Restored {settings.data_dir} as it was at {to_iso(manifest.held_at_ms)}. Mails about what occurred since may"
        " be out already: they are held. See 'wakeline campaigns', and 'Backup and restore' in docs/operations.md."
    )
    tell(manifest.model_dump(mode="json"), said, as_json)


def _time(text: str) -> int:
    try:
        return to_epoch_ms(datetime.fromisoformat(text))
    except ValueError:
        raise click.BadParameter(f"'{text}' is no time; write e.g. 2026-05-01T10:00:00Z.") from None


def _progress(command: str) -> "Progress":
    from wakeline.backup.making import Progress

    step, shown_at = "", 0.0

    def say(name: str) -> None:
        nonlocal step, shown_at
        step, shown_at = name, time.monotonic()
        click.echo(f"{command}: {name}", err=True)

    def show(share: float) -> None:
        nonlocal shown_at
        if time.monotonic() - shown_at > _SHOW_EVERY_SECONDS:
            shown_at = time.monotonic()
            click.echo(f"{command}: {step}, {share:.0%}", err=True)

    return Progress(say, show)
