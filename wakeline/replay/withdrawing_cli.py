"""`wakeline withdraw-reactivation`."""

import click

from wakeline.by_hand import by_option, doer, json_option, tell
from wakeline.clock import system_clock
from wakeline.settings import load_settings


@click.command()
@click.option("--run", "run_id", metavar="RUN_ID", help="The run of reactivate_window that asked for it.")
@click.option("--campaign", metavar="NAME", help="Only of this campaign, which may be gone.")
@by_option
@json_option
def withdraw_reactivation(run_id: str | None, campaign: str | None, by: str | None, as_json: bool) -> None:
    """Take back what a re-activated window has left to the lanes and they have not decided; without options list it.

    What is decided stays, and so does the part that a lane is at.
    """
    from dataclasses import asdict

    from wakeline.replay.audit import Doing, audited_on
    from wakeline.replay.withdrawing import Asked, counts_of, open_queue, waiting_sentence, withdraw

    settings, asked = load_settings(), Asked(run_id or "", campaign or "")
    with open_queue(settings) as queue:
        if asked == Asked():
            tell(counts_of(queue.parts()), waiting_sentence(queue), as_json)
            return
        doing = Doing("withdraw-reactivation", doer(by), "", asdict(asked))
        with audited_on(settings, system_clock, doing) as result:
            result |= withdraw(queue, asked)
    parts, sends, campaigns = result["parts"], result["sends"], ", ".join(result["campaigns"])
    tell(result, f"Withdrawn: {parts} parts with {sends} sends of {campaigns}.", as_json)
