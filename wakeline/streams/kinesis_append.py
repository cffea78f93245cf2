"""Puts events into Kinesis until each of them is durable, or patience ends."""

from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING

from wakeline.errors import StreamFullError
from wakeline.streams.kinesis_client import Api
from wakeline.streams.kinesis_entries import in_calls
from wakeline.streams.kinesis_errors import FAULTS, explained, is_transient

if TYPE_CHECKING:
    from mypy_boto3_kinesis.type_defs import PutRecordsRequestEntryTypeDef, PutRecordsResultEntryTypeDef

    Entry = PutRecordsRequestEntryTypeDef

# A shard takes a megabyte a second: what is full now has room then.
_RETRY_SECONDS = 1


def put_all(api: Api, events: Sequence[tuple[str, bytes]]) -> None:
    """Returns once all events are durable.

    A call's refused events are put again, until `append_seconds` have gone by for it: StreamFullError. An answer that
    got lost makes the whole call be put again, so an event may stand there twice. Raises StreamError for an event that
    is too large, before any is put.
    """
    for call in list(in_calls(events)):
        _put(api, call)


def _put(api: Api, entries: list["Entry"]) -> None:
    give_up_at = api.waiting.monotonic() + api.settings.append_seconds
    for failures in count():
        entries, reason = _refused(api, entries)
        if not entries:
            return
        if api.waiting.monotonic() >= give_up_at:
            seconds = f"{api.settings.append_seconds:g}"
            raise StreamFullError(f"Events could not be appended for {seconds} seconds: {reason}", _RETRY_SECONDS)
        api.waiting.sleep(api.waiting.backoff(failures))


def _refused(api: Api, entries: list["Entry"]) -> tuple[list["Entry"], str]:
    """What of the entries was not taken, and a sentence with the reason."""
    try:
        answer = api.ready().put_records(StreamName=api.settings.stream, Records=entries)
    except FAULTS as error:
        if not is_transient(error):
            raise explained(error, api.settings) from error
        return entries, str(explained(error, api.settings))
    results = answer["Records"]
    refused = [entry for entry, result in zip(entries, results, strict=True) if result.get("ErrorCode")]
    return refused, _reason(api, results)


def _reason(api: Api, results: Sequence["PutRecordsResultEntryTypeDef"]) -> str:
    said = next((f"{one['ErrorCode']}: {one.get('ErrorMessage')}" for one in results if one.get("ErrorCode")), "")
    return f"Kinesis takes no more for now; add shards to the stream '{api.settings.stream}' ({said})."
