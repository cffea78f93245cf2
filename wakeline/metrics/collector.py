"""What a collector counts. Labels hold only names from the code and the settings: no id, no address."""

from collections.abc import Callable, Iterable
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from starlette.routing import BaseRoute, Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: From a sync to a fast disk to a broker that answers just before its time-out.
_APPEND_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
#: Any path that is no endpoint, and any method that HTTP does not know.
OTHER = "other"

APPENDED, FAILED, REFUSED = "appended", "failed", "refused"
#: Why back-pressure answers 429 and 503.
PENDING, UNREAD = "pending", "unread"


class CollectorMetrics:
    """The metrics of one collector in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        # Finding the one of the labels takes several times as long as counting; there are few, so all are remembered.
        requests = Counter(
            "wakeline_collector_requests", "Answered requests.", ("endpoint", "status"), registry=registry
        )
        self._request = cache(requests.labels)
        events = Counter(
            "wakeline_collector_events",
            "Events of valid requests: appended, failed (the stream took none) or refused (back-pressure).",
            ("source", "outcome"),
            registry=registry,
        )
        self._event = cache(events.labels)
        sizes = Counter(
            "wakeline_collector_event_bytes", "Bytes of the events appended.", ("source",), registry=registry
        )
        self._byte = cache(sizes.labels)
        self._backpressure = Counter(
            "wakeline_collector_backpressure",
            "Requests refused because too much waits: pending (for the stream) or unread (in the stream).",
            ("reason",),
            registry=registry,
        )
        for reason in (PENDING, UNREAD):
            self._backpressure.labels(reason)  # There at 0, so that the first one is seen as an increase.
        self.append_seconds = Histogram(
            "wakeline_collector_append_duration_seconds",
            "How long an append to the stream takes, of all requests that share it.",
            registry=registry,
            buckets=_APPEND_SECONDS,
        )

    def answered(self, endpoint: str, status: int) -> None:
        """Count a request."""
        self._request(endpoint, status).inc()

    def events(self, source: str, outcome: str, count: int, size: int) -> None:
        """Count the events of one request and source; `size` in bytes."""
        self._event(source, outcome).inc(count)
        if outcome == APPENDED:
            self._byte(source).inc(size)

    def pushed_back(self, reason: str) -> None:
        """Count a request that was refused because too much waits."""
        self._backpressure.labels(reason).inc()

    def watch(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """A gauge that is looked at whenever Prometheus asks."""
        Gauge(f"wakeline_collector_{name}", meaning, registry=self.registry).set_function(value)


class CountRequests:
    """Middleware that counts each answer by the endpoint's path as it is written in the routes."""

    def __init__(self, app: ASGIApp, metrics: CollectorMetrics, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        self._metrics = metrics
        known = [route for route in routes if isinstance(route, Route)]
        self._exact = {route.path for route in known if not route.param_convertors}
        self._patterns = [route for route in known if route.param_convertors]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._metrics.answered(self._endpoint(scope), message["status"])
            await send(message)

        try:
            await self._app(scope, receive, counted)
        except Exception:  # A bug, which is answered further out.
            self._metrics.answered(self._endpoint(scope), 500)
            raise

    def _endpoint(self, scope: Scope) -> str:
        if scope["path"] in self._exact:
            return str(scope["path"])
        return next((one.path for one in self._patterns if one.matches(scope)[0] is not Match.NONE), OTHER)
