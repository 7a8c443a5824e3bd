"""A server moves from node to node over RDMA while clients on both count, with ZooKeeper on a third."""
from labtool.agents import ENVIRONMENT, godwit, start_agents, start_zookeeper
from labtool.cluster import Cluster
from labtool.testing import case

CALLS = 12_000


@case(nodes=3, seconds=600)
def test_while_clients_count(cluster: Cluster) -> None:
    cluster.need_guests()
    cluster.need_rdma()
    server = cluster.program("example_kv")
    start_agents(cluster, (1, 2), start_zookeeper(cluster, 3), "demo",
                 f'[programs.kv]\ncommand = ["{server}", "server"]\n')
    cluster.start(1, f"{ENVIRONMENT} {server} server >/run/kv.log 2>&1")
    cluster.wait_until(lambda: "serving" in cluster.run(1, "cat /run/kv.log").stdout, "it serves")
    before = [cluster.rdma_counter(node, "rcvd_pkts") for node in (1, 2)]
    clients = [cluster.start(node, f"{ENVIRONMENT} {server} count client{node} {CALLS}")
               for node in (1, 2)]
    for target in (2, 1):
        moved = cluster.run(1, godwit(cluster, f"migrate demo/kv node{target}"), timeout=120)
        assert moved.status == 0, moved.stdout[-2000:] + moved.stderr[-2000:]
    assert all(client.running() for client in clients), "the counting ended before the moves"
    for client in clients:
        result = client.wait(300)
        assert result.status == 0, result.stdout[-2000:] + result.stderr[-2000:]
        assert f"{CALLS} calls, each executed once" in result.stdout, result.stdout
    carried = [cluster.rdma_counter(node, "rcvd_pkts") - at
               for node, at in zip((1, 2), before)]
    assert min(carried) > CALLS / 2, f"the devices carried {carried} packets alone"
    for node in (1, 2):
        cluster.check_kernel(node)
