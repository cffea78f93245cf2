"""Amazon SES, API version 2.

Call: https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html
Refusals: https://docs.aws.amazon.com/ses/latest/dg/troubleshoot-error-messages.html
"""

import re
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError, SSLError
from botocore.parsers import ResponseParserError

from wakeline.activation.addresses import parse_address
from wakeline.activation.esp.message import to_bytes
from wakeline.activation.esp.metadata import CAMPAIGN, KEY
from wakeline.activation.esp.protocol import Accepted, Mail, Outcome, Rejected, TryLater, Unknown
from wakeline.activation.esp.reasons import clean_reason
from wakeline.activation.esp.settings import SesEsp
from wakeline.aws import open_session
from wakeline.clock import Clock
from wakeline.errors import ConfigError

if TYPE_CHECKING:
    from mypy_boto3_sesv2.client import SESV2Client
    from mypy_boto3_sesv2.type_defs import SendEmailRequestTypeDef

_LATER_SECONDS = 5.0
#: Somebody has to look at the settings or at the account first.
_SETTINGS_SECONDS = 60.0
#: "Wait for an interval of up to 10 minutes": manage-sending-quotas-errors.html of the same guide.
_DAILY_QUOTA_SECONDS = 600.0

_THROTTLED = frozenset({"TooManyRequestsException", "ThrottlingException", "Throttling", "RequestLimitExceeded"})
_NOT_NOW = frozenset({429, 503})
#: No proof that nothing was sent: the guide asks for pauses "to reduce the likelihood of generating duplicates".
_SERVER_ERROR = 500
#: What `MessageRejected` says when it is not the mail's content that is refused.
_NOT_THE_CONTENT = re.compile(r"not verified|paused|suspended|disabled|quota|sending rate", re.IGNORECASE)
#: What `BadRequestException` says of an address of the mail; the sender's was read when the campaign was loaded.
_ADDRESS_REFUSED = re.compile(
    r"illegal address|missing final|domain (contains|starts|ends)|local address", re.IGNORECASE
)
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
#: TLS was not agreed on, so that nothing was said.
_NO_TLS = ("CERTIFICATE_VERIFY_FAILED", "WRONG_VERSION_NUMBER", "HANDSHAKE")


class Ses:
    """Sends raw messages, so that every header of ours is kept; SES replaces `Message-ID` and `Date` only.

    Safe to use from several threads. Raises ConfigError when region or address are missing or cannot be one.
    """

    idempotency_key_seconds = 0.0

    def __init__(self, name: str, section: SesEsp, clock: Clock) -> None:
        self.name = name
        self._section = section
        self._clock = clock
        self._session = open_session(section.region, section.role_arn)
        self._client = _open_client(name, section, self._session)

    def send(self, mail: Mail) -> Outcome:
        """What the answer of SES means, or what is certain of the mail without one."""
        try:
            request = self._request(mail)
        except ValueError as error:
            return Rejected(f"no valid message can be written: {error}")
        try:
            self._renew_credentials()
        except (BotoCoreError, ClientError) as error:
            return TryLater(_SETTINGS_SECONDS, f"there are no AWS credentials for esp.{self.name}: {error}")
        try:
            provider_id = self._client.send_email(**request).get("MessageId", "")
        except ClientError as error:
            return self._refused(error)
        except BotoCoreError as error:
            return _unanswered(error)
        except ResponseParserError as error:
            return Unknown(f"the answer cannot be read: {error}")
        return Accepted(provider_id) if provider_id else Unknown("the answer has no MessageId, and may be another's")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _request(self, mail: Mail) -> "SendEmailRequestTypeDef":
        """Without the sender as a parameter: the From header has its name as well."""
        request: SendEmailRequestTypeDef = {
            "Content": {"Raw": {"Data": to_bytes(mail, self._clock())}},
            "Destination": {"ToAddresses": [parse_address(mail.to).addr_spec]},
            "EmailTags": [{"Name": name, "Value": value} for name, value in _tags(mail).items()],
        }
        if self._section.configuration_set:
            request["ConfigurationSetName"] = self._section.configuration_set
        return request

    def _renew_credentials(self) -> None:
        """Before the call: a lost answer of the service that gives them out says nothing about the mail."""
        credentials = self._session.get_credentials()
        if credentials is not None:
            credentials.get_frozen_credentials()

    def _refused(self, error: ClientError) -> Outcome:
        code = str(error.response["Error"].get("Code", ""))
        message = str(error.response["Error"].get("Message", ""))
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        reason = clean_reason(f"{code}: {message}")
        if code in _THROTTLED:
            return TryLater(_DAILY_QUOTA_SECONDS if "aily" in message else _LATER_SECONDS, reason)
        if status in _NOT_NOW:
            return TryLater(_LATER_SECONDS, reason)
        if status >= _SERVER_ERROR:
            return Unknown(reason)
        if _is_final(code, message):
            return Rejected(reason)
        return TryLater(_SETTINGS_SECONDS, f"look at the settings esp.{self.name} and at the account: {reason}")


def _open_client(name: str, section: SesEsp, session: boto3.Session) -> "SESV2Client":
    config = Config(
        connect_timeout=section.timeout_seconds,
        read_timeout=section.timeout_seconds,
        # A call tried again by the library could send a second mail.
        retries={"total_max_attempts": 1},
        max_pool_connections=section.concurrency,
    )
    try:
        return session.client("sesv2", endpoint_url=section.endpoint_url, config=config)
    except BotoCoreError as error:
        raise ConfigError(f"esp.{name} cannot be used; correct its region or its credentials ({error}).") from error


def _tags(mail: Mail) -> dict[str, str]:
    """What `wakeline.collector.webhooks.ses` reads; a tag cannot hold the colon of a profile id."""
    return {name: value for name, value in {KEY: mail.key, CAMPAIGN: mail.campaign}.items() if _TAG.fullmatch(value)}


def _is_final(code: str, message: str) -> bool:
    """Whether this mail is refused for what is in it. All else may be mended, and no mail be lost until it is."""
    if code == "MessageRejected":
        return not _NOT_THE_CONTENT.search(message)
    return code == "BadRequestException" and bool(_ADDRESS_REFUSED.search(message))


def _unanswered(error: BotoCoreError) -> Outcome:
    """What is certain of a call that ended without an answer.

    The library tells apart whether a connection was made, and not how much of the request went over it.
    """
    reason = clean_reason(f"{type(error).__name__}: {error}")
    if isinstance(error, SSLError):
        nothing_left = any(what in str(error).upper() for what in _NO_TLS)
    else:
        nothing_left = isinstance(error, ConnectionError) or not isinstance(error, HTTPClientError)
    return TryLater(_LATER_SECONDS, f"SES was not reached: {reason}") if nothing_left else Unknown(reason)
