"""The audit over RDMA: calls and messages between processes of one node, each counted, while their
connections are cut."""
import time

from labtool.cluster import Cluster
from labtool.testing import case


@case(nodes=1, seconds=400)
def test_over_verbs(cluster: Cluster) -> None:
    cluster.need_rdma()
    audit = cluster.program("godwit_audit")
    before = cluster.rdma_counter(1, "rcvd_pkts")
    operations = 20_000
    result = cluster.run(1, f"{audit} --processes 4 --operations {operations} --transports verbs,tcp "
                         f"--cuts-per-second 0.5 --host {cluster.address(1)} --limit 300",
                         timeout=350)
    assert result.status == 0, result.stdout[-3000:] + result.stderr[-1000:]
    carried = cluster.rdma_counter(1, "rcvd_pkts") - before
    assert carried > operations / 4, f"the device carried {carried} packets alone"
    cluster.check_kernel(1)


@case(nodes=1, seconds=400)
def test_over_a_device_that_goes_and_comes_back(cluster: Cluster) -> None:
    cluster.need_guests()
    cluster.need_rdma()
    audit = cluster.program("godwit_audit")
    device, interface = cluster.device(1), cluster.interface(1)
    running = cluster.start(1, f"{audit} --processes 4 --operations 120000 --transports verbs,tcp "
                            f"--cuts-per-second 0 --host {cluster.address(1)} --limit 300")
    cluster.wait_until(lambda: cluster.rdma_counter(1, "rcvd_pkts") > 2000, "the device is used")
    cluster.out(1, f"rdma link delete {device}")
    time.sleep(2)
    assert running.running(), "the audit ended too soon: give it more to do"
    # A new device, whose counters begin at 0.
    cluster.out(1, f"rdma link add {device} type rxe netdev {interface}")
    cluster.wait_until(lambda: cluster.rdma_counter(1, "rcvd_pkts") > 2000,
                       "the channels return to the device", timeout=60)
    result = running.wait(300)
    assert result.status == 0, result.stdout[-3000:] + result.stderr[-1000:]
    cluster.check_kernel(1)
