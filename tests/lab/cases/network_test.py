"""The network of the nodes and their RDMA devices, and what the lab does to them."""
from labtool.cluster import Cluster

PING = "$(command -v ping || echo busybox ping)"


def reaches(cluster: Cluster, source: int, target: int) -> bool:
    return cluster.run(source, f"{PING} -c 1 -W 2 {cluster.address(target)}").status == 0


def test_nodes_reach_each_other(cluster: Cluster) -> None:
    assert reaches(cluster, 1, 2) and reaches(cluster, 2, 1)


def test_large_frames_pass(cluster: Cluster) -> None:
    assert cluster.run(1, f"{PING} -c 1 -W 5 -s 8900 {cluster.address(2)}").status == 0


def test_the_roce_mtu_is_the_largest(cluster: Cluster) -> None:
    cluster.need_rdma()
    assert "4096" in cluster.out(1, f"ibv_devinfo -d {cluster.device(1)} | grep active_mtu")


def test_memory_can_be_locked(cluster: Cluster) -> None:
    assert cluster.out(1, "ulimit -l") == "unlimited"


def test_messages_by_rdma(cluster: Cluster) -> None:
    cluster.need_rdma()
    before = cluster.rdma_counter(1, "rcvd_pkts")
    result = cluster.perftest("ib_send_lat", "-s 64 -n 300")
    assert result["t_typical[usec]"] > 0
    assert cluster.rdma_counter(1, "rcvd_pkts") - before >= 300, "it went some other way"


def test_writes_by_rdma(cluster: Cluster) -> None:
    cluster.need_rdma()
    before = cluster.rdma_counter(1, "rcvd_pkts")
    assert cluster.perftest("ib_write_bw", "-s 65536 -n 100")["BW_average[MB/sec]"] > 0
    # 100 messages and the warm-up's, of 16 packets each.
    assert cluster.rdma_counter(1, "rcvd_pkts") - before >= 1600


def test_a_connection_by_its_address(cluster: Cluster) -> None:
    """By librdmacm, as Godwit connects."""
    cluster.need_rdma()
    server = cluster.start(1, f"timeout 40 rping -s -a {cluster.address(1)} -C 10")
    cluster.wait_until(lambda: "LISTEN" in cluster.out(1, "rdma resource show cm_id"), "it listens")
    result = cluster.run(2, f"timeout 40 rping -c -a {cluster.address(1)} -C 10 -v")
    assert result.status == 0 and result.stdout.count("ping data") == 10, result
    server.wait()


def test_a_cut_stops_tcp_and_rdma_until_healed(cluster: Cluster) -> None:
    cluster.need_rdma()
    stream = "timeout 60 ib_write_bw -F -s 65536 -D 30 -d"
    cluster.start(1, f"{stream} {cluster.device(1)}")
    cluster.wait_listening(1, 18515)
    cluster.start(2, f"{stream} {cluster.device(2)} {cluster.address(1)}")
    start = cluster.rdma_counter(1, "rcvd_pkts")
    cluster.wait_until(lambda: cluster.rdma_counter(1, "rcvd_pkts") > start + 100, "it flows")
    cluster.cut(1, 2)
    assert not reaches(cluster, 1, 2) and not reaches(cluster, 2, 1)
    at_cut = cluster.rdma_counter(1, "rcvd_pkts")
    assert not reaches(cluster, 2, 1)
    assert cluster.rdma_counter(1, "rcvd_pkts") == at_cut, "RDMA passes a link that is cut"
    cluster.heal()
    cluster.wait_until(lambda: reaches(cluster, 1, 2), "the link is healed")


def test_a_cut_of_one_direction(cluster: Cluster) -> None:
    count = "cat /sys/class/net/eth0/statistics/rx_packets"
    cluster.need_guests()  # The kernel of a machine counts what tc then drops.
    reaches(cluster, 1, 2)  # Each knows the other's address afterwards.
    cluster.cut(1, 2, one_way=True)
    before = int(cluster.out(2, count))
    assert not reaches(cluster, 1, 2)
    assert int(cluster.out(2, count)) == before, "node 2 hears node 1"
    before = int(cluster.out(1, count))
    assert not reaches(cluster, 2, 1), "the answer cannot have come"
    assert int(cluster.out(1, count)) > before, "node 1 should hear node 2"


def test_slow_delays_tcp_and_rdma(cluster: Cluster) -> None:
    cluster.need_rdma()
    cluster.slow(1, "delay 60ms")
    result = cluster.run(2, f"{PING} -c 3 {cluster.address(1)}")
    times = [float(line.split("time=")[1].split()[0])
             for line in result.stdout.splitlines() if "time=" in line]
    assert times and min(times) >= 60, result.stdout
    # perftest gives half of the round trip.
    assert cluster.perftest("ib_send_lat", "-s 64 -n 10")["t_min[usec]"] >= 30_000


def test_slow_is_undone_by_heal(cluster: Cluster) -> None:
    assert cluster.tool("slow", "1", "delay", "500ms").returncode == 0
    assert "500" in cluster.out(1, f"tc qdisc show dev {cluster.interface(1)}")
    assert cluster.tool("heal").returncode == 0
    assert "netem" not in cluster.out(1, f"tc qdisc show dev {cluster.interface(1)}")
    assert cluster.tool("slow", "1", "nonsense").returncode == 255
