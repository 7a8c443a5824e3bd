"""Commands in a node: their streams, their status, their end."""
import hashlib
import os
import signal
import subprocess
import sys
import time

from labtool.cluster import TOOL, Cluster
from labtool.places import BUILD, PROJECT


def test_status_and_streams_come_back(cluster: Cluster) -> None:
    result = cluster.tool("run", "node2", "echo out; echo err >&2; exit 7")
    assert (result.returncode, result.stdout, result.stderr) == (7, "out\n", "err\n"), result


def test_arguments_stay_apart(cluster: Cluster) -> None:
    assert cluster.tool("run", "1", "printf", "<%s>", "a b", "$c").stdout == "<a b><$c>"


def test_input_is_passed_on(cluster: Cluster) -> None:
    text = "line\n" * 200_000
    result = cluster.tool("run", "1", "sha256sum", input=text)
    assert result.stdout.split()[0] == hashlib.sha256(text.encode()).hexdigest()


def test_much_output_is_whole(cluster: Cluster) -> None:
    result = cluster.run(1, "seq 400000")
    assert result.stdout == "".join(f"{n}\n" for n in range(1, 400001))


def test_how_a_command_failed(cluster: Cluster) -> None:
    missing = cluster.tool("run", "1", "no-such-program", "-x")
    assert missing.returncode == 127 and "no-such-program" in missing.stderr, missing
    assert cluster.run(1, "kill -9 $$").status == 137
    nowhere = cluster.tool("run", "9", "true")
    assert nowhere.returncode == 255 and "there is no node9" in nowhere.stderr, nowhere


def test_several_at_once(cluster: Cluster) -> None:
    began = time.monotonic()
    running = [cluster.start(1 + n % 2, f"sleep 4; echo {n}") for n in range(8)]
    assert [command.wait().stdout for command in running] == [f"{n}\n" for n in range(8)]
    assert time.monotonic() - began < 16, "they ran one after the other"


def test_a_reader_that_stops_holds_up_nobody_else(cluster: Cluster) -> None:
    command = [sys.executable, str(TOOL), "run", "1", "yes"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                          env=cluster.environment) as stuck:
        assert stuck.stdout and stuck.stdout.readline() == b"y\n"
        assert cluster.out(1, "echo still") == "still"
        stuck.kill()


def test_a_killed_client_ends_its_command(cluster: Cluster) -> None:
    # The second sleep is in a process group of its own, which timeout makes.
    command = cluster.start(1, "sleep 1234 & echo $! >/tmp/pids;"
                               "timeout 2345 sh -c 'echo $$ >>/tmp/pids; exec sleep 1234'")
    pids = cluster.wait_until(lambda: len(both := cluster.run(1, "cat /tmp/pids").stdout.split())
                              == 2 and both, "they started")
    command.kill()
    for pid in pids:
        cluster.wait_until(lambda: cluster.run(1, f"test -e /proc/{pid}").status, "it ended")


def test_an_interrupt_reaches_the_command(cluster: Cluster) -> None:
    command = [sys.executable, str(TOOL), "run", "1",
               "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                          env=cluster.environment) as tool:
        assert tool.stdout and tool.stdout.readline() == "ready\n"
        tool.send_signal(signal.SIGINT)
        assert tool.communicate(timeout=30)[0] == "caught\n"
        assert tool.returncode == 3


def test_nodes_write_nothing_on_the_host(cluster: Cluster) -> None:
    cluster.need_guests()
    name = f"godwit-lab-{os.getpid()}"
    for folder in ("/usr", "/tmp", "/run"):
        assert cluster.run(1, f"echo one >{folder}/{name}").status == 0, folder
        assert not os.path.exists(f"{folder}/{name}")
        assert cluster.run(2, f"test -e {folder}/{name}").status == 1, f"node 2 sees {folder}"
    assert cluster.run(1, f"touch {PROJECT}/{name}").status != 0


def test_a_new_build_is_seen(cluster: Cluster) -> None:
    cluster.need_guests()
    path = BUILD / "seen"
    for text in ("old", "newer, and longer"):
        path.unlink(missing_ok=True)
        path.write_text(text)
        assert cluster.out(1, ["cat", str(path)]) == text
    path.write_text("short")  # In place, as `cp` does.
    assert cluster.out(1, ["cat", str(path)]) == "short"
    path.unlink()
