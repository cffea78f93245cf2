"""The command line: `wakeline COMMAND`. Commands import what they need when they run, so that --help is quick."""

import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import click

from wakeline.errors import ConfigError, WakelineError

_INTERRUPTED = 130
_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class _LazyGroup(click.Group):
    """Imports the module of a command only when it is asked for."""

    _modules = {  # noqa: RUF012 - a constant
        "alerts": "wakeline.alerts.cli",
        "audit": "wakeline.replay.audit_cli",
        "backup": "wakeline.backup.cli",
        "campaigns": "wakeline.campaigns_cli",
        "demo": "wakeline.demo",
        "drain": "wakeline.replay.lanes_cli",
        "lanes": "wakeline.replay.lanes_cli",
        "pause": "wakeline.campaigns_cli",
        "pause-lane": "wakeline.replay.lanes_cli",
        "play": "wakeline.play.cli",
        "preview": "wakeline.preview.cli",
        "rebuild": "wakeline.replay.rebuild_cli",
        "restore": "wakeline.backup.cli",
        "resume": "wakeline.campaigns_cli",
        "resume-lane": "wakeline.replay.lanes_cli",
        "send": "wakeline.shipping.cli",
        "ship-log": "wakeline.shipping.cli",
        "silence": "wakeline.alerts.cli",
        "test-alert": "wakeline.alerts.cli",
        "test-send": "wakeline.preview.cli",
        "unsilence": "wakeline.alerts.cli",
        "withdraw-reactivation": "wakeline.replay.withdrawing_cli",
    }

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted([*super().list_commands(context), *self._modules])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self._modules:
            return super().get_command(context, name)
        attribute = name.replace("-", "_")
        command: click.Command = getattr(__import__(self._modules[name], fromlist=[attribute]), attribute)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="wakeline")
def cli() -> None:
    """Turns what customers do into the right email within a second, and can prove why each one was sent.

    Settings come from wakeline.toml (or the file that WAKELINE_CONFIG names); see docs/settings.md.
    """


def main() -> None:
    """Run the command line; what a user can mend ends with one sentence on stderr and exit code 1."""
    os.umask(0o077)  # State holds personal data.
    try:
        cli.main(standalone_mode=False)
    except WakelineError as error:
        click.echo(f"wakeline: {error}", err=True)
        sys.exit(1)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.exceptions.Abort, KeyboardInterrupt):
        sys.exit(_INTERRUPTED)


@cli.command()
def warehouse() -> None:
    """Run the embedded ClickHouse until it is stopped."""
    from wakeline.settings import load_settings
    from wakeline.warehouse.server import run_server

    settings = load_settings()
    run_server(settings.warehouse, settings.data_dir.resolve() / "warehouse")


@cli.command()
def collector() -> None:
    """Run the HTTP endpoint that events are sent to."""
    from wakeline.clock import system_clock
    from wakeline.collector.server import serve
    from wakeline.pipeline.backlog import unread_events
    from wakeline.settings import load_settings

    settings = load_settings()
    logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT)
    serve(settings, unread_events(settings, system_clock))


@cli.command()
def heartbeat() -> None:
    """Post a synthetic event to each partition every few seconds, by which a quiet night is told from a fault."""
    import time

    from wakeline.alerts.links import host_of
    from wakeline.clock import system_clock
    from wakeline.play.collector_client import CollectorClient
    from wakeline.settings import load_secrets, load_settings
    from wakeline.sla.heartbeats import Heartbeats, heartbeat_ids

    settings = load_settings()
    if not settings.sla.heartbeat_seconds:
        raise ConfigError("Heartbeats are off: sla.heartbeat_seconds is 0; set it, or leave this command.")
    logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT)
    logging.getLogger("httpx").setLevel(logging.WARNING)
    url = f"http://{host_of(settings.collector.host)}:{settings.collector.port}"
    with CollectorClient(url, load_secrets(settings.data_dir).heartbeat_key, system_clock) as client:
        heartbeats = Heartbeats(client.post, heartbeat_ids(settings.stream.partitions), system_clock)
        while True:
            heartbeats.beat()
            time.sleep(settings.sla.heartbeat_seconds)


@cli.command()
def metrics() -> None:
    """Serve the metrics of lanes, sends, stream and ledger to Prometheus."""
    from wakeline.clock import system_clock
    from wakeline.metrics.program import registry_of
    from wakeline.metrics.serving import serving
    from wakeline.settings import load_settings

    settings = load_settings()
    logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT)
    with serving(registry_of(settings, system_clock), settings.metrics.host, settings.metrics.port, "metrics.port"):
        until_signalled(lambda: None)


@cli.command()
def pages() -> None:
    """Run the outbox page and the demo shop."""
    from wakeline.notice import demo_notice
    from wakeline.pages.server import serve
    from wakeline.settings import load_settings

    settings = load_settings()
    logging.basicConfig(level=logging.INFO, format=_LOG_FORMAT)
    serve(settings, demo_notice(settings))


@cli.command()
def deploy() -> None:
    """Create or update all tables and views in ClickHouse and check the triggers; safe to run again."""
    from wakeline.activation.esp.factory import open_esp
    from wakeline.alerts.channels import open_channels
    from wakeline.clock import system_clock
    from wakeline.pipeline.factory import checked_campaigns, open_mailer
    from wakeline.settings import load_settings
    from wakeline.warehouse.deploy import deploy as run

    settings = load_settings()
    open_channels(settings.alerts)  # A wrong address is told now, not when something is wrong.
    live = run(settings, lambda step: click.echo(f"deploy: {step}", err=True))
    esp = open_esp(settings, system_clock)
    open_mailer(settings, checked_campaigns(settings, live), esp, system_clock).close()  # Compiles every template.
    click.echo(f"Deployed; {len(live.triggers)} triggers: {', '.join(one.name for one in live.triggers)}.")


@cli.command()
def up() -> None:
    """Start the whole stack on this machine and keep it running until Ctrl-C."""
    from wakeline.settings import load_settings
    from wakeline.stack.supervisor import Stack

    settings = load_settings()
    stop_on_sigterm()
    with Stack(settings, config_file(), lambda step: click.echo(f"up: {step}", err=True)) as stack:
        stack.start()
        click.echo(f"Dagster: http://{settings.dagster.host}:{settings.dagster.port}")
        click.echo(f"Collector: http://{settings.collector.host}:{settings.collector.port}")
        until_signalled(stack.check)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def report(as_json: bool) -> None:
    """Show what came in, what was sent and how long it took."""
    import orjson
    from rich.console import Console

    from wakeline.clock import system_clock
    from wakeline.report import build_report, report_tables
    from wakeline.settings import load_settings

    found = build_report(load_settings(), system_clock)
    if as_json:
        click.echo(orjson.dumps(found).decode())
    else:
        Console().print(*report_tables(found))


@cli.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def dbt(context: click.Context, arguments: tuple[str, ...]) -> None:
    """Run dbt on the project with the settings' connection, e.g. `wakeline dbt test --select category_dwell`."""
    from wakeline.settings import load_settings
    from wakeline.warehouse.dbt import run_dbt

    context.exit(0 if run_dbt(load_settings(), list(arguments), quiet=False).success else 1)


def config_file() -> Path | None:
    """The settings file in use, None when there is none."""
    from wakeline.settings import CONFIG_VARIABLE, DEFAULT_CONFIG_NAME

    path = Path(os.environ.get(CONFIG_VARIABLE, DEFAULT_CONFIG_NAME))
    return path if path.exists() else None


def stop_on_sigterm() -> None:
    """Let SIGTERM unwind like Ctrl-C, so that whatever was started is stopped."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def until_signalled(check: Callable[[], None]) -> None:
    """Return at SIGINT or SIGTERM; `check` is called every second and may raise."""
    waited_for = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited_for)
    try:
        while signal.sigtimedwait(waited_for, 1) is None:
            check()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, waited_for)
