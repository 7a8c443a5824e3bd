"""What is measured, against what, and the bar that the ratio shall reach (DESIGN's table)."""
from dataclasses import dataclass
from typing import Any, Optional

from harness.programs import Godwit, Moves, Peer, SameRuns, Ucx

# µs of each side before it answers, taken off the result: long enough for the other to fall asleep.
THINK = 50
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


@dataclass(frozen=True)
class Metric:
    unit: str
    higher_is_better: bool
    of: Any  # (result, bytes of an operation) -> value


HALF_ROUND_TRIP = Metric("µs", False, lambda r, size: r["mean_ns"] / 2000)
ROUND_TRIP = Metric("µs", False, lambda r, size: r["mean_ns"] / 1000)
TIME = Metric("ns", False, lambda r, size: r["mean_ns"])
RATE = Metric("M/s", True, lambda r, size: 1000 / r["mean_ns"])
BLACKOUT = Metric("ms", False, lambda r, size: r["blackout_p50_ms"])
WORST_BLACKOUT = Metric("ms", False, lambda r, size: r["blackout_worst_ms"])
BANDWIDTH = Metric("GB/s", True, lambda r, size: size / r["mean_ns"])


@dataclass(frozen=True)
class Measure:
    name: str
    what: str
    metric: Metric
    godwit: Optional[Any]
    peer: Optional[Any] = None
    peer_name: str = ""
    bar: Optional[float] = None  # of Godwit / peer: at most, or at least if higher is better
    limit: Optional[float] = None  # of Godwit alone: at most, in the metric's unit
    sleeping: bool = False  # the sides shall sleep, so a run in which they did not does not count

    def value(self, side, result):
        return self.metric.of(result, side.size)

    def met(self, ratio, median=None):
        if self.limit is not None and median is not None:
            return median <= self.limit
        if self.bar is None or ratio is None:
            return None
        return ratio >= self.bar if self.metric.higher_is_better else ratio <= self.bar


SMALL_STATE, LARGE_STATE = Moves("1M", 100), Moves("256M", 20)

MEASURES = [
    Measure("shm-latency", "shm, 64 B, half round trip, polling", HALF_ROUND_TRIP,
            Godwit("ping-pong", count=2_000_000), Ucx("tag_lat", "posix,self", count=2_000_000),
            "ucx_perftest tag_lat, posix", 1.0),
    Measure("shm-stream", "shm, 64 B, one way", RATE,
            Godwit("stream", count=10_000_000), Ucx("tag_bw", "posix,self", count=10_000_000),
            "ucx_perftest tag_bw, posix", 1.0),
    Measure("shm-handover", "shm, 1 MiB handed over from the pool, half round trip", HALF_ROUND_TRIP,
            Godwit("ping-pong", size=MIB, count=500_000, handover=True),
            Godwit("ping-pong", count=2_000_000), "Godwit, 64 B", 3.0),
    Measure("tcp-latency", "tcp, 64 B, half round trip, polling", HALF_ROUND_TRIP,
            Godwit("ping-pong", "tcp", count=50_000), Ucx("tag_lat", "tcp", count=50_000),
            "ucx_perftest tag_lat, tcp", 1.0),
    Measure("tcp-stream", "tcp, 64 B, one way", RATE,
            Godwit("stream", "tcp", count=2_000_000), Ucx("tag_bw", "tcp", count=200_000),
            "ucx_perftest tag_bw, tcp", 5.0),
    Measure("tcp-bandwidth", "tcp, 1 MiB, one way", BANDWIDTH,
            Godwit("stream", "tcp", size=MIB, count=3000, handover=True),
            Peer("tcp-stream", size=MIB, count=3000), "plain sockets", 0.95),
    Measure("ucx-latency", "ucx over tcp, 64 B, half round trip, polling", HALF_ROUND_TRIP,
            Godwit("ping-pong", "ucx", count=50_000), Ucx("tag_lat", "tcp", count=50_000),
            "ucx_perftest tag_lat, tcp", 1.15),
    Measure("blocking-call", "shm, 64 B call, both sides sleep, round trip", ROUND_TRIP,
            Godwit("call", count=20_000, spin="sleep", think=THINK),
            Peer("futex", count=20_000, think=THINK),
            "futex ping-pong", 1.3, sleeping=True),
    Measure("move", "a move under load, 1 MiB of state: half of the blackouts are shorter", BLACKOUT,
            SMALL_STATE, limit=1.0),
    Measure("move-worst", "the same: the longest blackout", WORST_BLACKOUT,
            SameRuns(SMALL_STATE), limit=10.0),
    Measure("move-large", "a move under load, 256 MiB: half of the blackouts are shorter", BLACKOUT,
            LARGE_STATE, limit=1.0),
    Measure("move-large-worst", "the same: the longest blackout", WORST_BLACKOUT,
            SameRuns(LARGE_STATE), limit=10.0),
    # For information: no bar.
    Measure("shm-call", "shm, 64 B call, polling, round trip", ROUND_TRIP,
            Godwit("call", count=1_000_000)),
    Measure("shm-call-stream", "shm, 64 B calls, a window in flight", RATE,
            Godwit("call-stream", count=3_000_000)),
    Measure("tcp-call", "tcp, 64 B call, polling, round trip", ROUND_TRIP,
            Godwit("call", "tcp", count=50_000)),
    Measure("shm-bandwidth", "shm, 1 MiB copied by send, one way", BANDWIDTH,
            Godwit("stream", size=MIB, count=5000), Ucx("tag_bw", "posix,self", MIB, 5000),
            "ucx_perftest tag_bw, posix"),
    Measure("shm-copy", "shm, copy_from of 1 GiB", BANDWIDTH,
            Godwit("copy", size=GIB, count=3, warmup=1)),
    Measure("tcp-copy", "tcp, copy_from of 1 GiB", BANDWIDTH,
            Godwit("copy", "tcp", size=GIB, count=1, warmup=1)),
    Measure("lookup", "lookup of a name this process knows", TIME,
            Godwit("lookup", count=1_000_000)),
    Measure("pipe", "pipe, 64 B, both sleep, round trip", ROUND_TRIP, None,
            Peer("pipe", count=50_000), "two pipes"),
    Measure("unix", "Unix socket, 64 B, both sleep, round trip", ROUND_TRIP, None,
            Peer("unix", count=50_000), "socketpair"),
    Measure("tcp-sockets", "TCP socket, 64 B, both sleep, round trip", ROUND_TRIP, None,
            Peer("tcp", count=50_000), "plain sockets"),
]
