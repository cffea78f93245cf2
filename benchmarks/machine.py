"""What the figures depend on besides the code: nothing here names the machine or a person."""

import os
import platform
import sqlite3
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median

_LIBRARIES = (
    "chdb-core",
    "clickhouse-connect",
    "dagster",
    "dbt-core",
    "dbt-clickhouse",
    "httptools",
    "orjson",
    "sqlalchemy",
    "starlette",
    "uvicorn",
    "uvloop",
)
_FSYNCS = 50


def machine_facts(folder: Path) -> dict[str, object]:
    """Processor, memory, disk under `folder`, kernel, Python and libraries."""
    return {
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "fsync_ms": round(_fsync_ms(folder), 2),
        "load_before": round(os.getloadavg()[0], 2),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "libraries": {name: version(name) for name in _LIBRARIES},
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or "unknown")


def _fsync_ms(folder: Path) -> float:
    """The median of a small write made durable: every append and every commit waits for one."""
    times = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(_FSYNCS):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - began) * 1000)
    return median(times)
