"""The processes of one machine, as supervisord runs them (https://supervisord.org/configuration.html)."""

import hashlib
import os
import sys
import tempfile
from configparser import RawConfigParser
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from wakeline.settings import CONFIG_VARIABLE, Settings


@dataclass(frozen=True, slots=True)
class Program:
    """One supervised process; those `at_once` start with the supervisor, the rest when their inputs are there."""

    name: str
    command: tuple[str, ...]
    at_once: bool
    stop_seconds: int = 20


def programs(settings: Settings) -> list[Program]:
    """All processes of the stack in the order they start; they stop in the reverse one."""
    warehouse = [Program("warehouse", _wakeline("warehouse"), at_once=True, stop_seconds=30)]
    heartbeat = [Program("heartbeat", _wakeline("heartbeat"), at_once=True)]
    dagster = settings.dagster
    workspace = ("-w", str(settings.project_dir / "workspace.yaml"))
    web = ("-h", dagster.host, "-p", str(dagster.port))
    code = ("-h", "127.0.0.1", "-p", str(dagster.code_port), "-m", "orchestration.definitions", "-d")
    return [
        *(warehouse if settings.warehouse.embedded else []),
        Program("collector", _wakeline("collector"), at_once=True),
        *(heartbeat if settings.sla.heartbeat_seconds else []),
        Program("metrics", _wakeline("metrics"), at_once=True),
        Program("pages", _wakeline("pages"), at_once=True),
        Program("code", (_script("dagster"), "api", "grpc", *code, str(settings.project_dir)), at_once=False),
        Program("daemon", (_script("dagster-daemon"), "run", *workspace), at_once=False),
        Program("web", (_script("dagster-webserver"), *web, *workspace), at_once=False),
    ]


def supervisor_config(settings: Settings, config_path: Path | None) -> str:
    """The text of supervisord.conf; logs rotate in the data folder."""
    parser = RawConfigParser()
    state = settings.data_dir / "supervisor"
    parser["unix_http_server"] = {"file": str(socket_path(settings)), "chmod": "0600"}
    parser["supervisord"] = {
        "nodaemon": "true",
        "umask": "077",
        "logfile": str(settings.data_dir / "logs" / "supervisord.log"),
        "pidfile": str(state / "supervisord.pid"),
        "childlogdir": str(settings.data_dir / "logs"),
        "environment": _environment(settings, config_path),
        "user": str(os.getuid()),
    }
    parser["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    for priority, program in enumerate(programs(settings), start=1):
        parser[f"program:{program.name}"] = _section(settings, program, priority)
    text = StringIO()
    parser.write(text)
    return text.getvalue()


def socket_path(settings: Settings) -> Path:
    """Where the supervisor listens; not in the data folder, whose path may exceed a socket's 107 bytes."""
    identity = hashlib.sha256(str(settings.data_dir.resolve()).encode()).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"wakeline-{os.getuid()}-{identity}.sock"


def log_path(settings: Settings, program: str) -> Path:
    """The log file of a program."""
    return settings.data_dir / "logs" / f"{program}.log"


def dagster_home(settings: Settings) -> Path:
    """DAGSTER_HOME of this deployment."""
    return settings.data_dir / "dagster"


def _section(settings: Settings, program: Program, priority: int) -> dict[str, str]:
    return {
        "command": " ".join(_escaped(part) for part in program.command),
        "directory": str(settings.project_dir),
        "priority": str(priority),
        "autostart": str(program.at_once).lower(),
        "autorestart": "true",
        # A process that ends sooner than this, five times over, is given up and reported.
        "startsecs": "1" if program.at_once else "10",
        "startretries": "5",
        "stopwaitsecs": str(program.stop_seconds),
        # Runs are children of the code server: they are told to stop, and killed, with it.
        "stopasgroup": str(program.name != "warehouse").lower(),
        "killasgroup": "true",
        "redirect_stderr": "true",
        "stdout_logfile": str(log_path(settings, program.name)),
        "stdout_logfile_maxbytes": "10MB",
        "stdout_logfile_backups": "2",
    }


def _environment(settings: Settings, config_path: Path | None) -> str:
    values = {
        "DAGSTER_HOME": str(dagster_home(settings)),
        "WAKELINE_CODE_PORT": str(settings.dagster.code_port),
        "WAKELINE_DATA_DIR": str(settings.data_dir),
        "WAKELINE_PROJECT_DIR": str(settings.project_dir),
    }
    if config_path is not None:
        values[CONFIG_VARIABLE] = str(config_path.resolve())
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in values.items())


def _wakeline(command: str) -> tuple[str, ...]:
    return sys.executable, "-m", "wakeline", command


def _script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
