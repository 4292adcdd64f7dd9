"""What Prometheus may know."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters of one server; nothing in them comes from a request but its method."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "tvrkit_requests", "Requests answered.", ("route", "method", "status"), registry=registry
        )
        self._seconds = Histogram(
            "tvrkit_request_seconds", "From a request to the end of its answer.", ("route",), registry=registry,
            buckets=_SECONDS,
        )  # fmt: skip
        self._running = Gauge("tvrkit_requests_running", "Requests being answered.", registry=registry)
        self._together = Histogram(
            "tvrkit_searches_together", "Searches answered in one call of the model.", registry=registry,
            buckets=(1, 2, 4, 8, 16),
        )  # fmt: skip
        self._waiting = Gauge(
            "tvrkit_jobs_waiting", "Jobs that waited for the model when it was free.", registry=registry
        )
        self._videos = Gauge("tvrkit_index_videos", "Videos in the index.", registry=registry)
        self._moments = Gauge("tvrkit_index_moments", "Moments in the index.", registry=registry)
        self._errors = Counter("tvrkit_errors", "Requests that failed unforeseen.", registry=registry)

    def together(self, number: int, waiting: int) -> None:
        """So many searches are answered in one call, and so many jobs wait."""
        self._together.observe(number)
        self._waiting.set(waiting)

    def failed(self) -> None:
        """A request ended in what nobody foresaw."""
        self._errors.inc()

    def page(self, videos: int, moments: int) -> bytes:
        """All of them, in Prometheus' text format."""
        self._videos.set(videos)
        self._moments.set(moments)
        return generate_latest(self._registry)

    def begin(self, method: str) -> Callable[[str, int], None]:
        """A request begins; call what is given back with its route and status when it ends."""
        started = time.perf_counter()
        self._running.inc()

        def end(route: str, status: int) -> None:
            self._running.dec()
            self._requests.labels(route, method if method in _METHODS else "other", str(status)).inc()
            self._seconds.labels(route).observe(time.perf_counter() - started)

        return end


class Measured:
    """An ASGI application around another that counts its requests."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and count."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        end = self._metrics.begin(scope["method"])
        try:
            await self._app(scope, receive, watched)
        finally:
            # The route's name, never the path: that is the client's.
            end(getattr(scope.get("endpoint"), "__name__", "none"), status)
