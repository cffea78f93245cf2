"""The load generator, a process of its own: posts at the rate of the plan on stdin, and says on stdout what came of it.

Open loop: every POST has a time it is due at, whatever became of those before. How late they left is part of the
result, so a generator or a collector that falls behind cannot hide it (coordinated omission).
"""

import asyncio
import base64
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import httptools
import orjson
import uvloop
from summary import summary
from traffic import Traffic, identified, is_order

#: As many as a busy load balancer keeps open towards one collector.
MAX_CONNECTIONS = 256
#: How long answers may take after the last POST.
_ANSWER_SECONDS = 30.0
_NO_ANSWER = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What one process is to post; the first `warm_up_seconds` of `seconds` are left out of its latencies."""

    host: str
    port: int
    write_key: str
    step: str
    rate: float
    events_per_post: int
    start_at_ms: int
    seconds: float
    warm_up_seconds: float = 0.0
    #: People identified so far; 0 makes this the load that identifies the first ones.
    known_people: int = 0

    @property
    def posts(self) -> int:
        return max(1, round(self.rate * self.seconds / self.events_per_post))

    @property
    def warm_up_posts(self) -> int:
        return round(self.rate * self.warm_up_seconds / self.events_per_post)

    def due_ms(self, post: int) -> float:
        """When a POST is to leave."""
        return self.start_at_ms + post * self.events_per_post / self.rate * 1000


@dataclass(slots=True)
class Post:
    """One request on its way."""

    number: int
    due_ms: float
    request: bytes
    sent_ms: float = 0.0


@dataclass(slots=True)
class Tally:
    """What came of the POSTs; `late_ms` and `answer_ms` count from when they were due, warm-up left out."""

    plan: Plan
    statuses: Counter[int] = field(default_factory=Counter)
    measured_statuses: Counter[int] = field(default_factory=Counter)
    orders: Counter[int] = field(default_factory=Counter)
    late_ms: list[float] = field(default_factory=list)
    answer_ms: list[float] = field(default_factory=list)

    def add(self, post: Post, status: int, now_ms: float) -> None:
        """Count the answer to a POST; 0 stands for none."""
        first = post.number * self.plan.events_per_post
        self.statuses[status] += 1
        self.orders[status] += sum(map(is_order, range(first, first + self.plan.events_per_post)))
        if post.number >= self.plan.warm_up_posts:
            self.measured_statuses[status] += 1
            self.late_ms.append(post.sent_ms - post.due_ms)
            self.answer_ms.append(now_ms - post.due_ms)

    def as_dict(self) -> dict[str, Any]:
        """Events and orders by what became of them; `measured_*` is the same without the warm-up."""
        return {
            **_fates("", self.statuses, self.plan.events_per_post),
            **_fates("measured_", self.measured_statuses, self.plan.events_per_post),
            **_fates("order_", self.orders if self.plan.known_people else Counter(), 1),
            "posts_by_status": {str(status): count for status, count in sorted(self.statuses.items())},
            "late_ms": summary(self.late_ms),
            "answer_ms": summary(self.answer_ms),
        }


class Connection(asyncio.Protocol):
    """A keep-alive connection with one request on its way at a time."""

    def __init__(self, idle: Callable[["Connection"], None], answered: Callable[[Post, int], None]) -> None:
        self._idle = idle
        self._answered = answered
        self._post: Post | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self.is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # By name, because uvloop's transports are not asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def send(self, post: Post) -> None:
        assert self._transport is not None  # noqa: S101 - for the type checker
        self._post = post
        post.sent_ms = now_ms()
        self._transport.write(post.request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._finish(self._parser.get_status_code())
        self._idle(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self._finish(_NO_ANSWER)

    def _finish(self, status: int) -> None:
        post, self._post = self._post, None
        if post is not None:
            self._answered(post, status)


class _Client:
    """Hands each POST to a free connection, opens another one while none is, and lets it wait when all are busy."""

    def __init__(self, plan: Plan) -> None:
        self.tally = Tally(plan)
        self._plan = plan
        self._pending: dict[int, Post] = {}
        self._free: list[Connection] = []
        self._waiting: deque[Post] = deque()
        self._connections = 0
        self._opening: set[asyncio.Task[None]] = set()

    def post(self, post: Post) -> None:
        self._pending[post.number] = post
        while self._free:
            connection = self._free.pop()
            if connection.is_open:
                connection.send(post)
                return
            self._connections -= 1
        self._waiting.append(post)
        if self._connections < MAX_CONNECTIONS:
            self._connections += 1
            opening = asyncio.create_task(self._open())
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    async def drain(self) -> None:
        """Wait for the answers; what is still without one after a while is counted as such."""
        deadline = time.monotonic() + _ANSWER_SECONDS
        while self._pending and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        for post in list(self._pending.values()):
            self._answered(post, _NO_ANSWER)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(self._next, self._answered), self._plan.host, self._plan.port
            )
        except OSError:
            self._connections -= 1
            if self._waiting:
                self._answered(self._waiting.popleft(), _NO_ANSWER)
            return
        self._next(connection)

    def _next(self, connection: Connection) -> None:
        if self._waiting and connection.is_open:
            connection.send(self._waiting.popleft())
        else:
            self._free.append(connection)

    def _answered(self, post: Post, status: int) -> None:
        del self._pending[post.number]
        self.tally.add(post, status, now_ms())


class Requests:
    """The HTTP requests of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._traffic = Traffic(plan.step, plan.rate, plan.known_people) if plan.known_people else None
        key = base64.b64encode(f"{plan.write_key}:".encode()).decode()
        self._head = (
            f" HTTP/1.1\r\nHost: {plan.host}:{plan.port}\r\nAuthorization: Basic {key}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()

    def post(self, number: int) -> Post:
        """The request of this number, with the events that are its own."""
        due_ms = self._plan.due_ms(number)
        first = number * self._plan.events_per_post
        messages = [self._event(index, round(due_ms)) for index in range(first, first + self._plan.events_per_post)]
        if len(messages) == 1:
            path, content = f"/v1/{messages[0]['type']}", {**messages[0], "sentAt": messages[0]["timestamp"]}
        else:
            path, content = "/v1/batch", {"batch": messages, "sentAt": messages[0]["timestamp"]}
        body = orjson.dumps(content)
        return Post(number, due_ms, b"POST %b%b%d\r\n\r\n%b" % (path.encode(), self._head, len(body), body))

    def _event(self, index: int, at_ms: int) -> dict[str, Any]:
        return self._traffic.event(index, at_ms) if self._traffic else identified(index, at_ms)


def now_ms() -> float:
    """The wall clock, because schedule and ledger are to be compared."""
    return time.time_ns() / 1e6


async def run(plan: Plan) -> dict[str, Any]:
    """Post everything that the plan asks for, or what is due until SIGTERM; returns the tally."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    client, requests = _Client(plan), Requests(plan)
    for number in range(plan.posts):
        post = requests.post(number)
        await asyncio.sleep(max(0.0, (post.due_ms - now_ms()) / 1000))
        if stopped.is_set():
            break
        client.post(post)
    await client.drain()
    return client.tally.as_dict()


def _fates(prefix: str, statuses: Counter[int], each: int) -> dict[str, int]:
    accepted, unanswered = statuses[200], statuses[_NO_ANSWER]
    return {
        f"{prefix}accepted": accepted * each,
        f"{prefix}unanswered": unanswered * each,
        f"{prefix}refused": (statuses.total() - accepted - unanswered) * each,
    }


def main() -> None:
    plan = Plan(**orjson.loads(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(orjson.dumps(uvloop.run(run(plan))))


def to_json(plan: Plan) -> bytes:
    """What the process reads."""
    return orjson.dumps(asdict(plan))


if __name__ == "__main__":
    main()
