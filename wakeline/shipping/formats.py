"""Which format a line of an access log is in."""

from collections.abc import Callable, Mapping
from contextlib import suppress

from wakeline.shipping.clf import FORMATS, read_clf
from wakeline.shipping.jsonlog import DEFAULT_NAMES, read_json
from wakeline.shipping.request import OtherFormatError, Request

#: Reads the text of a line; raises BadLineError.
Reader = Callable[[str], Request]

FORMAT_NAMES = ("auto", *FORMATS, "json")


def reader_of(format_name: str, own_names: Mapping[str, str]) -> Reader:
    """The reader of this format; `own_names` maps what a JSON line tells to the field it stands in."""
    names = {**DEFAULT_NAMES, **{what: (name,) for what, name in own_names.items()}}
    if format_name == "auto":
        return lambda text: _read_any(text, names)
    if format_name == "json":
        return lambda text: read_json(text, names)
    return lambda text: read_clf(text, format_name)


def _read_any(text: str, names: Mapping[str, tuple[str, ...]]) -> Request:
    if text.startswith("{"):
        return read_json(text, names)
    for format_name in FORMATS:
        with suppress(OtherFormatError):
            return read_clf(text, format_name)
    raise OtherFormatError("it is neither in the combined nor in the common log format, nor JSON")
