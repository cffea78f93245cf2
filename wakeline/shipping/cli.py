"""`wakeline ship-log` and `wakeline send`: events from a server's log, and from scripts."""

import dataclasses
import math
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from wakeline.clock import system_clock
from wakeline.errors import WakelineError
from wakeline.play.interrupt import StopSwitch
from wakeline.settings import load_secrets, load_settings
from wakeline.shipping.batches import batches
from wakeline.shipping.following import follow, look, ship_once
from wakeline.shipping.formats import FORMAT_NAMES, reader_of
from wakeline.shipping.jsonlog import DEFAULT_NAMES
from wakeline.shipping.messages import Rules, page_message
from wakeline.shipping.position_file import PositionFile, default_position_file
from wakeline.shipping.refusals import deliver_in_parts
from wakeline.shipping.sending import (
    MESSAGE_TYPES,
    Outgoing,
    Told,
    build_message,
    event_time_ms,
    outgoing,
    pairs,
    read_messages,
)
from wakeline.shipping.shipper import Counts, Shipper
from wakeline.shipping.transport import carrier, system_pacer, target

_INTERRUPTED = 130
_STDIN = "-"

_URL = click.option(
    "--url", envvar="WAKELINE_URL", help="Address of the collector; without it WAKELINE_URL, then that of the settings."
)
_WRITE_KEY = click.option(
    "--write-key",
    envvar="WAKELINE_WRITE_KEY",
    help="Write key; without it WAKELINE_WRITE_KEY, then that of the settings. Others can see options.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


@click.command("ship-log")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--follow/--once", "follows", default=False, help="Go on as it is written, through rotations. --once ends."
)
@click.option(
    "--format",
    "format_name",
    type=click.Choice(FORMAT_NAMES),
    default="auto",
    show_default=True,
    help="Format of a line; auto looks at each.",
)
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="WHAT=NAME",
    help=f"Where a JSON line says it, e.g. ip=client.addr; can be repeated. WHAT is {', '.join(DEFAULT_NAMES)}.",
)
@click.option(
    "--include",
    multiple=True,
    metavar="GLOB",
    help="Only these paths, whatever their suffix, e.g. /docs/*; can be repeated.",
)
@click.option("--exclude", multiple=True, metavar="GLOB", help="Not these paths, e.g. /admin/*; can be repeated.")
@click.option("--crawlers", is_flag=True, help="Send the page views of crawlers too.")
@click.option("--site", help="What page addresses begin with if the log has no host: https://example.com.")
@click.option("--user-field", help="Field with the user id, or cookie:NAME; remote_user in a text log.")
@click.option("--anonymous-field", help="Field with the anonymous id, or cookie:NAME.")
@click.option("--state", type=click.Path(path_type=Path), help="File that remembers the position; one for each log.")
@click.option(
    "--give-up-after",
    metavar="SECONDS",
    default=120.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="once: stop when the collector has not taken a batch for so long.",
)
@_URL
@_WRITE_KEY
@_JSON
@click.pass_context
def ship_log(
    context: click.Context,
    file: Path,
    follows: bool,
    format_name: str,
    fields: tuple[str, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    crawlers: bool,
    site: str | None,
    user_field: str | None,
    anonymous_field: str | None,
    state: Path | None,
    give_up_after: float,
    url: str | None,
    write_key: str | None,
    as_json: bool,
) -> None:
    """Send the page views in a web server's access log FILE to the collector.

    A page view is a GET of a page that was answered 2xx or 304. What was sent is remembered, so the next start goes
    on there; lines that cannot be read are kept next to the position, in a file that ends in .rejected. Ctrl-C stops
    after the batch under way.
    """
    settings = load_settings()
    positions = PositionFile(state) if state else default_position_file(settings.data_dir, file)
    rules = Rules(
        load_secrets(settings.data_dir).signing_key,
        include,
        exclude,
        site or "",
        user_field or "",
        anonymous_field or "",
        crawlers,
    )
    reader = reader_of(format_name, _own_names(fields))
    to = target(settings.collector, url, write_key)
    with (
        _stoppable() as stopped,
        _progress(follows) as (begin, report),
        carrier(to, system_pacer(stopped), math.inf if follows else give_up_after, _warn) as hands,
    ):
        pacer = system_pacer(stopped)
        shipper = Shipper(
            reader,
            lambda request, message_id: page_message(request, message_id, rules),
            hands.deliver,
            positions,
            system_clock,
            stopped,
            report,
        )
        if follows:
            follow(file, positions, shipper, pacer, _warn)
        else:
            found = look(file, positions, system_clock())
            begin(found.bytes)
            ship_once(file, found, shipper, _warn)
    interrupted = stopped() and not follows
    _tell(shipper.counts, positions, interrupted, as_json)
    context.exit(_INTERRUPTED if interrupted else 0)


@click.command()
@click.argument("kind", metavar="KIND", type=click.Choice([*MESSAGE_TYPES, _STDIN]))
@click.argument("name", default="")
@click.option("--user", help="User id.")
@click.option("--anonymous", help="Anonymous id.")
@click.option("--group", help="group: id of the group.")
@click.option("--previous", help="alias: the former id.")
@click.option(
    "--property",
    "properties",
    multiple=True,
    metavar="NAME=TEXT|NAME:=JSON",
    help="track, page, screen; can be repeated.",
)
@click.option(
    "--trait", "traits", multiple=True, metavar="NAME=TEXT|NAME:=JSON", help="identify, group; can be repeated."
)
@click.option(
    "--context",
    "contexts",
    multiple=True,
    metavar="NAME=TEXT|NAME:=JSON",
    help="E.g. traits.email=ann@example.com; can be repeated.",
)
@click.option("--timestamp", help="When it happened, ISO 8601, UTC unless it says otherwise; without it now.")
@click.option("--message-id", help="Identity of the message; the same again is not counted twice.")
@click.option(
    "--give-up-after",
    metavar="SECONDS",
    default=30.0,
    show_default=True,
    type=click.FloatRange(min=0),
    help="Fail when the collector has not taken a batch for so long.",
)
@_URL
@_WRITE_KEY
@_JSON
@click.pass_context
def send(
    context: click.Context,
    kind: str,
    name: str,
    user: str | None,
    anonymous: str | None,
    group: str | None,
    previous: str | None,
    properties: tuple[str, ...],
    traits: tuple[str, ...],
    contexts: tuple[str, ...],
    timestamp: str | None,
    message_id: str | None,
    give_up_after: float,
    url: str | None,
    write_key: str | None,
    as_json: bool,
) -> None:
    """Send one message of a KIND (track, identify, page, screen, group or alias) to the collector.

    With - as KIND it sends the messages on stdin, one JSON object a line.

    `wakeline send track "Order Completed" --user 42 --property total:=9.90 --property coupon=SPRING`. After = stands
    text, after := JSON; dots in a name go into objects. Exit code 0 means that the collector has all of it.
    """
    if kind == _STDIN:
        _refuse_options(context)
        messages = list(read_messages(click.get_binary_stream("stdin"), _new_id))
    else:
        told = Told(
            kind,
            name,
            user or "",
            anonymous or "",
            group or "",
            previous or "",
            pairs(properties, "--property"),
            pairs(traits, "--trait"),
            pairs(contexts, "--context"),
        )
        at_ms = event_time_ms(timestamp) if timestamp else system_clock()
        messages = [outgoing("the message", build_message(told, message_id or _new_id(), at_ms))]
    accepted = _deliver(messages, url, write_key, give_up_after)
    ids = [one.message["messageId"] for one in messages[:accepted]]
    result = orjson.dumps({"accepted": accepted, "message_ids": ids}).decode()
    click.echo(result if as_json else f"The collector accepted {accepted:,} of {len(messages):,} messages.")
    context.exit(0 if accepted == len(messages) else _INTERRUPTED)


def _deliver(messages: list[Outgoing], url: str | None, write_key: str | None, give_up_after: float) -> int:
    """How many messages the collector has; fewer than all only after Ctrl-C. Raises WakelineError."""
    accepted = 0

    def refuse(place: int, reason: str) -> NoReturn:
        before = accepted + place
        raise WakelineError(
            f"The collector refused {messages[before].name} ({reason}). "
            f"It has {before:,} of {len(messages):,} messages, those before this one."
        )

    to = target(load_settings().collector, url, write_key)
    with _stoppable() as stopped, carrier(to, system_pacer(stopped), give_up_after, _warn) as hands:
        for batch in batches((one.message for one in messages), system_clock()):
            if stopped() or not deliver_in_parts(batch, hands.deliver, refuse):
                break
            accepted += len(batch)
    return accepted


def _refuse_options(context: click.Context) -> None:
    shared = {"kind", "url", "write_key", "give_up_after", "as_json"}
    given = [key for key, value in context.params.items() if value and key not in shared]
    if given:
        raise click.UsageError(f"Messages on stdin are whole; leave {', '.join(given)} out.")


def _new_id() -> str:
    return str(uuid.uuid4())


def _own_names(fields: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for field in fields:
        what, _, name = field.partition("=")
        if what not in DEFAULT_NAMES or not name:
            raise WakelineError(f"--field {field!r} must look like WHAT=NAME, WHAT one of {', '.join(DEFAULT_NAMES)}.")
        found[what] = name
    return found


@contextmanager
def _stoppable() -> Iterator[Callable[[], bool]]:
    """Yields whether SIGINT or SIGTERM came."""
    with StopSwitch() as switch:
        before = signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
        try:
            yield lambda: switch.is_pressed
        finally:
            signal.signal(signal.SIGTERM, before)


@contextmanager
def _progress(follows: bool) -> Iterator[tuple[Callable[[int], None], Callable[[Counts], None]]]:
    """Yields what to call with the bytes there are, and with the counts; a bar if somebody watches."""
    console = Console(stderr=True)
    columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[sent]:,} page views"), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=follows or not console.is_terminal) as progress:
        task = progress.add_task("", total=None, sent=0)
        yield (
            lambda total: progress.update(task, total=total),
            lambda counts: progress.update(task, completed=counts.bytes, sent=counts.sent),
        )


def _tell(counts: Counts, positions: PositionFile, interrupted: bool, as_json: bool) -> None:
    if as_json:
        result = {
            **dataclasses.asdict(counts),
            "interrupted": interrupted,
            "rejected_file": str(positions.rejected_path),
        }
        click.echo(orjson.dumps(result).decode())
        return
    click.echo(
        f"{'Stopped: read' if interrupted else 'Read'} {counts.lines:,} lines: {counts.sent:,} page views sent, "
        f"{counts.skipped:,} other requests skipped, {counts.rejected:,} lines rejected."
    )
    if counts.rejected:
        click.echo(f"See {positions.rejected_path} for the rejected lines.", err=True)


def _warn(sentence: str) -> None:
    click.echo(f"wakeline: {sentence}", err=True)
