"""Rebuilding profiles from landing, from Dagster's UI."""

import time
from collections.abc import Callable
from dataclasses import asdict

import dagster as dg
from pydantic import Field

from orchestration.auditing import ByHand, audited_run
from orchestration.configuration import KIND_TAG, settings
from wakeline.clock import system_clock
from wakeline.replay.factory import deployed_chain, open_rebuild
from wakeline.replay.rebuild import Order, RebuildResult

_SAY_SECONDS = 30.0


class RebuildConfig(ByHand):
    """What is rebuilt, and whether it is done or only said."""

    models: list[str] = Field(
        [],
        description="Models to rebuild, e.g. person_states; empty: all tables behind landing. A name that is none fails"
        " the run and changes nothing.",
    )
    execute: bool = Field(
        False, description="false only says which tables, how many rows and about how long; true does it."
    )
    accept_missing: int = Field(
        0,
        ge=0,
        description="How many events are allowed to be lost: those that landing had once and has no more. Type the"
        " number that the dry run says; any other fails the run.",
    )


@dg.op(description="Fills a second set of tables from landing and exchanges it, or only says what that would be.")
def rebuild(context: dg.OpExecutionContext, config: RebuildConfig) -> None:
    say, holder = context.log.info, f"run {context.run_id}"
    order = Order(tuple(config.models), config.execute, config.accept_missing)
    with audited_run(context, settings(), system_clock, config.by, asdict(order)) as result:
        chain = deployed_chain(settings(), config.models)
        with open_rebuild(settings(), holder, system_clock, say, _progress(say)) as opened:
            rebuilt = opened.run(chain, order)
        result |= rebuilt.counts()
    _say_what_is_next(context, rebuilt)


@dg.job(
    executor_def=dg.in_process_executor,
    tags={KIND_TAG: "replay"},
    description="Rebuilds profile tables from landing while events flow: first as a dry run, then for real. The lanes"
    " stand still for about a second at the end. Sends nothing.",
)
def rebuild_profiles() -> None:
    rebuild()


def _progress(say: Callable[[str], None]) -> Callable[[int, int], None]:
    """Says how far it is now and then: a line for each insert would be thousands."""
    said = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said > _SAY_SECONDS:
            said = time.monotonic()
            say(f"{done} of {total} rows of landing")

    return progress


def _say_what_is_next(context: dg.OpExecutionContext, result: RebuildResult) -> None:
    if not result.executed:
        context.log.info("Nothing was changed: this was a dry run; run it again with execute: true")
    if result.changed_columns:
        context.log.warning("Columns changed in %s: run 'wakeline deploy' now", ", ".join(result.changed_columns))
