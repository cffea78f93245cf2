"""The one line of a long error that says what is wrong."""

import re

UNKNOWN = "no reason is known"
_MOST = 300
#: People's, and what is in a URL before its host: an error may quote anything, and channels are outside.
_ADDRESS = re.compile(r"[^\s<>()'\",;=]+@[^\s<>()'\",;]*[^\s<>()'\",;.:]")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
#: What dagster-dbt says before it comes to the point.
_DBT = "Errors parsed from dbt logs:"
#: What dbt says before an error that is of no model in particular.
_PREAMBLE = "Encountered an error:"


def gist(said: str) -> str:
    """The first line of an error; of one of dbt the first line of what dbt said, with what follows a bare heading.

    Without addresses of e-mail.
    """
    text = _COLOURS.sub("", said)
    said_last = text.rpartition(_DBT)[2].replace(_PREAMBLE, "")
    lines = [line.strip() for line in said_last.splitlines() if line.strip()]
    if not lines:
        return UNKNOWN
    # "Database Error in model products (models/marts/products.sql)" is followed by what the database said.
    told = f"{lines[0]}: {lines[1]}" if _DBT in text and len(lines) > 1 else lines[0]
    return _ADDRESS.sub("***", told)[:_MOST]
