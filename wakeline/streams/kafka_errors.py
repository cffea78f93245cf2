"""What Kafka and librdkafka refuse, each as one sentence that says what to do.

librdkafka's own word on whether trying again helps (`retriable`, `fatal`) is False for all of these: codes decide.
Codes: https://github.com/confluentinc/librdkafka/blob/v2.16.0/src/rdkafka.h
"""

import re

from confluent_kafka import KafkaError, KafkaException

from wakeline.errors import EventRefusedError, StreamError, StreamFullError
from wakeline.settings import KafkaSettings

# What a client is asked to wait: a broker that is away is not back in a second.
_AWAY_RETRY_SECONDS = 10
_BUSY_RETRY_SECONDS = 1

#: Calls end with these when nobody answers; why is told elsewhere, see `Complaints`.
UNANSWERED = {
    KafkaError._ALL_BROKERS_DOWN,
    KafkaError._MSG_TIMED_OUT,
    KafkaError._TIMED_OUT,
    KafkaError._TIMED_OUT_QUEUE,
    KafkaError._TRANSPORT,
    KafkaError.REQUEST_TIMED_OUT,
}
#: There is no such topic or partition, as far as the broker or the client knows.
MISSING = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}
DENIED = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
}
#: A partition changes its broker, or has just been made; it passes within moments.
MOVING = {
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.OFFSET_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
}
_WRONG_CREDENTIALS = {KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED}
_TOO_LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.RECORD_LIST_TOO_LARGE}
_BUSY = MOVING | {
    KafkaError._FATAL,
    KafkaError._QUEUE_FULL,
    KafkaError.BROKER_NOT_AVAILABLE,
    KafkaError.KAFKA_STORAGE_ERROR,
    KafkaError.NETWORK_EXCEPTION,
    KafkaError.NOT_ENOUGH_REPLICAS,
    KafkaError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    KafkaError.THROTTLING_QUOTA_EXCEEDED,
}

# librdkafka appends how long it tried and in which state, which differs each time and helps nobody.
_TRIED = re.compile(r" \(after \d+ms in state \w+(, \d+ identical error\(s\) suppressed)?\)")


def is_vague(error: KafkaError) -> bool:
    """Whether it tells that connections ended and not why; what was said before it tells more."""
    said = error.str()
    is_end = "isconnected" in said and "handshake" not in said
    return error.code() == KafkaError._ALL_BROKERS_DOWN or is_end


def error_of(raised: KafkaException) -> KafkaError:
    """What a call of librdkafka raised."""
    error: KafkaError = raised.args[0]
    return error


def explained(settings: KafkaSettings, error: KafkaError, told: KafkaError | None, action: str) -> StreamError:
    """One sentence; `told` is the last complaint of the connection, `action` what was not possible ("read")."""
    cause = told if told is not None and error.code() in UNANSWERED else error
    said = _TRIED.sub("", cause.str())
    if cause.code() in _WRONG_CREDENTIALS:
        return StreamError(f"Kafka at {settings.brokers} refuses the credentials; correct {_who(settings)} ({said}).")
    # The same failure comes under several codes, as the time has it.
    if cause.code() == KafkaError._SSL or "SSL handshake" in said or "SSL routines" in said:
        return StreamError(
            f"TLS to Kafka at {settings.brokers} fails; correct stream.kafka.security_protocol and ca_file ({said})."
        )
    if cause.code() in {KafkaError._RESOLVE, *UNANSWERED}:
        return StreamFullError(_away(settings, cause, said), _AWAY_RETRY_SECONDS)
    return _refused(settings, cause, said, action)


def _refused(settings: KafkaSettings, cause: KafkaError, said: str, action: str) -> StreamError:
    topic = f"the topic '{settings.topic}'"
    if cause.code() in DENIED:
        user = settings.username or "this client"
        return StreamError(f"Kafka does not allow {user} to {action} {topic}; give it the rights in docs/kafka.md.")
    if cause.code() in MISSING:
        return StreamError(
            f"Kafka at {settings.brokers} has not got {topic}; correct stream.kafka.topic, or restart to have it made,"
            " with another stream.name if it was deleted."
        )
    if cause.code() in _TOO_LARGE:
        return EventRefusedError(f"An event is larger than {topic} takes; raise its max.message.bytes.")
    if cause.code() in _BUSY:
        return StreamFullError(f"Kafka cannot {action} {topic} for now ({said}).", _BUSY_RETRY_SECONDS)
    return StreamError(f"Kafka refuses to {action} {topic} ({cause.name()}: {said}).")


def _away(settings: KafkaSettings, cause: KafkaError, said: str) -> str:
    where = f"Kafka at {settings.brokers}"
    if cause.code() == KafkaError._RESOLVE or "Connect to" in said:
        return f"{where} cannot be reached; start it, or correct stream.kafka.brokers ({said})."
    if is_vague(cause):
        return f"{where} keeps no connection; see whether it runs, and whether stream.kafka.security_protocol is right."
    return f"{where} does not answer; see whether all its brokers run ({said})."


def _who(settings: KafkaSettings) -> str:
    if settings.sasl_mechanism == "AWS_MSK_IAM":
        return "the AWS credentials of the environment, or give their identity the rights in docs/kafka.md"
    return "stream.kafka.username, password and sasl_mechanism"
