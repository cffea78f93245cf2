"""Writes the Grafana dashboard `wakeline.json`: `make dashboard`."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, TooltipDisplayMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef

PATH = Path(__file__).with_name("wakeline.json")

_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
#: As docs/metrics.md names it.
_JOB = '{job="wakeline-collector"}'
#: Of 24 columns, so three panels stand beside each other.
_WIDTH, _HEIGHT = 8, 8


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph: PromQL expressions, each with what its lines are called."""

    title: str
    unit: str
    lines: dict[str, str]
    description: str = ""


def _rate(metric: str, *labels: str) -> str:
    return f"sum by ({', '.join(labels)}) (rate({metric}[$__rate_interval]))"


def _quantiles(metric: str, label: str = "") -> dict[str, str]:
    """Percentiles of a histogram, in one line for each value of the label."""
    by = f"le, {label}" if label else "le"
    name = f"{{{{{label}}}}} " if label else ""
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {
        f"{name}{what}": f"histogram_quantile({share}, sum by ({by}) (rate({metric}_bucket[$__rate_interval])))"
        for what, share in shares.items()
    }


ROWS: dict[str, tuple[Panel, ...]] = {
    "Is it working?": (
        Panel(
            "Age of the oldest unprocessed event",
            "s",
            {"stream": "wakeline_stream_lag_seconds", "lane {{lane}}": "wakeline_lane_lag_seconds"},
            "An idle lane says only every few seconds that it is up to date.",
        ),
        Panel(
            "Lanes held, stream and ledger answer",
            "short",
            {
                "lane {{lane}}": "wakeline_lane_held",
                "stream": "wakeline_stream_up",
                "ledger": "wakeline_ledger_up",
            },
            "All lines at 1 is well.",
        ),
        Panel(
            "From the collector to the commit",
            "s",
            _quantiles("wakeline_event_latency_seconds"),
            "Of the newest event of each micro-batch.",
        ),
    ),
    "Collector": (
        Panel(
            "Requests by status",
            "reqps",
            {"{{status}}": _rate("wakeline_collector_requests_total", "status")},
        ),
        Panel(
            "Events by source",
            "eps",
            {"{{source}} {{outcome}}": _rate("wakeline_collector_events_total", "source", "outcome")},
        ),
        Panel("Bytes of events", "Bps", {"{{source}}": _rate("wakeline_collector_event_bytes_total", "source")}),
        Panel("Append to the stream", "s", _quantiles("wakeline_collector_append_duration_seconds")),
        Panel(
            "Back-pressure",
            "reqps",
            {"{{reason}}": _rate("wakeline_collector_backpressure_total", "reason")},
            "Requests answered 429 (pending) and 503 (unread).",
        ),
        Panel(
            "What waits",
            "bytes",
            {"pending": "wakeline_collector_pending_bytes", "spool": "wakeline_collector_spool_bytes"},
            "The spool is there with Kafka and Kinesis only.",
        ),
        Panel(
            "Unread events",
            "short",
            {
                "stream": "wakeline_stream_unread_events",
                "as the collector counts": "wakeline_collector_unread_events",
                "spool": "wakeline_collector_spool_events",
            },
        ),
        Panel(
            "Memory and files of the collector",
            "short",
            {"bytes": f"process_resident_memory_bytes{_JOB}", "open files": f"process_open_fds{_JOB}"},
        ),
        Panel(
            "Processor of the collector",
            "percentunit",
            {"cores": f"rate(process_cpu_seconds_total{_JOB}[$__rate_interval])"},
        ),
    ),
    "Lanes": (
        Panel("Events by status", "eps", {"{{status}}": _rate("wakeline_rows_total", "status")}),
        Panel("Micro-batches", "ops", {"lane {{lane}}": _rate("wakeline_batches_total", "lane")}),
        Panel("Duration of a micro-batch", "s", _quantiles("wakeline_batch_duration_seconds")),
        Panel(
            "Mean of each stage",
            "s",
            {
                "{{stage}}": f"{_rate('wakeline_batch_stage_duration_seconds_sum', 'stage')}"
                f" / {_rate('wakeline_batch_stage_duration_seconds_count', 'stage')}"
            },
        ),
        Panel(
            "Faults and handovers in an hour",
            "short",
            {
                "faults of lane {{lane}}": "increase(wakeline_lane_faults_total[1h])",
                "holders of lane {{lane}}": "increase(wakeline_lane_holders_total[1h])",
            },
            "A lane changes hands about twice an hour.",
        ),
        Panel(
            "Since the last micro-batch",
            "s",
            {"lane {{lane}}": "time() - wakeline_last_batch_timestamp_seconds"},
            "Grows also when nobody does anything.",
        ),
    ),
    "Sends": (
        Panel("Decisions", "ops", {"{{campaign}} {{state}}": _rate("wakeline_decisions_total", "campaign", "state")}),
        Panel(
            "Skips and waits by reason",
            "ops",
            {"{{reason}}": 'sum by (reason) (rate(wakeline_decisions_total{reason!=""}[$__rate_interval]))'},
        ),
        Panel(
            "What became of claims",
            "ops",
            {"{{campaign}} {{state}}": _rate("wakeline_send_answers_total", "campaign", "state")},
        ),
        Panel(
            "Sends that wait",
            "short",
            {"{{campaign}} {{state}}": "wakeline_waiting_sends", "{{campaign}} is paused": "wakeline_campaign_paused"},
        ),
        Panel(
            "Answers of providers",
            "reqps",
            {"{{esp}} {{outcome}}": _rate("wakeline_esp_requests_total", "esp", "outcome")},
        ),
        Panel(
            "Duration of a request to a provider", "s", _quantiles("wakeline_esp_request_duration_seconds", "esp")
        ),
    ),
}  # fmt: skip


def expressions() -> Iterator[str]:
    """Every expression of every panel."""
    for panels in ROWS.values():
        for panel in panels:
            yield from panel.lines.values()


def dashboard_json() -> str:
    """The dashboard, as Grafana imports it."""
    board = (
        dashboard.Dashboard("Wakeline")
        .uid("wakeline")
        .tags(["wakeline"])
        .description("Collector, lanes and sends; see docs/metrics.md.")
        .time("now-3h", "now")
        .refresh("30s")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    for title, panels in ROWS.items():
        board = board.with_row(dashboard.Row(title))
        for panel in panels:
            board = board.with_panel(_graph(panel))
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def _graph(panel: Panel) -> timeseries.Panel:
    graph = timeseries.Panel().title(panel.title).description(panel.description).unit(panel.unit).min(0)
    graph = graph.datasource(_SOURCE).span(_WIDTH).height(_HEIGHT).fill_opacity(10)
    graph = graph.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI)).legend(
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
    )
    for number, (name, expression) in enumerate(panel.lines.items()):
        query = prometheus.Dataquery().expr(expression).legend_format(name).ref_id(chr(ord("A") + number))
        graph = graph.with_target(query.datasource(_SOURCE))
    return graph


if __name__ == "__main__":
    PATH.write_text(dashboard_json(), encoding="utf-8")
    sys.stdout.write(f"Wrote {PATH}\n")
