"""The tool cleans up, whatever ends it. Labs of one guest each, which need not even come up."""
import os
import shutil
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Iterator
from contextlib import contextmanager

from labtool.client import Lab
from labtool.cluster import TOOL, Cluster
from labtool.places import BUILD, LabError

# Not below the state of the test's own lab; long, as sockets' paths must not care.
STATE = BUILD / ("other-" + "x" * 120)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def another_lab(cluster: Cluster, *arguments: str,
                idle: str = "600") -> Iterator[tuple[Any, dict[str, Any]]]:
    """Starts a lab by a tool of its own; yields that tool's process and what the lab says."""
    cluster.need_guests()
    shutil.rmtree(STATE, ignore_errors=True)
    environment = {**os.environ, "GODWIT_LAB_STATE": str(STATE), "GODWIT_LAB_IDLE": idle}
    lab = Lab(STATE)

    def status() -> Any:
        try:
            found = lab.ask("status")
            return found if found["nodes"]["1"]["pid"] else None
        except LabError:
            return None

    with subprocess.Popen([sys.executable, *arguments], stdin=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, env=environment) as tool:
        try:
            yield tool, cluster.wait_until(status, "another lab starts")
        finally:
            tool.kill()
            lab.down()
    shutil.rmtree(STATE)


def all_end(cluster: Cluster, status: dict[str, Any]) -> None:
    pids = [status["pid"], status["nodes"]["1"]["pid"]]
    cluster.wait_until(lambda: not any(map(alive, pids)), "its processes end", 10)


def test_guests_die_with_a_killed_supervisor(cluster: Cluster) -> None:
    with another_lab(cluster, str(TOOL), "up", "1") as (tool, status):
        os.kill(status["pid"], signal.SIGKILL)
        all_end(cluster, status)
        assert tool.wait(10) == 255


def test_a_supervisor_that_dies_with_a_request_unread_is_said(_: Cluster) -> None:
    shutil.rmtree(STATE, ignore_errors=True)
    STATE.mkdir(parents=True)
    lab = Lab(STATE)
    try:
        for request in (lambda: lab.ask("status"), lambda: lab.run(1, "true")):
            folder = os.open(STATE, os.O_PATH | os.O_DIRECTORY)
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(f"/proc/self/fd/{folder}/ctl")
                os.close(folder)
                listener.listen()

                def die() -> None:
                    with listener.accept()[0] as connection:
                        connection.recv(1, socket.MSG_PEEK)

                with ThreadPoolExecutor() as pool:
                    death = pool.submit(die)
                    try:
                        request()
                        said = ""
                    except LabError as error:
                        said = str(error)
                    death.result()
                assert said == "the lab went down", said
            (STATE / "ctl").unlink()
    finally:
        shutil.rmtree(STATE)


def test_an_interrupted_up_leaves_nothing(cluster: Cluster) -> None:
    with another_lab(cluster, str(TOOL), "up", "1") as (tool, status):
        tool.send_signal(signal.SIGINT)
        all_end(cluster, status)
        assert tool.wait(10) == 130


def test_a_tests_lab_ends_with_its_killed_owner(cluster: Cluster) -> None:
    owner = (f"import sys; sys.path.insert(0, {str(TOOL.parent)!r})\n"
             "from pathlib import Path; from labtool.client import Lab\n"
             f"Lab(Path({str(STATE)!r})).up(1, owned=True)")
    with another_lab(cluster, "-c", owner) as (tool, status):
        tool.send_signal(signal.SIGKILL)
        all_end(cluster, status)


def test_an_unused_lab_goes_down(cluster: Cluster) -> None:
    with another_lab(cluster, str(TOOL), "up", "1", idle="2") as (tool, status):
        tool.kill()
        all_end(cluster, status)
    assert cluster.tool("status").returncode == 0


def test_without_a_lab_a_command_says_so(cluster: Cluster) -> None:
    environment = {**os.environ, "GODWIT_LAB_STATE": str(BUILD / "none")}
    result = subprocess.run([sys.executable, str(TOOL), "run", "1", "true"], env=environment,
                            capture_output=True, text=True, check=False)
    assert result.returncode == 255 and "no lab is up" in result.stderr, result
