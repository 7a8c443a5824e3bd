"""The transports' contract, and the corpora of the fuzz targets from a hostile peer, each end of the
connections in a process on a node of its own."""
import re

from labtool.cluster import Cluster
from labtool.testing import case


def run_between(cluster: Cluster, transports: "tuple[str, ...]") -> None:
    cluster.need_rdma()
    tests = cluster.program("godwit_remote_conformance")
    before = [cluster.rdma_counter(node, "rcvd_pkts") for node in (1, 2)]
    cluster.out(1, "rm -f /tmp/conformance.address")  # of the case before this one
    cluster.start(1, f"{tests} --serve {cluster.address(1)}:0 >/tmp/conformance.address")
    address = cluster.wait_until(
        lambda: cluster.run(1, "cat /tmp/conformance.address").stdout.strip(),
        "the server prints its address")
    which = ":".join(f"Transports/*/{each}" for each in transports)
    result = cluster.run(2, f"GODWIT_FABRIC_PEER={address} {tests} --gtest_filter='{which}'",
                         timeout=200)
    assert result.status == 0, result.stdout[-3000:] + result.stderr[-1000:]
    assert "SKIPPED" not in result.stdout, result.stdout[-1000:]
    for each in transports:
        passed = re.findall(rf"OK \] Transports/\S+/{each} ", result.stdout)
        assert len(passed) >= 10, f"{each}: {len(passed)} tests\n{result.stdout[-1000:]}"
    for node, at in zip((1, 2), before):
        carried = cluster.rdma_counter(node, "rcvd_pkts") - at
        assert carried > 5_000, f"the device of node{node} carried {carried} packets alone"
        cluster.check_kernel(node)


@case(nodes=2, seconds=240)
def test_verbs(cluster: Cluster) -> None:
    run_between(cluster, ("verbs", "verbs_narrow"))


@case(nodes=2, seconds=240)
def test_ucx(cluster: Cluster) -> None:
    run_between(cluster, ("ucx_rdma",))
