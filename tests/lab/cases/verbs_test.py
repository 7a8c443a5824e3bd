"""The verbs transport over the nodes' RDMA devices."""
import json

from labtool.cluster import Cluster
from labtool.testing import case


def run_tests(cluster: Cluster, which: str, environment: str = "",
              program: str = "godwit_fabric_tests") -> None:
    """Runs tests in one node: both ends of their connections are there."""
    cluster.need_rdma()
    tests = cluster.program(program)
    # A device that the tests remove and make again counts from 0.
    before = 0 if environment else cluster.rdma_counter(1, "rcvd_pkts")
    result = cluster.run(1, f"{environment} {tests} --gtest_brief=1 --gtest_filter='{which}'",
                         timeout=400)
    assert result.status == 0, result.stdout[-3000:] + result.stderr[-1000:]
    assert "PASSED  ] 0 tests" not in result.stdout, "no test was run"
    assert cluster.rdma_counter(1, "rcvd_pkts") > before + 10, "the device carried nothing"
    cluster.check_kernel(1)


@case(nodes=1, seconds=420)
def test_conformance(cluster: Cluster) -> None:
    run_tests(cluster, "Transports/Conformance.*/verbs")


@case(nodes=1, seconds=420)
def test_conformance_with_little_memory(cluster: Cluster) -> None:
    # Those in which it matters how little room there is.
    names = ("FramesKeep", "EveryPayload", "LargeAndSmall", "AFullConnection", "WhatWasSent",
             "CloseFrees", "ManyConnections", "ASenderSleeps")
    run_tests(cluster, ":".join(f"Transports/Conformance.{name}*/verbs_narrow" for name in names))


@case(nodes=1, seconds=240)
def test_failing_queue_pairs_and_little_memory(cluster: Cluster) -> None:
    run_tests(cluster, "VerbsDevice.*")


@case(nodes=1, seconds=240)
def test_one_sided_access(cluster: Cluster) -> None:
    run_tests(cluster, "Transports/OneSided.*/verbs*:VerbsDeviceOneSided.*")


@case(nodes=1, seconds=300)
def test_copies_against_grants(cluster: Cluster) -> None:
    run_tests(cluster, "Transports/Grants.*/verbs", program="godwit_endpoints_tests")


@case(nodes=1, seconds=240)
def test_two_thousand_connections(cluster: Cluster) -> None:
    run_tests(cluster, "HeavyVerbsDevice.*")


@case(nodes=1, seconds=120)
def test_a_device_that_is_removed(cluster: Cluster) -> None:
    cluster.need_guests()
    run_tests(cluster, "RealVerbsRemoval.*",
              f"GODWIT_REMOVABLE_RDMA={cluster.device(1)}:{cluster.interface(1)}")


@case(nodes=2, seconds=180)
def test_between_two_nodes(cluster: Cluster) -> None:
    cluster.need_rdma()
    bench = cluster.program("godwit_link_bench")
    before = [cluster.rdma_counter(node, "rcvd_pkts") for node in (1, 2)]
    cluster.start(1, f"{bench} --host {cluster.address(1)} --serve --sleep >/tmp/verbs.address")
    address = cluster.wait_until(lambda: cluster.run(1, "cat /tmp/verbs.address").stdout.strip(),
                                 "the server prints its address")
    for arguments in ("--size 64 --count 200", "--size 2048 --count 200 --sleep",
                      "--size 8000 --count 200 --stream", "--size 1048576 --count 20 --stream"):
        printed = cluster.out(2, f"{bench} --host {cluster.address(2)} --to {address} {arguments}",
                              timeout=100)
        assert json.loads(printed)["count"] > 0, printed
    after = [cluster.rdma_counter(node, "rcvd_pkts") for node in (1, 2)]
    # 22 MiB in packets of 4 KiB, one way.
    assert after[1] + after[0] > before[0] + before[1] + 5000, (before, after)


@case(nodes=1, seconds=120)
def test_a_user_with_little_locked_memory(cluster: Cluster) -> None:
    # What a distribution gives a user who is not root: 8 MiB.
    cluster.need_guests()
    cluster.need_rdma()
    cluster.out(1, "chmod 666 /dev/infiniband/*")
    bench, host = cluster.program("godwit_link_bench"), cluster.address(1)

    def limited(kib: int) -> str:
        return (f"prlimit --memlock={kib * 1024}:{kib * 1024} setpriv --reuid=65534 --regid=65534 "
                f"--clear-groups {bench} --host {host}")

    before = cluster.rdma_counter(1, "rcvd_pkts")
    cluster.start(1, f"{limited(8192)} --serve >/tmp/limited.address")
    address = cluster.wait_until(lambda: cluster.run(1, "cat /tmp/limited.address").stdout.strip(),
                                 "the server prints its address")
    for arguments in ("--size 64 --count 200", "--size 1048576 --count 10 --stream"):
        printed = cluster.out(1, f"{limited(8192)} --to {address} {arguments}", timeout=60)
        assert json.loads(printed)["count"] > 0, printed
    assert cluster.rdma_counter(1, "rcvd_pkts") > before + 2000, "the device carried nothing"
    refused = cluster.run(1, f"{limited(64)} --serve", timeout=30)
    assert refused.status == 1, refused
    assert "ulimit -l" in refused.stderr, refused.stderr
