"""The `[webhooks.NAME]` tables of the settings: which provider may tell something, and how it proves who it is."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from wakeline.section import Section

_Secret = Annotated[str, StringConstraints(min_length=8)]
_TopicArn = Annotated[str, StringConstraints(pattern=r"^arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_.-]+$")]


class SesWebhook(Section):
    """Amazon SES, through an SNS topic."""

    kind: Literal["ses"] = Field(description="Amazon SES, through an SNS topic.")
    topic_arns: list[_TopicArn] = Field(
        min_length=1, description="SNS topics that are listened to; their subscriptions are confirmed by themselves."
    )


class SendgridWebhook(Section):
    """SendGrid's signed event webhook."""

    kind: Literal["sendgrid"] = Field(description="SendGrid's signed event webhook.")
    public_key: str = Field(description="Verification key of the signed event webhook, as SendGrid shows it.")


class PostmarkWebhook(Section):
    """Postmark's webhooks, which are not signed: Postmark sends the user name and password of the address."""

    kind: Literal["postmark"] = Field(description="Postmark's webhooks.")
    username: str = Field(min_length=1, description="User name in the address that Postmark was given.")
    password: _Secret = Field(description="Password in the address that Postmark was given.")


class MailgunWebhook(Section):
    """Mailgun's webhooks."""

    kind: Literal["mailgun"] = Field(description="Mailgun's webhooks.")
    signing_key: _Secret = Field(description="Mailgun's HTTP webhook signing key.")


class ResendWebhook(Section):
    """Resend's webhooks, signed by Svix."""

    kind: Literal["resend"] = Field(description="Resend's webhooks.")
    signing_secret: Annotated[str, StringConstraints(pattern=r"^whsec_[A-Za-z0-9+/=]{8,}$")] = Field(
        description="Signing secret of the webhook, whsec_..."
    )


class HubspotWebhook(Section):
    """HubSpot's webhooks: changes of contacts and companies."""

    kind: Literal["hubspot"] = Field(description="HubSpot's webhooks.")
    client_secret: _Secret = Field(description="Client secret of the HubSpot app.")


class SalesforceWebhook(Section):
    """Salesforce: outbound messages, and change data capture as JSON; both with HTTP basic auth."""

    kind: Literal["salesforce"] = Field(description="Salesforce's outbound messages and change events.")
    organization_id: Annotated[str, StringConstraints(pattern=r"^00D[A-Za-z0-9]{12}([A-Za-z0-9]{3})?$")] = Field(
        description="Id of the Salesforce organization; messages of another are refused."
    )
    username: str = Field(min_length=1, description="User name in the address that Salesforce was given.")
    password: _Secret = Field(description="Password in the address that Salesforce was given.")


WebhookSettings = Annotated[
    SesWebhook
    | SendgridWebhook
    | PostmarkWebhook
    | MailgunWebhook
    | ResendWebhook
    | HubspotWebhook
    | SalesforceWebhook,
    Field(discriminator="kind"),
]
