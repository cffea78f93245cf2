"""The audit row of a run that somebody started by hand."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg
from pydantic import Field

from wakeline.clock import Clock
from wakeline.replay.audit import Doing, Result, audited_on
from wakeline.settings import Settings

#: The tag of a run that names who started it, for those who launch runs by a program.
BY_TAG = "wakeline/by"
#: What hosted Dagster calls it.
_USER_TAG = "user"
_NOBODY = "Dagster"


class ByHand(dg.Config):
    """The base of the forms of jobs that are started by hand."""

    by: str = Field("", description="Your name, for the audit; open-source Dagster does not know who you are.")


@contextmanager
def audited_run(
    context: dg.OpExecutionContext, settings: Settings, clock: Clock, by: str, config: Mapping[str, Any]
) -> Iterator[Result]:
    """Keeps the run in the audit; what is put into the yielded dictionary is its result, on the run's page as well.

    `config` is what was asked for, without anything about customers.
    """
    doing = Doing(context.job_name, done_by(by, context.run.tags), context.run_id, config)
    with audited_on(settings, clock, doing) as result:
        yield result
    context.add_output_metadata(dict(result))


def done_by(by: str, tags: Mapping[str, str]) -> str:
    """Who started a run: the name in the form, or the one in its tags."""
    return by.strip() or tags.get(BY_TAG) or tags.get(_USER_TAG) or _NOBODY
