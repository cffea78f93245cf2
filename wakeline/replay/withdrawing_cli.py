"""`wakeline withdraw-reactivation`."""

import getpass

import click

from wakeline.clock import system_clock
from wakeline.settings import load_settings


@click.command()
@click.option("--run", "run_id", default="", metavar="RUN_ID", help="The run of reactivate_window that asked for it.")
@click.option("--campaign", default="", metavar="NAME", help="Only of this campaign, which may be gone.")
@click.option("--by", metavar="NAME", help="Who does it; without it the login name.")
def withdraw_reactivation(run_id: str, campaign: str, by: str | None) -> None:
    """Take back what a re-activated window has left to the lanes and they have not decided; without options list it.

    What is decided stays, and so does the part that a lane is at.
    """
    from dataclasses import asdict

    from wakeline.replay.audit import Doing, audited_on
    from wakeline.replay.withdrawing import Asked, open_queue, waiting_sentence, withdraw

    settings, asked = load_settings(), Asked(run_id, campaign)
    with open_queue(settings) as queue:
        if asked == Asked():
            click.echo(waiting_sentence(queue))
            return
        doing = Doing("withdraw-reactivation", by or getpass.getuser(), "", asdict(asked))
        with audited_on(settings, system_clock, doing) as result:
            result |= withdraw(queue, asked)
    click.echo(f"Withdrawn: {result['parts']} parts with {result['sends']} sends of {', '.join(result['campaigns'])}.")
