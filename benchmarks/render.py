"""The figures as Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from results import MEMORY_BUDGET_BYTES, Step, highest_sustained
from summary import NAMES

_GB = 10**9
_STAGE_NOTES = {
    "posted": "due → received by the collector",
    "collected": "received → durable in the stream",
    "streamed": "durable → read by the resident run",
    "ingested": "read → in ClickHouse with all its views",
    "evaluated": "ingested → triggers, ledger look-up and contacts done",
    "claimed": "evaluated → about to be claimed in the ledger",
    "esp_accepted": "claimed → rendered and accepted by the ESP",
    "total": "received → accepted by the ESP",
    "total_from_due": "due → accepted by the ESP",
}


def markdown(facts: Mapping[str, Any], steps: Sequence[Step]) -> str:
    """Everything in latest.json that a person wants to read; `facts` is its top level."""
    parts = [
        "# Benchmark\n\nWritten by `make bench`; see [run.py](../run.py) for what is measured. Times are milliseconds"
        " unless said, of mails that one event caused (`order_confirmation`, one event in a hundred).",
        _headline(facts, steps),
        "## Rates\n\n" + _rates(steps),
        "## Stages\n\n" + "\n\n".join(_stages(step) for step in steps),
        "## Load generator\n\nLate is how long after its time a POST left; the answer counts from that time too.\n\n"
        + _generator(steps),
        "## Resources\n\nCores used (CPU seconds per second) / most resident memory in MB; pages that processes share"
        " count in each of them.\n\n" + _resources(steps),
        "## Machine\n\n" + _machine(facts["machine"]),
    ]
    return "\n\n".join(parts) + "\n"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are aligned to the right."""
    rule = [":--", *("--:" for _ in header[1:])]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, rule, *rows))


def _headline(facts: Mapping[str, Any], steps: Sequence[Step]) -> str:
    highest = highest_sustained(steps)
    lines = [f"Stream: {facts['stream']}. Lanes: {facts['lanes']}."]
    lines.append(f"Highest sustained rate: {f'{highest:,.0f} events/s' if highest else 'none'}.")
    for name, said in (("cold_start_seconds", "Cold start"), ("idle_seconds", "No run alive")):
        if facts.get(name) is not None:
            lines.append(f"{said} to the first mail: {facts[name]:.1f} s.")
    peak = max((_memory(step) for step in steps), default=0)
    if peak:
        lines.append(f"Most resident memory: {peak / _GB:.2f} GB of {MEMORY_BUDGET_BYTES / _GB:.0f} GB.")
    lines += [f"**{fault}**" for fault in facts.get("faults", [])] or ["No event lost, no order mailed twice."]
    return "  \n".join(lines)


def _rates(steps: Sequence[Step]) -> str:
    before = (
        "events/s",
        "per POST",
        "seconds",
        "offered/s",
        "accepted/s",
        "refused",
        "lag at end, s",
        "drained after, s",
        "mails",
    )
    header = (*before, *NAMES, "sustained", "meanwhile")
    return table(header, (_rate_row(step) for step in steps))


def _rate_row(step: Step) -> list[str]:
    total = step.latency_ms["total_from_due"]
    return [
        f"{step.rate:,.0f}",
        str(step.events_per_post),
        f"{step.seconds:.0f}",
        f"{step.offered_per_second:,.0f}",
        f"{step.accepted_per_second:,.0f}",
        f"{step.refused:,}",
        f"{step.lag_seconds:.1f}",
        f"{step.drained_after_seconds:.1f}",
        f"{total['count']:,.0f}",
        *_numbers(total),
        f"no: {step.not_sustained}" if step.not_sustained else "yes",
        ", ".join(step.other_runs) or "-",
    ]


def _stages(step: Step) -> str:
    rows = [(f"`{stage}` {_STAGE_NOTES[stage]}", *_numbers(values)) for stage, values in step.latency_ms.items()]
    return f"### {step.rate:,.0f} events/s\n\n" + table(("stage", *NAMES), rows)


def _generator(steps: Sequence[Step]) -> str:
    header = ("events/s", *(f"late {name}" for name in NAMES), *(f"answer {name}" for name in NAMES))
    return table(header, ([f"{step.rate:,.0f}", *_numbers(step.late_ms), *_numbers(step.answer_ms)] for step in steps))


def _resources(steps: Sequence[Step]) -> str:
    names = list(dict.fromkeys(name for step in steps for name in step.resources))
    rows = [
        [f"{step.rate:,.0f}", *(_used(step.resources.get(name)) for name in names), f"{_memory(step) / 1e6:,.0f}"]
        for step in steps
    ]
    return table(("events/s", *names, "all but generator, MB"), rows)


def _used(one: Mapping[str, float] | None) -> str:
    return f"{one['cores']:.2f} / {one['rss_bytes'] / 1e6:,.0f}" if one else "-"


def _memory(step: Step) -> float:
    return sum(one["rss_bytes"] for name, one in step.resources.items() if name != "generator")


def _machine(machine: Mapping[str, Any]) -> str:
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    rows = [(name.replace("_", " "), str(value)) for name, value in machine.items() if name != "libraries"]
    return table(("what", "value"), [*rows, ("libraries", libraries)])


def _numbers(values: Mapping[str, float]) -> list[str]:
    return [f"{values[name]:,.0f}" if name in values else "-" for name in NAMES]
