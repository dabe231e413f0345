"""What the server counts, as text for Prometheus."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

from wrkflw.runtime import Runtime

_BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Seconds."""
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Of one server, since it began."""

    def __init__(self, rt: Runtime) -> None:
        self.streams = 0
        """That are open now."""
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._durations: defaultdict[str, list[int]] = defaultdict(lambda: [0] * (len(_BOUNDS) + 1))
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._events = _events_of(rt)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """``route`` is its template: the paths themselves would be endless."""
        self._requests[method, route, status] += 1
        self._durations[route][bisect_left(_BOUNDS, seconds)] += 1
        self._seconds[route] += seconds

    def text(self, driving: int) -> str:
        """``driving`` is how many runs are advanced here now."""
        return "".join(f"{line}\n" for line in self._lines(driving))

    def _lines(self, driving: int) -> Iterator[str]:
        yield from _head("wrkflw_http_requests_total", "counter", "Requests answered.")
        for (method, route, status), count in sorted(self._requests.items()):
            yield f'wrkflw_http_requests_total{{method="{method}",route="{route}",status="{status}"}} {count}'
        yield from _head("wrkflw_http_request_duration_seconds", "histogram", "From a request's headers to its answer.")
        for route, counts in sorted(self._durations.items()):
            yield from _histogram(route, counts, self._seconds[route])
        yield from _head("wrkflw_events_total", "counter", "Events that this process has committed.")
        for kind, count in sorted(self._events.items()):
            yield f'wrkflw_events_total{{type="{kind}"}} {count}'
        yield from _head("wrkflw_runs_advancing", "gauge", "Runs that this process advances now.")
        yield f"wrkflw_runs_advancing {driving}"
        yield from _head("wrkflw_http_streams_open", "gauge", "Streams of runs that are being read.")
        yield f"wrkflw_http_streams_open {self.streams}"


_heard: WeakKeyDictionary[Runtime, Counter[str]] = WeakKeyDictionary()


def _events_of(rt: Runtime) -> Counter[str]:
    """Those that were committed here since it was first served: counted once for all that serve it."""
    if rt not in _heard:
        counted = _heard[rt] = Counter[str]()

        def hear(_run_id: str, event_types: Sequence[str]) -> None:
            counted.update(event_types)

        rt.world.subscribe(hear, own=True)
    return _heard[rt]


def _head(name: str, kind: str, meaning: str) -> Iterator[str]:
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} {kind}"


def _histogram(route: str, counts: Sequence[int], seconds: float) -> Iterator[str]:
    name, total = "wrkflw_http_request_duration_seconds", 0
    for bound, count in zip((*map(str, _BOUNDS), "+Inf"), counts, strict=True):
        total += count
        yield f'{name}_bucket{{route="{route}",le="{bound}"}} {total}'
    yield f'{name}_sum{{route="{route}"}} {seconds:.6f}'
    yield f'{name}_count{{route="{route}"}} {total}'
