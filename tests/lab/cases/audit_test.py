"""The audit over RDMA: calls, messages and copies against grants between processes, each counted or
compared, while their connections and links are cut and they themselves are killed."""
import re
import time

from labtool.agents import RUN, start_agents, start_zookeeper
from labtool.cluster import TOOL, Background, Cluster
from labtool.testing import case


@case(nodes=1, seconds=400)
def test_over_verbs(cluster: Cluster) -> None:
    cluster.need_rdma()
    audit = cluster.program("godwit_audit")
    before = cluster.rdma_counter(1, "rcvd_pkts")
    operations = 20_000
    result = cluster.run(1, f"{audit} --processes 4 --operations {operations} --transports verbs,tcp "
                         f"--copies 50 --cuts-per-second 0.5 --host {cluster.address(1)} --limit 300",
                         timeout=350)
    assert result.status == 0, result.stdout[-3000:] + result.stderr[-1000:]
    # Copies of large pieces: most of the bytes go by RDMA READ and WRITE.
    copies = re.search(r"(\d+) copies against grants", result.stdout)
    one_sided = re.search(r"(\d+) bytes one-sided over verbs", result.stdout)
    assert copies and int(copies[1]) > operations / 100, result.stdout[-3000:]
    assert one_sided and int(one_sided[1]) > int(copies[1]) * 5_000, result.stdout[-3000:]
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


def start_between(cluster: Cluster, nodes: "tuple[int, ...]", arguments: str) -> Background:
    """godwit_audit, with workers on nodes that have agents."""
    places = [word for node in nodes for word in ("--node", f"{TOOL} run {node}")]
    return cluster.start_here([cluster.program("godwit_audit"), *places, "--run", RUN,
                               *arguments.split()])


def succeed(audit: Background, timeout: float) -> None:
    result = audit.wait(timeout)
    assert result.status == 0, result.stdout[-3000:] + result.stderr[-1000:]


@case(nodes=3, seconds=400)
def test_between_nodes(cluster: Cluster) -> None:
    cluster.need_guests()
    cluster.need_rdma()
    start_agents(cluster, (1, 2), start_zookeeper(cluster, 3), "audit")
    before = [cluster.rdma_counter(node, "rcvd_pkts") for node in (1, 2)]

    def carried() -> "list[int]":
        return [cluster.rdma_counter(node, "rcvd_pkts") - at for node, at in zip((1, 2), before)]

    audit = start_between(cluster, (1, 2), "--processes 4 --operations 40000 "
                          "--transports verbs,tcp --cuts-per-second 0.3 --limit 150")
    cluster.wait_until(lambda: min(carried()) > 2000, "the devices are used", timeout=60)
    for one_way in (False, True):
        cluster.cut(1, 2, one_way)
        time.sleep(3)
        cluster.heal()
        time.sleep(2)
    assert audit.running(), "it ended before the cuts of the link did: give it more to do"
    succeed(audit, 200)

    succeed(start_between(cluster, (1, 2), "--processes 4 --seconds 20 --kills 4 "
                          "--transports verbs,tcp --cuts-per-second 0.3"), 120)

    # UCX aborts a process now and then when a peer is killed: connections alone are cut.
    by_verbs = carried()
    succeed(start_between(cluster, (1, 2), "--processes 4 --operations 15000 "
                          "--transports ucx,tcp --cuts-per-second 0.5 --limit 100"), 150)
    by_ucx = [now - then for now, then in zip(carried(), by_verbs)]
    assert min(by_ucx) > 3000, f"the devices carried {by_ucx} packets alone over ucx"
    assert min(carried()) > 10_000, f"the devices carried {carried()} packets alone"
    for node in (1, 2):
        cluster.check_kernel(node)
