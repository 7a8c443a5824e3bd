"""The life of nodes: kill, start, pause."""
import time

from labtool.client import Timeout
from labtool.cluster import Cluster


def test_a_killed_node_comes_back_as_new(cluster: Cluster) -> None:
    cluster.need_guests()
    cluster.out(2, "touch /tmp/of-before /etc/of-before")
    running = cluster.start(2, "sleep 1000")
    cluster.wait_until(lambda: cluster.run(2, "pidof sleep").status == 0, "it runs")
    cluster.kill(2)
    ended = running.wait(10)
    assert ended.status == 255 and "node2 ended" in ended.stderr, ended
    late = cluster.tool("run", "2", "true")
    assert late.returncode == 255 and "node2 is dead" in late.stderr, late
    assert cluster.out(1, "echo here") == "here"
    assert cluster.tool("start", "2", timeout=240).returncode == 0
    assert cluster.run(2, "test -e /tmp/of-before || test -e /etc/of-before").status == 1
    assert cluster.run(1, "busybox ping -c 3 node2").status == 0


def test_a_paused_node_stands_still(cluster: Cluster) -> None:
    cluster.need_guests()
    cluster.start(2, "while :; do cat /proc/uptime >/tmp/beat; sleep 0.2; done")
    cluster.wait_until(lambda: cluster.run(2, "cat /tmp/beat").stdout, "it beats")
    uptime = float(cluster.out(2, "cut -d' ' -f1 /proc/uptime"))
    assert cluster.tool("pause", "2").returncode == 0
    try:
        cluster.run(2, "true", timeout=3)
        raise AssertionError("a paused node answered")
    except Timeout:
        pass
    assert cluster.run(1, "busybox ping -c 1 -W 1 node2").status != 0
    time.sleep(1)
    assert cluster.tool("resume", "2").returncode == 0
    # Time went on without it.
    assert float(cluster.out(2, "cut -d' ' -f1 /proc/uptime")) >= uptime + 4
    assert cluster.run(1, "busybox ping -c 3 node2").status == 0


def test_kernels_had_nothing_to_complain_of(cluster: Cluster) -> None:
    cluster.need_guests()
    for node in (1, 2):
        log = cluster.out(node, "dmesg")
        bad = [line for line in log.splitlines()
               if any(word in line for word in ("BUG:", "WARNING:", "Oops", "Call Trace"))]
        assert not bad, f"node{node}: {bad}"
