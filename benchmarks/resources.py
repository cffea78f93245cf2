"""CPU seconds and resident memory of the stack's processes, from /proc (Linux only; empty elsewhere)."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
#: Position of the fields in /proc/PID/stat after the command's closing bracket; see proc(5).
_PARENT, _USER, _RSS_PAGES = 1, 11, 21
#: The code server's children: the resident run and the runs of batch models.
RUNS = "runs"
#: Whatever else the machine worked at; the benchmark's own watching is a small part of it.
OTHERS = "others"


@dataclass(frozen=True, slots=True)
class Process:
    """One process: ticks of its own, ticks of the children it has waited for, resident pages."""

    pid: int
    parent: int
    own_ticks: int
    waited_ticks: int
    rss_pages: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a group of processes has used so far, and what it holds now."""

    cpu_seconds: float
    rss_bytes: int


def usage(programs: Mapping[str, int]) -> dict[str, Usage]:
    """Program -> its usage with all descendants; those of `code` are `runs`, the supervisor is not counted."""
    found = {one.pid: one for one in _processes()}
    groups: dict[str, Usage] = {}
    for name, pid in programs.items():
        if pid not in found:
            continue
        own, below = found[pid], _descendants(found.values(), pid)
        if name == "code":
            groups[name] = _usage(own.own_ticks, [own])
            groups[RUNS] = _usage(own.waited_ticks + _ticks(below), below)
        else:
            groups[name] = _usage(own.own_ticks + own.waited_ticks + _ticks(below), [own, *below])
    return groups


def busy_seconds() -> float:
    """CPU seconds that the whole machine has worked so far, whoever for; see proc(5)."""
    try:
        fields = (_PROC / "stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _waiting, interrupts, soft_interrupts = (int(field) for field in fields[:7])
    return (user + nice + system + interrupts + soft_interrupts) / os.sysconf("SC_CLK_TCK")


def parse_stat(text: str) -> Process:
    """The line in /proc/PID/stat; the command in it may hold blanks and brackets."""
    pid, _, rest = text.partition(" ")
    fields = rest.rpartition(")")[2].split()
    user, system, waited_user, waited_system = (int(field) for field in fields[_USER : _USER + 4])
    return Process(int(pid), int(fields[_PARENT]), user + system, waited_user + waited_system, int(fields[_RSS_PAGES]))


def _processes() -> list[Process]:
    found = []
    for folder in _PROC.glob("[0-9]*"):
        try:
            found.append(parse_stat((folder / "stat").read_text(encoding="utf-8", errors="replace")))
        except OSError:
            continue  # It ended meanwhile.
    return found


def _descendants(processes: Iterable[Process], pid: int) -> list[Process]:
    children: dict[int, list[Process]] = {}
    for one in processes:
        children.setdefault(one.parent, []).append(one)
    below, open_ = [], [pid]
    while open_:
        found = children.get(open_.pop(), [])
        below += found
        open_ += [one.pid for one in found]
    return below


def _ticks(processes: Iterable[Process]) -> int:
    return sum(one.own_ticks + one.waited_ticks for one in processes)


def _usage(ticks: int, processes: Iterable[Process]) -> Usage:
    pages = sum(one.rss_pages for one in processes)
    return Usage(ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE"))
