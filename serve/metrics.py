"""Metrics for Prometheus: requests, the queue, the batch, and the time to the first audio."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .scheduler import Scheduler

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """The metrics of one server."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_SchedulerMetrics(scheduler))
        self._requests = Counter(
            "almtok_requests", "Answered requests", ("method", "route", "status"),
            registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "almtok_request_seconds", "Time from a request to the end of its answer", ("route",),
            registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip
        self._first_sound = Histogram(
            "almtok_first_sound_seconds", "Time from a request to its first audio",
            registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip

    def count(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answered request.

        Args:
            method: of HTTP, or "WEBSOCKET".
            route: path with the names of its parameters.
            status: of the response; 499 if the client left before it.
            seconds: until the end of the answer.
        """
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def first_sound(self, seconds: float) -> None:
        """Note the time from a request to its first audio."""
        self._first_sound.observe(seconds)

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self.registry)


class _SchedulerMetrics(Collector):
    """The counts of a scheduler, read when they are asked for."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler

    def collect(self) -> Iterator[Metric]:
        stats, pipeline = self.scheduler.stats, self.scheduler.pipeline
        seconds = stats.audio_frames / pipeline.frame_rate(pipeline.frames_per_query())
        yield GaugeMetricFamily("almtok_queued_rows", "Rows that wait for the model", stats.queued)
        yield GaugeMetricFamily("almtok_running_rows", "Rows in the batch", stats.running)
        yield CounterMetricFamily("almtok_generation_steps", "Steps of the model", stats.steps)
        yield CounterMetricFamily("almtok_audio_seconds", "Audio of finished rows", seconds)
        rows = CounterMetricFamily("almtok_rows", "Ended rows", labels=["outcome"])
        rows.add_metric(["done"], stats.rows_done)
        rows.add_metric(["failed"], stats.rows_failed)
        rows.add_metric(["cancelled"], stats.rows_cancelled)
        yield rows
