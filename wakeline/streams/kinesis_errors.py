"""What Kinesis and its client refuse: which of it passes by itself, and a sentence for the rest."""

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    SSLError,
)

from wakeline.errors import StreamError, StreamFullError
from wakeline.settings import KinesisSettings

# What a client is asked to wait when patience has ended: seconds did not help.
_RETRY_SECONDS = 10

#: Everything that a call raises which is no bug of ours.
FAULTS = (BotoCoreError, ClientError)

_THROTTLED = {"ProvisionedThroughputExceededException", "LimitExceededException", "KMSThrottlingException"}
_THROTTLED |= {"ThrottlingException", "Throttling", "RequestLimitExceeded"}
_BROKEN = {"InternalFailure", "InternalFailureException", "ServiceUnavailable", "InternalServerError"}
_WRONG_CREDENTIALS = {"UnrecognizedClientException", "InvalidSignatureException", "InvalidClientTokenId"}
_WRONG_CREDENTIALS |= {"IncompleteSignature", "MissingAuthenticationTokenException", "SignatureDoesNotMatch"}
_EXPIRED_CREDENTIALS = {"ExpiredTokenException", "ExpiredToken"}
_DENIED = {"AccessDeniedException", "AccessDenied", "KMSAccessDeniedException"}
# Where credentials come from is boto3's to say.
_CREDENTIALS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the role of the machine"


def code_of(error: Exception) -> str:
    """The error code of a refusal; empty when nobody answered."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, ClientError) else ""


def is_transient(error: Exception) -> bool:
    """Whether the same call may succeed a little later."""
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return code_of(error) in _THROTTLED | _BROKEN or status >= 500
    return isinstance(error, ConnectionError | HTTPClientError) and not isinstance(error, SSLError)


def explained(error: Exception, settings: KinesisSettings) -> StreamError:
    """One sentence that says what is wrong and what to do; a StreamFullError where it may pass by itself."""
    sentence = _sentence(error, f"the Kinesis stream '{settings.stream}'", settings)
    return StreamFullError(sentence, _RETRY_SECONDS) if is_transient(error) else StreamError(sentence)


def _sentence(error: Exception, name: str, settings: KinesisSettings) -> str:
    if isinstance(error, ClientError):
        return _refusal(error, name, settings)
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return f"There are no AWS credentials for {name}; set {_CREDENTIALS} ({error})."
    if isinstance(error, NoRegionError):
        return f"There is no AWS region for {name}; set stream.kinesis.region or AWS_DEFAULT_REGION."
    if isinstance(error, ConnectionError | HTTPClientError):
        return (
            f"Kinesis does not answer for {name}; correct stream.kinesis.endpoint_url or stream.kinesis.region, or look"
            f" at the network ({error})."
        )
    return f"A call for {name} failed: {error}."


def _refusal(error: ClientError, name: str, settings: KinesisSettings) -> str:
    code = code_of(error)
    said = f"{code}: {error.response.get('Error', {}).get('Message', '')}"
    if code in _WRONG_CREDENTIALS:
        return f"AWS does not know the credentials for {name}; correct {_CREDENTIALS} ({said})."
    if code in _EXPIRED_CREDENTIALS:
        return f"The AWS credentials for {name} have expired; renew {_CREDENTIALS} ({said})."
    if code in _DENIED:
        role = settings.role_arn or "the identity in use"
        return f"AWS does not allow this on {name}; give {role} the actions in docs/kinesis.md ({said})."
    if code == "ResourceNotFoundException":
        return (
            f"The Kinesis stream '{settings.stream}' or a shard or event of it does not exist; correct"
            f" stream.kinesis.stream and region, or restart to make it anew ({said})."
        )
    if code in _THROTTLED:
        return f"Kinesis is asked for more than {name} allows; add shards or take other readers away ({said})."
    return f"Kinesis refuses a call for {name} ({said})."
