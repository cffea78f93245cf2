"""Looks at everything that service levels are judged by: what cannot be reached is said, and only that is left out."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from clickhouse_connect.driver.client import Client

from wakeline.activation.campaigns import Campaign
from wakeline.activation.ledger.protocol import Ledger
from wakeline.clock import Clock
from wakeline.errors import WakelineError
from wakeline.pipeline.lanes import LaneStore
from wakeline.settings import Settings
from wakeline.sla import judging, measuring
from wakeline.sla.freshness import Freshness, freshness_of, is_streamed, models_of
from wakeline.sla.judging import Judgement
from wakeline.sla.volume import latest
from wakeline.warehouse.client import connect

#: A sensor is cut off after a minute, and what needs no warehouse is to be told before.
_PATIENCE_SECONDS = 20


@dataclass(frozen=True, slots=True)
class ShortModel:
    """A dbt model whose window is too short for a freshness policy."""

    name: str
    is_streamed: bool
    freshness: Freshness


def short_models(manifest: Mapping[str, Any]) -> list[ShortModel]:
    """The models that the check `fresh_within_sla` is for."""
    found = [(node, freshness_of(node)) for node in models_of(manifest)]
    return [ShortModel(node["name"], is_streamed(node), one) for node, one in found if one and one.is_short]


@dataclass
class Look:
    """One look at everything. Nobody has looked before `since_ms`: what is late from before that is not known yet."""

    settings: Settings
    lanes: LaneStore
    ledger: Ledger
    campaigns: Mapping[str, Campaign]
    models: Iterable[ShortModel]
    clock: Clock
    since_ms: int = 0
    #: What could not be asked, each in a sentence.
    faults: list[str] = field(default_factory=list)

    def judgements(self) -> list[Judgement]:
        """All that can be told now."""
        found = self._told(self._by_the_lanes)
        try:
            with closing(connect(self.settings.warehouse, patience_seconds=_PATIENCE_SECONDS)) as client:
                for ask in (self._by_traffic, self._by_sends, self._by_builds):
                    found += self._told(lambda ask=ask: ask(client))  # type: ignore[misc]
        except WakelineError as error:
            self.faults.append(str(error))
        return found

    def _told(self, ask: Callable[[], Iterable[Judgement]]) -> list[Judgement]:
        try:
            return list(ask())
        except WakelineError as error:
            self.faults.append(str(error))
            return []

    def _by_the_lanes(self) -> Iterator[Judgement]:
        now_ms, read_until_ms = self.clock(), self.lanes.read_until()
        yield judging.judge_lag(read_until_ms, self.settings.sla, now_ms, self.since_ms)
        for model in self.models:
            if model.is_streamed:
                yield self._judge_model(model, min(read_until_ms.values()))

    def _by_traffic(self, client: Client) -> Iterator[Judgement]:
        sla, stream = self.settings.sla, self.settings.stream
        # Read before the warehouse is asked: all that came until then is in it.
        until_ms = min(self.lanes.read_until().values())
        heartbeats_ms = measuring.heartbeats_ms(client)
        # A broker may have other partitions than the settings say.
        partitions = stream.partitions if stream.kind == "embedded" else None
        yield judging.judge_heartbeats(heartbeats_ms, partitions, sla, until_ms, self.since_ms)
        minutes = measuring.traffic(client, until_ms, sla.window_minutes)
        yield judging.judge_quarantine(latest(minutes, until_ms, sla.window_minutes), sla)
        yield judging.judge_volume(minutes, stream.partitions, sla, until_ms)

    def _by_sends(self, client: Client) -> Iterator[Judgement]:
        sla, now_ms = self.settings.sla, self.clock()
        found = measuring.latencies(client, now_ms, sla.window_minutes, sla.latency_p95_seconds)
        yield judging.judge_latency(found, sla)
        watched = {name: one.max_silence_hours for name, one in self.campaigns.items() if one.max_silence_hours}
        if watched:
            done, paused = measuring.activity(client), self.ledger.pauses()
            for name, hours in watched.items():
                yield judging.judge_sends(name, hours, done.get(name), name in paused, now_ms)

    def _by_builds(self, client: Client) -> Iterator[Judgement]:
        built = [model for model in self.models if not model.is_streamed]
        built_at_ms = measuring.built_at_ms(client) if built else {}
        for model in built:
            yield self._judge_model(model, built_at_ms.get(model.name))

    def _judge_model(self, model: ShortModel, at_ms: int | None) -> Judgement:
        return judging.judge_freshness(
            model.name, model.freshness, model.is_streamed, at_ms, self.clock(), self.since_ms
        )
