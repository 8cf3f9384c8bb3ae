"""What Prometheus reads of a server."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.process_collector import ProcessCollector

SECONDS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 3, 6, 12, 30, 60, 120, 300, 900)
CLIPS = (1, 2, 3, 4, 6, 8, 12, 16)


class Metrics:
    """Counters of one server."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.requests = Counter(
            "claip_emo_requests", "Answered requests.", ("route", "status"), registry=registry
        )
        self.seconds = Histogram(
            "claip_emo_request_seconds", "From the first byte of a request to the last of its "
            "answer.", ("route",), buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.uploaded = Counter("claip_emo_uploaded_bytes", "Of files.", registry=registry)
        self.in_flight = Gauge("claip_emo_in_flight", "Accepted requests.", registry=registry)
        self.reading = Histogram(
            "claip_emo_reading_seconds", "A file in a process, waiting for one included.",
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.scoring = Histogram(
            "claip_emo_scoring_seconds", "A clip by the model, waiting included.",
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.batches = Histogram(
            "claip_emo_batch_clips", "Clips that were scored at once.", buckets=CLIPS,
            registry=registry,
        )  # fmt: skip
        self.lost = Counter(
            "claip_emo_workers_lost", "Processes that ended with a file.", registry=registry
        )

    def text(self) -> bytes:
        """Return all of it as Prometheus wants it."""
        return generate_latest(self.registry)
