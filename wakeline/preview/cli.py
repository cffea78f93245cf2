"""`wakeline preview` and `wakeline test-send`: mails to look at before anybody gets one."""

import secrets
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import click
import orjson

from wakeline.activation.campaigns import Campaign
from wakeline.activation.esp.factory import open_esp
from wakeline.activation.esp.protocol import Accepted, Mail
from wakeline.clock import system_clock
from wakeline.errors import WakelineError
from wakeline.preview import mails
from wakeline.preview.files import HTML_FILE, write_mail
from wakeline.preview.mails import Material
from wakeline.settings import Settings, load_settings

#: Longer than a send's key, which has 32 hex digits: a test mail can never be taken for a send.
_TEST_KEY_BYTES = 20
#: How long a provider's rate limit may hold up a test mail.
_PATIENCE_SECONDS = 30.0
_PREVIEW_KEY = "0" * 2 * _TEST_KEY_BYTES
#: How long a test mail waits for its turn with a provider that is used up.
_TURN_SECONDS = 10.0

_person = click.option("--person", metavar="ID_OR_ADDRESS", help="Real person: user:ID, anonymous:ID or an address.")
_sample = click.option(
    "--sample",
    is_flag=True,
    help="With --person: take the context from the campaign's preview, not from what the trigger says of them now.",
)


@click.command()
@click.argument("campaign")
@_person
@_sample
@click.option("--variant", metavar="NAME", help="Only this variant; without it the person's, or all of them.")
@click.option("--open", "open_", is_flag=True, help="Open the mail in the browser.")
@click.option(
    "--output",
    metavar="FOLDER",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to write; without it previews/CAMPAIGN in the data folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was written, subject and headers as JSON.")
def preview(
    campaign: str,
    person: str | None,
    sample: bool,
    variant: str | None,
    open_: bool,
    output: Path | None,
    as_json: bool,
) -> None:
    """Write the mail of CAMPAIGN to files to look at; nothing is sent and nothing recorded.

    It is made from the `preview` in campaign.yml, or with --person from what is known of a person and from what the
    trigger says of them now. A campaign with variants gives one mail each.
    """
    settings = load_settings()
    chosen = mails.chosen_campaign(settings, campaign)
    made_of = mails.material(settings, chosen, person, sample, system_clock)
    folder = output or settings.data_dir / "previews" / campaign
    written = [
        _written(settings, chosen, made_of, one, folder / one) for one in _variants(chosen, made_of, variant, person)
    ]
    click.echo(
        orjson.dumps(written).decode() if as_json else "\n".join(f"{one['html']}: {one['subject']}" for one in written)
    )
    if open_:
        for one in written:
            click.launch(Path(one["html"]).resolve().as_uri())


@click.command()
@click.argument("campaign")
@click.option("--to", required=True, metavar="ADDRESS", help="Who gets it; nobody else does.")
@_person
@_sample
@click.option("--variant", metavar="NAME", help="This variant; without it the one drawn for the person.")
def test_send(campaign: str, to: str, person: str | None, sample: bool, variant: str | None) -> None:
    """Send one mail of CAMPAIGN to an address of yours through the configured ESP, marked [Test] in its subject.

    It is made like a preview. Its links lead where they should, but nothing is recorded of it: no send, no open, no
    click. Its unsubscribe link unsubscribes nobody, and it counts against no cap.
    """
    settings = load_settings()
    chosen = mails.chosen_campaign(settings, campaign)
    drawn_for = mails.material(settings, chosen, person, sample, system_clock)
    made_of = mails.addressed(drawn_for, to)
    one = mails.chosen_variant(chosen, variant) if variant else chosen.variant_of(drawn_for.profile_id)
    key = secrets.token_hex(_TEST_KEY_BYTES)
    mail = mails.marked(mails.render(settings, chosen, made_of, one, key, system_clock))
    click.echo(f"Sent to {mail.to} as {_handed_over(settings, mail)}: {mail.subject}")


def _variants(campaign: Campaign, made_of: Material, variant: str | None, person: str | None) -> list[str]:
    if variant is not None:
        return [mails.chosen_variant(campaign, variant)]
    return [campaign.variant_of(made_of.profile_id)] if person else sorted(campaign.variants) or [""]


def _written(settings: Settings, campaign: Campaign, made_of: Material, variant: str, folder: Path) -> dict[str, Any]:
    mail = mails.render(settings, campaign, made_of, variant, _PREVIEW_KEY, system_clock)
    write_mail(mail, folder)
    return {
        "campaign": campaign.name,
        "variant": variant,
        "to": mail.to,
        "subject": mail.subject,
        "headers": mail.headers,
        "html": str(folder / HTML_FILE),
    }


def _handed_over(settings: Settings, mail: Mail) -> str:
    """The provider's id of the mail."""
    with closing(open_esp(settings, system_clock)) as esp:
        outcome = esp.send(mail, time.monotonic() + _PATIENCE_SECONDS)
    if not isinstance(outcome, Accepted):
        raise WakelineError(f"The mail was not accepted by {' or '.join(settings.activation.esp)}: {outcome.reason}.")
    return outcome.provider_id
