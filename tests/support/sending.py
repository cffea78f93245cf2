"""A ledger with its lane, intended sends, and an ESP that writes down what it is asked."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from threading import Lock
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.engine import Engine

from support.clocks import DAY_MS, HOUR_MS, NOW_MS
from wakeline.activation.claims import Claim, Decided, Intended, Person, Stages
from wakeline.activation.consent import Consent, RecordAddress, Suppression
from wakeline.activation.esp.breaker import Breaker
from wakeline.activation.esp.failover import FailOver
from wakeline.activation.esp.guarded import Guarded
from wakeline.activation.esp.limit import RateLimit
from wakeline.activation.esp.protocol import Accepted, Esp, Mail, Outcome
from wakeline.activation.gates import FRESH, Cap, Rules, Stale
from wakeline.activation.ledger.dynamodb import DynamoLedger
from wakeline.activation.ledger.dynamodb_items import row_of
from wakeline.activation.ledger.protocol import Ledger
from wakeline.activation.ledger.sql import SqlLedger
from wakeline.activation.mailer import Answer
from wakeline.database import consent_stamps, consents, early_reports, lanes, record_addresses, sends, suppressions
from wakeline.dynamodb import MOST_ACTIONS, Table, delete
from wakeline.pipeline.lanes import LaneStore, Lease, ranges_of_intent
from wakeline.pipeline.lanes_dynamodb import DynamoLaneStore, lane_key
from wakeline.pipeline.lanes_sql import SqlLaneStore

LANE = "0"
LEASE_MS = 10_000
MARKETING_CAP = Cap(sends=3, window_ms=168 * HOUR_MS)
RULES = Rules(marketing_cap=MARKETING_CAP)
#: How long the ESP of these tests knows a key again, where it takes one.
KEY_MS = DAY_MS


class RecordingEsp:
    """Accepts every mail, or answers what `answer` says, and keeps each request in order."""

    name = "recording"

    def __init__(self, takes_idempotency_key: bool = False, answer: Callable[[Mail], Outcome] | None = None) -> None:
        self.idempotency_key_seconds = inf if takes_idempotency_key else 0
        self.requests: list[Mail] = []
        self.answer = answer or (lambda mail: Accepted(f"id-{mail.key}"))
        self._lock = Lock()

    def send(self, mail: Mail) -> Outcome:
        outcome = self.answer(mail)
        with self._lock:
            self.requests.append(mail)
        return outcome

    def close(self) -> None:
        """It has no connections."""

    @property
    def keys(self) -> list[str]:
        """The key of each request."""
        return [mail.key for mail in self.requests]


def alone(esp: Esp) -> FailOver:
    """A provider with nothing around it that could stop a mail."""
    breaker = Breaker(failures=1_000_000, open_seconds=1)
    return FailOver([Guarded(esp, RateLimit(inf), 1_000, breaker, time.monotonic, time.sleep)])


@dataclass(repr=False)
class Book:
    """A ledger database, and the shortest way to everything in it."""

    engine: Engine
    lanes: LaneStore = field(init=False)
    #: Of an ESP that takes no key.
    ledger: Ledger = field(init=False)
    #: The same ledger where the ESP takes the key, for KEY_MS.
    ledger_with_key: Ledger = field(init=False)

    def __post_init__(self) -> None:
        self.lanes = self.store()
        self.ledger, self.ledger_with_key = self._open_ledger(0), self._open_ledger(KEY_MS)

    def store(self, lane_count: int = 1, stream: str = "events") -> LaneStore:
        """Lanes of another number, or of another stream, in the same database."""
        return SqlLaneStore(self.engine, stream, lane_count)

    def _open_ledger(self, key_ms: int) -> Ledger:
        return SqlLedger(self.engine, key_ms)

    def forget(self) -> None:
        """Nobody was heard or mailed yet."""
        with self.engine.begin() as connection:
            for table in (consents, consent_stamps, suppressions, record_addresses, early_reports, sends):
                connection.execute(sa.delete(table))

    def hold(self, holder: str = "run-1", now_ms: int = NOW_MS) -> Lease:
        """A lease on the lane, which must be free."""
        lease = self.lanes.acquire(LANE, holder, now_ms, LEASE_MS)
        assert lease is not None
        return lease

    def begun(self, lane: str = LANE) -> dict[int, tuple[int, int]]:
        """The batch that was begun on a lane and not committed, empty when there is none."""
        with self.engine.connect().execution_options(read_only=True) as connection:
            intent = connection.execute(sa.select(lanes.c.intent).where(lanes.c.lane == lane)).scalar()
        return {int(partition): (first, end) for partition, (first, end) in (intent or {}).items()}

    def take_over(self, lease: Lease, holder: str = "run-2") -> Lease:
        """The lane's next lease: the given one is lost."""
        self.lanes.release(lease)
        return self.hold(holder)

    def claim(self, lease: Lease, *intended: Intended, now_ms: int = NOW_MS) -> list[Decided]:
        """Decide these sends in one call."""
        return self.ledger.claim(lease, intended, lease.holder, {0: (0, 1)}, now_ms)

    def reclaim(
        self,
        lease: Lease,
        now_ms: int,
        ledger: Ledger | None = None,
        *,
        rules: Rules = RULES,
        person: Person | None = None,
        stale: Stale = FRESH,
        limit: int = 100,
    ) -> list[Decided]:
        """Decide again on what is due, of the people as they were known before, or of `person`."""
        ledger = ledger or self.ledger
        waiting = [replace(one, person=person or one.person) for one in ledger.due(now_ms, stale, limit)]
        of_all = {one.campaign: rules for one in waiting}
        return ledger.reclaim(lease, waiting, of_all, now_ms, stale)

    def say(self, lease: Lease, *said: Consent | Suppression | RecordAddress) -> None:
        """Record consents, suppressions and addresses of records, each in a call of its own, in this order."""
        for one in said:
            consents = [one] if isinstance(one, Consent) else []
            suppressions = [one] if isinstance(one, Suppression) else []
            addresses = [one] if isinstance(one, RecordAddress) else []
            self.ledger.record(lease, consents, suppressions, addresses)

    def rows(self) -> list[dict[str, Any]]:
        """Every send, by key."""
        with self.engine.connect().execution_options(read_only=True) as connection:
            found = connection.execute(sa.select(sends).order_by(sends.c.idempotency_key)).mappings()
            return [dict(row) for row in found]

    def row(self, one: Intended) -> dict[str, Any]:
        """The row of a send."""
        [found] = [row for row in self.rows() if row["idempotency_key"] == one.key]
        return found

    def states(self) -> list[tuple[str, str]]:
        """(state, reason) of every send, sorted."""
        return sorted((row["state"], row["reason"]) for row in self.rows())


class DynamoBook(Book):
    """The same in DynamoDB."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.__post_init__()

    def store(self, lane_count: int = 1, stream: str = "events") -> LaneStore:
        return DynamoLaneStore(self.table, stream, lane_count)

    def _open_ledger(self, key_ms: int) -> Ledger:
        return DynamoLedger(self.table, key_ms)

    def forget(self) -> None:
        keys = [(item["pk"], item["sk"]) for item in self.table.scan() if item["pk"].startswith(("id#", "key#"))]
        for start in range(0, len(keys), MOST_ACTIONS):
            self.table.write([delete(key) for key in keys[start : start + MOST_ACTIONS]])

    def begun(self, lane: str = LANE) -> dict[int, tuple[int, int]]:
        [item] = self.table.get([lane_key(lane)]).values() or [{}]
        return ranges_of_intent(orjson.loads(item.get("intent", "{}")))

    def rows(self) -> list[dict[str, Any]]:
        found = [row_of(item) for item in self.table.scan() if item["sk"].startswith("send#")]
        for row in found:
            del row["revision"]
        return sorted(found, key=lambda row: row["idempotency_key"])


def intended(occurrence: str = "order/1", *, ids: Sequence[str] = ("user:ann",), **changes: Any) -> Intended:
    """A transactional send to Ann; the first id is the profile's."""
    address = changes.pop("address", "ann@example.com")
    time_zone = changes.pop("time_zone", "")
    changes["rules"] = replace(RULES, cap=changes.pop("cap", None), **changes.pop("rules", {}))
    one = Intended(
        campaign="order_confirmation",
        campaign_class="transactional",
        purpose=None,
        campaign_hash="campaign-1",
        rules=RULES,
        variant="",
        profile_id=ids[0],
        person=Person(tuple(ids), {"email": address, "timezone": time_zone}),
        occurrence_key=occurrence,
        occurred_at_ms=NOW_MS,
        expires_at_ms=NOW_MS + DAY_MS,
        trigger_hash="trigger-1",
        message_ids=("message-1",),
        context={},
        stages=Stages(NOW_MS, NOW_MS, NOW_MS, NOW_MS, NOW_MS),
    )
    return replace(one, **changes)


def marketing(occurrence: str = "cart/1", *, ids: Sequence[str] = ("user:ann",), **changes: Any) -> Intended:
    """A marketing send to Ann, who must have agreed to marketing."""
    defaults = {"campaign": "abandoned_cart", "campaign_class": "marketing", "purpose": "marketing"}
    return intended(occurrence, ids=ids, **{**defaults, **changes})


def granted(subject: str = "user:ann", at_ms: int = NOW_MS - DAY_MS, message_id: str = "yes") -> Consent:
    """A yes to marketing."""
    return Consent(subject, "marketing", True, at_ms, message_id)


def refused(subject: str = "user:ann", at_ms: int = NOW_MS - HOUR_MS, message_id: str = "no") -> Consent:
    """A no to marketing."""
    return Consent(subject, "marketing", False, at_ms, message_id)


def answered(claim: Claim | None, outcome: Outcome, at_ms: int = NOW_MS) -> Answer:
    """What the ESP said to a claim that was made."""
    assert claim is not None
    return Answer(claim, outcome, at_ms)
