"""How librdkafka is configured: its names for what the settings say.

Options: https://github.com/confluentinc/librdkafka/blob/v2.16.0/CONFIGURATION.md
"""

from collections.abc import Callable
from typing import Any

from wakeline.errors import StreamError
from wakeline.settings import KafkaSettings

#: A request that a broker leaves unanswered for so long is given up with its connection; a dead machine says nothing.
SOCKET_MS = 10_000
# How long a broker that came back may go unnoticed.
_RECONNECT_MS = 1_000

#: librdkafka's option -> value.
Config = dict[str, Any]


def client_config(settings: KafkaSettings) -> Config:
    """What every client needs to come in. Raises StreamError when a package or a setting is missing."""
    config: Config = {
        "bootstrap.servers": settings.brokers,
        "security.protocol": settings.security_protocol,
        "socket.timeout.ms": SOCKET_MS,
        "socket.keepalive.enable": True,
        "reconnect.backoff.max.ms": _RECONNECT_MS,
        # It would write to stderr, many lines a second while a broker is away.
        "log_level": 0,
    }
    if settings.ca_file is not None:
        if not settings.ca_file.is_file():
            raise StreamError(f"stream.kafka.ca_file is {settings.ca_file}, which is no file; correct it.")
        config["ssl.ca.location"] = str(settings.ca_file)
    if settings.security_protocol.startswith("SASL"):
        config |= _credentials(settings)
    return config


def _credentials(settings: KafkaSettings) -> Config:
    if settings.sasl_mechanism == "AWS_MSK_IAM":
        return {"sasl.mechanism": "OAUTHBEARER", "oauth_cb": _msk_tokens(settings.region)}
    return {
        "sasl.mechanism": settings.sasl_mechanism,
        "sasl.username": settings.username,
        "sasl.password": settings.password,
    }


def _msk_tokens(region: str) -> Callable[[str], tuple[str, float]]:
    """Gives a token and when it expires, in seconds since 1970; librdkafka asks again before that."""
    if not region:
        raise StreamError(
            "stream.kafka.sasl_mechanism is AWS_MSK_IAM: set stream.kafka.region to the cluster's region."
        )
    try:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider
    except ImportError as error:
        raise StreamError(
            "stream.kafka.sasl_mechanism is AWS_MSK_IAM, which needs a package that is not installed; run"
            " 'pip install aws-msk-iam-sasl-signer-python', or install Wakeline with the extra 'msk'."
        ) from error

    def token(_: str) -> tuple[str, float]:
        signed, expires_at_ms = MSKAuthTokenProvider.generate_auth_token(region)
        return signed, expires_at_ms / 1000

    return token
