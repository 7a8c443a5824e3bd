"""The ucx transport over the nodes' RDMA devices: rc_verbs, connected by rdmacm."""
import json
import time

from labtool.cluster import Cluster
from labtool.testing import case


def run_tests(cluster: Cluster, which: str, least: int, timeout: int = 150) -> None:
    """Runs tests of the fabric in one node: both ends of their connections are there."""
    cluster.need_rdma()
    tests = cluster.program("godwit_fabric_tests")
    before = cluster.rdma_counter(1, "rcvd_pkts")
    result = cluster.run(1, f"{tests} --gtest_brief=1 --gtest_filter='{which}'", timeout=timeout)
    assert result.status == 0, result.stdout[-3000:] + result.stderr[-1000:]
    assert "PASSED  ] 0 tests" not in result.stdout, "no test was run"
    assert "SKIPPED" not in result.stdout, result.stdout[-1000:]
    carried = cluster.rdma_counter(1, "rcvd_pkts") - before
    assert carried > least, f"the device carried {carried} packets alone"
    cluster.check_kernel(1)


@case(nodes=1, seconds=180)
def test_reconnects(cluster: Cluster) -> None:
    # So few ports that servers are given those of their predecessors.
    cluster.out(1, "sysctl -qw net.ipv4.ip_local_port_range='40000 40007'")
    try:
        run_tests(cluster, "Over/UcxReconnects.*/rdma:UcxReconnectsOverRdma.*", least=2000)
    finally:
        cluster.out(1, "sysctl -qw net.ipv4.ip_local_port_range='32768 60999'")


@case(nodes=1, seconds=180)
def test_killed_peers(cluster: Cluster) -> None:
    run_tests(cluster, "Over/UcxPeerDeath.*/rdma_*:UcxPeerDeathOverRdma.*:UcxSettings.*:UcxChoice.*",
              least=1000)


@case(nodes=1, seconds=180)
def test_hostile_peers(cluster: Cluster) -> None:
    run_tests(cluster, "Over/HostileUcxPeer.*/rdma:HostileVerbsPeer.*", least=1000)


@case(nodes=2, seconds=120)
def test_between_two_nodes_client_after_client(cluster: Cluster) -> None:
    cluster.need_rdma()
    bench = f"{cluster.program('godwit_link_bench')} --transport ucx"
    before = [cluster.rdma_counter(node, "rcvd_pkts") for node in (1, 2)]
    cluster.start(1, f"{bench} --host {cluster.address(1)} --serve --sleep >/tmp/ucx.address")
    address = cluster.wait_until(lambda: cluster.run(1, "cat /tmp/ucx.address").stdout.strip(),
                                 "the server prints its address")
    # Each client is a process of its own and dials as soon as the one before it has ended.
    clients = ["--size 64 --count 50", "--size 2048 --count 50 --sleep",
               "--size 8000 --count 50 --stream", "--size 1048576 --count 10 --stream",
               *["--size 64 --count 5"] * 4]
    for arguments in clients:
        began = time.monotonic()
        printed = cluster.out(2, f"{bench} --host {cluster.address(2)} --to {address} {arguments}",
                              timeout=60)
        assert json.loads(printed)["count"] > 0, printed
        assert time.monotonic() - began < 12, f"{arguments}: took {time.monotonic() - began:.1f} s"
    after = [cluster.rdma_counter(node, "rcvd_pkts") for node in (1, 2)]
    # 11 MiB in packets of 4 KiB, one way.
    assert after[1] + after[0] > before[0] + before[1] + 2800, (before, after)


@case(nodes=1, seconds=180)
def test_conformance(cluster: Cluster) -> None:
    run_tests(cluster, "Transports/Conformance.*/ucx_rdma", least=20_000)
