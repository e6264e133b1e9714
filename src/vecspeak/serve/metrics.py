"""What Prometheus reads at /metrics."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS = (0.005, 0.02, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120)


class Metrics:
    """One server's counters, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self.requests = Counter("vecspeak_requests", "Requests answered.", ["route", "status"], registry=r)
        self.latency = Histogram(
            "vecspeak_request_seconds", "From arrival to the last byte.", ["route"], buckets=SECONDS, registry=r
        )
        self.first_word = Histogram(
            "vecspeak_first_word_seconds", "From arrival to the first words of an answer.", buckets=SECONDS, registry=r
        )
        self.tokens = Counter("vecspeak_generated_tokens", "Tokens generated.", registry=r)
        self.steps = Counter(
            "vecspeak_decoding_steps", "Forwards of the base; tokens by step is the mean batch.", registry=r
        )
        self.refused = Counter("vecspeak_queue_full", "Requests refused because the queue was full.", registry=r)

    def gauges(self, *, queue: Callable[[], int], running: Callable[[], int]) -> None:
        """Values that are asked for when Prometheus does."""
        Gauge("vecspeak_queue_length", "Requests waiting.", registry=self.registry).set_function(queue)
        Gauge("vecspeak_rows_running", "Answers being decoded.", registry=self.registry).set_function(running)


class Measured:
    """ASGI middleware that counts and times requests by the route's own path, not by what was asked for."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.latency.labels(route).observe(time.perf_counter() - start)
