"""A server moves from node to node over RDMA while clients on both count, with ZooKeeper on a third."""
from labtool.cluster import Cluster
from labtool.testing import case

PORT = 2181
JAVA = "/usr/bin/java"
JAR = "/usr/share/java/zookeeper.jar"
CALLS = 12_000
# An emulated processor is slow, and a Java machine on one slower still.
SESSION = "20s"
ENVIRONMENT = "GODWIT_RUN=/run/godwit"


def start_zookeeper(cluster: Cluster, node: int) -> str:
    cluster.need_file(node, JAR, "the package zookeeper")
    folder = "/run/zookeeper"
    configuration = (f"tickTime=2000\ndataDir={folder}\nclientPort={PORT}\n"
                     "admin.enableServer=false\n")
    cluster.out(node, f"mkdir {folder} && printf '{configuration}' >{folder}/zoo.cfg")
    cluster.start(node, f"{JAVA} -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp {JAR} "
                  f"org.apache.zookeeper.server.quorum.QuorumPeerMain {folder}/zoo.cfg "
                  f">{folder}/log 2>&1")
    cluster.wait_until(lambda: cluster.out(node, f"ss -Hltn sport = :{PORT}"),
                       "ZooKeeper listens", timeout=120)
    return f"zookeeper:{cluster.address(node)}:{PORT}"


def start_agents(cluster: Cluster, nodes: "tuple[int, ...]", directory: str) -> None:
    agent, server = cluster.program("godwitd"), cluster.program("example_kv")
    key = ""
    for node in nodes:
        cluster.out(node, "mkdir -p -m 700 /run/state /run/state/keys")
        configuration = (f'node = "node{node}"\nstate = "/run/state"\nrun = "/run/godwit"\n'
                         f'directory = "{directory}"\nsession_timeout = "{SESSION}"\n'
                         f'listen_host = "{cluster.address(node)}"\ncreate_dcs = ["demo"]\n'
                         f'[programs.kv]\ncommand = ["{server}", "server"]\n')
        if key:
            cluster.out(node, "umask 077 && base64 -d >/run/state/keys/demo.key "
                        f"<<'END'\n{key}\nEND")
        cluster.out(node, f"cat >/run/godwitd.toml <<'END'\n{configuration}\nEND")
        cluster.start(node, f"{agent} --config /run/godwitd.toml 2>/run/godwitd.log")
        cluster.wait_until(lambda n=node: cluster.run(n, godwit(cluster, "node ls")).status == 0,
                           f"the agent of node{node} answers", timeout=60)
        # Made once the directory has the DC.
        key = key or cluster.wait_until(
            lambda: cluster.run(1, "base64 /run/state/keys/demo.key").stdout.strip(),
            "the first agent makes the DC's key", timeout=60)


def godwit(cluster: Cluster, arguments: str) -> str:
    return f"{ENVIRONMENT} {cluster.program('godwit')} {arguments}"


@case(nodes=3, seconds=600)
def test_while_clients_count(cluster: Cluster) -> None:
    cluster.need_guests()
    cluster.need_rdma()
    start_agents(cluster, (1, 2), start_zookeeper(cluster, 3))
    server = cluster.program("example_kv")
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
