"""The `[webhooks.NAME]` tables of the settings: which provider may tell something, and how it proves who it is."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from wakeline.section import Section

_Secret = Annotated[str, StringConstraints(min_length=8)]
#: A token of RFC 9110.
_HEADER_PATTERN = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]*$"
_HeaderName = Annotated[str, StringConstraints(min_length=1, pattern=_HEADER_PATTERN)]
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


class MappedSignature(Section):
    """How the sender signs: HMAC of the body. Either this table or `[webhooks.NAME.shared_secret]`."""

    secret: _Secret = Field(description="Secret that the sender signs with.")
    header: _HeaderName = Field(description="Header that holds the signature, e.g. X-Hub-Signature-256.")
    algorithm: Literal["sha256", "sha1", "sha512"] = Field("sha256", description="Hash function of the HMAC.")
    encoding: Literal["hex", "base64"] = Field("hex", description="How the signature is written.")
    prefix: str = Field("", description='What stands before the signature in the header, e.g. "sha256=".')
    timestamp_header: str = Field(
        "",
        pattern=_HEADER_PATTERN,
        description="Header with the time in seconds or milliseconds; it is signed as TIME.BODY. Empty: none is.",
    )
    tolerance_seconds: float = Field(
        300.0, gt=0, description="A request that was signed longer ago than this is refused."
    )


class MappedSecret(Section):
    """A secret that the sender puts into a header. Either this table or `[webhooks.NAME.signature]`."""

    header: _HeaderName = Field(description="Header that holds the secret, e.g. X-Webhook-Token.")
    value: _Secret = Field(description="The secret, with whatever stands before it in the header.")


class MappedRule(Section):
    """What a body means. All but `type` are JMESPath expressions; a fixed text is written `"'in quotes'"`.

    They see the body; with `each` they see `{"each": element, "body": body}`.
    """

    type: Literal["track", "identify", "page", "screen", "group", "alias"] = Field(
        description="Type of the messages in the Segment spec."
    )
    when: str = Field("", description="The rule is for bodies of which this is true; empty: for all.")
    each: str = Field("", description="A list in the body: each of its elements is a message.")
    event: str = Field("", description="Name of the event; a track needs it.")
    name: str = Field("", description="Name of a page or screen.")
    user_id: str = Field("", description="userId.")
    anonymous_id: str = Field("", description="anonymousId.")
    group_id: str = Field("", description="groupId of a group.")
    previous_id: str = Field("", description="previousId of an alias.")
    message_id: str = Field(
        "", description="What tells messages apart; empty: the body does, so that a repeated one is taken once."
    )
    timestamp: str = Field("", description="ISO 8601, or seconds or milliseconds since 1970; empty: when it came.")
    traits: dict[str, str] = Field(default_factory=dict, description="Trait -> expression.")
    properties: dict[str, str] = Field(default_factory=dict, description="Property -> expression.")

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.type == "track" and not self.event:
            raise ValueError("a rule of type track needs an 'event'")
        return self


class MappedWebhook(Section):
    """Any other system that posts JSON: how it proves that it is itself, and what its bodies mean."""

    kind: Literal["mapped"] = Field(description="Any other system that posts JSON.")
    signature: MappedSignature | None = Field(None, description="How the sender signs.")
    shared_secret: MappedSecret | None = Field(None, description="Or the secret that it sends.")
    rules: list[MappedRule] = Field(
        default_factory=list, description="What bodies mean; a body that no rule is for is kept as `Webhook Received`."
    )

    @model_validator(mode="after")
    def _proven(self) -> Self:
        if (self.signature is None) == (self.shared_secret is None):
            raise ValueError("either a table 'signature' or a table 'shared_secret' is needed")
        return self


WebhookSettings = Annotated[
    SesWebhook
    | SendgridWebhook
    | PostmarkWebhook
    | MailgunWebhook
    | ResendWebhook
    | HubspotWebhook
    | SalesforceWebhook
    | MappedWebhook,
    Field(discriminator="kind"),
]
