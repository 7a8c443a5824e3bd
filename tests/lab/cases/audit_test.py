"""The audit over RDMA: calls and messages between processes of one node, each counted, while their
connections are cut."""
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
