"""Godwit's agents on nodes of the lab, and the ZooKeeper server that is their directory."""
from labtool.cluster import Cluster

PORT = 2181
JAVA = "/usr/bin/java"
JAR = "/usr/share/java/zookeeper.jar"
# An emulated processor is slow, and a Java machine on one slower still.
SESSION = "20s"
RUN = "/run/godwit"  # the agents' runtime directory, on every node
ENVIRONMENT = f"GODWIT_RUN={RUN}"


def start_zookeeper(cluster: Cluster, node: int) -> str:
    """The directory that it serves, as an agent is told of it."""
    cluster.need_file(node, JAR, "the package zookeeper")
    folder = "/run/zookeeper"
    configuration = (f"tickTime=2000\\ndataDir={folder}\\nclientPort={PORT}\\n"
                     "admin.enableServer=false\\n")
    # What a case before this one has left is not for this one.
    cluster.out(node, f"rm -rf {folder} && mkdir {folder} && "
                f"printf '{configuration}' >{folder}/zoo.cfg")
    cluster.start(node, f"{JAVA} -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp {JAR} "
                  f"org.apache.zookeeper.server.quorum.QuorumPeerMain {folder}/zoo.cfg "
                  f">{folder}/log 2>&1")
    cluster.wait_until(lambda: cluster.out(node, f"ss -Hltn sport = :{PORT}"),
                       "ZooKeeper listens", timeout=120)
    return f"zookeeper:{cluster.address(node)}:{PORT}"


def start_agents(cluster: Cluster, nodes: "tuple[int, ...]", directory: str, dc: str,
                 programs: str = "") -> None:
    """An agent on each of the nodes, all with the DC and its key; `programs` are the tables of
    their configuration that say what they may start."""
    agent, key = cluster.program("godwitd"), ""
    for node in nodes:
        cluster.out(node, f"rm -rf /run/state {RUN} && mkdir -p -m 700 /run/state /run/state/keys")
        configuration = (f'node = "node{node}"\nstate = "/run/state"\nrun = "{RUN}"\n'
                         f'directory = "{directory}"\nsession_timeout = "{SESSION}"\n'
                         f'listen_host = "{cluster.address(node)}"\ncreate_dcs = ["{dc}"]\n'
                         f'{programs}')
        if key:
            cluster.out(node, f"umask 077 && base64 -d >/run/state/keys/{dc}.key "
                        f"<<'END'\n{key}\nEND")
        cluster.out(node, f"cat >/run/godwitd.toml <<'END'\n{configuration}\nEND")
        cluster.start(node, f"{agent} --config /run/godwitd.toml 2>/run/godwitd.log")
        cluster.wait_until(lambda n=node: cluster.run(n, godwit(cluster, "node ls")).status == 0,
                           f"the agent of node{node} answers", timeout=60)
        # Made once the directory has the DC.
        key = key or cluster.wait_until(
            lambda: cluster.run(nodes[0], f"base64 /run/state/keys/{dc}.key").stdout.strip(),
            "the first agent makes the DC's key", timeout=60)


def godwit(cluster: Cluster, arguments: str) -> str:
    return f"{ENVIRONMENT} {cluster.program('godwit')} {arguments}"
