"""Machines of one's own as nodes. The guests play their part: what stands in for ssh runs its
command in the guest that is named."""
import os
import subprocess
import sys
from pathlib import Path

from labtool.cluster import TOOL, Cluster
from labtool.hosts import Hosts, NotOnHosts
from labtool.places import TEST_STATE

FILE = TEST_STATE / "hosts"


def machines(cluster: Cluster) -> Hosts:
    cluster.need_guests()
    FILE.write_text("# two machines\n"
                    "1 10.77.0.1 eth0 rxe0\n"
                    "2 10.77.0.2 eth0 rxe0\n")
    # The tool that stands in for ssh must not take the machines for its nodes as well.
    os.environ["GODWIT_LAB_SSH"] = (f"env GODWIT_LAB_STATE={cluster.lab.state} "  # type: ignore
                                    f"{sys.executable} {TOOL} run")
    return Hosts(FILE)


def tool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "GODWIT_LAB_HOSTS": str(FILE)}
    return subprocess.run([sys.executable, str(TOOL), *arguments], capture_output=True, text=True,
                          timeout=60, check=False, env=environment)


def test_commands_by_ssh(cluster: Cluster) -> None:
    machines(cluster)
    result = tool("run", "2", "hostname; echo err >&2; exit 5")
    assert (result.returncode, result.stdout, result.stderr) == (5, "node2\n", "err\n"), result
    assert tool("run", "1", "printf", "<%s>", "a b", "$c").stdout == "<a b><$c>"
    assert "node2 (10.77.0.2): up" in tool("status").stderr


def test_cuts_by_tc(cluster: Cluster) -> None:
    cluster.need_rdma()
    hosts = machines(cluster)
    cluster.out(1, "busybox ping -c 1 -W 2 node2")
    hosts.ask("cut", links=[(1, 2), (2, 1)])
    assert cluster.run(1, "busybox ping -c 1 -W 2 node2").status != 0
    stream = "timeout 5 ib_send_lat -F -d rxe0 -n 20 -s 64"
    server = cluster.start(1, stream)
    cluster.wait_listening(1, 18515)
    assert cluster.run(2, f"{stream} node1").status != 0
    server.wait()
    hosts.ask("heal", links=[])
    cluster.perftest("ib_send_lat", "-n 20 -s 64")
    assert "drop" not in cluster.out(1, "tc filter show dev eth0 ingress")


def test_what_only_guests_can_do(cluster: Cluster) -> None:
    hosts = machines(cluster)
    try:
        hosts.ask("kill", node=1)
        raise AssertionError("killed a machine")
    except NotOnHosts as error:
        assert "only guests" in str(error)
    assert tool("pause", "1").returncode == 255


def test_a_wrong_file_is_refused(cluster: Cluster) -> None:
    wrong = Path(f"{FILE}.wrong")
    wrong.write_text("root@alpha\n")
    result = tool("use", str(wrong))
    assert result.returncode == 255 and "is not DESTINATION ADDRESS" in result.stderr, result
    wrong.unlink()
