"""The benchmark over RDMA works, and what it finds is printed. It is no test of speed: bars are judged
by many runs on a quiet machine (bench/README.md)."""
import sys

from labtool.cluster import Cluster
from labtool.places import PROJECT, say
from labtool.testing import case


@case(nodes=2, seconds=300)
def test_beside_perftest(cluster: Cluster) -> None:
    cluster.need_rdma()
    cluster.program("godwit_link_bench")
    cluster.need_file(1, "/usr/bin/ib_send_lat", "perftest")
    bench = cluster.start_here([sys.executable, str(PROJECT / "bench" / "lab"), "--repeat", "1"])
    result = bench.wait(280)
    assert result.status == 0, result.stdout[-2000:] + result.stderr[-2000:]
    measured = [line for line in result.stderr.splitlines() if "| ratio " in line]
    assert len(measured) >= 8, result.stderr[-2000:]
    for line in measured:
        assert "| ratio -" not in line, line
        say(line.split(" (bar")[0])
