"""What a test of the lab works with: the nodes, whatever they are, and helpers of its own."""
import os
import re
import subprocess
import sys
import time
from typing import Any, Callable, NoReturn, Optional, Union

from labtool.client import Lab, Result
from labtool.hosts import Hosts
from labtool.places import PROJECT, LabError

TOOL = PROJECT / "tests" / "lab" / "lab"
COMPLAINT = re.compile(r"\b(BUG|WARNING|Oops|refcount|general protection|hung task)\b")


class Skip(Exception):
    """This test cannot be run here; the text says why."""


def skip(reason: str) -> NoReturn:
    raise Skip(reason)


class Background:
    """A command that runs while the test goes on."""

    def __init__(self, what: str, command: list[str], environment: dict[str, str]) -> None:
        self.what = what
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=environment)

    def wait(self, timeout: float = 60) -> Result:
        try:
            out, err = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.what} has no end after {timeout:.0f} s") from None
        return Result(self._process.returncode, out, err)

    def running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """Of a command in a node this kills the tool, with which it ends."""
        self._process.kill()
        self._process.communicate()


class Cluster:
    def __init__(self, lab: Union[Lab, Hosts]) -> None:
        self.lab, self._slowed = lab, set()  # type: Union[Lab, Hosts], set[int]
        self._background: list[Background] = []
        status = lab.ask("status")
        self.emulated = status["accelerator"] == "tcg"
        self._nodes = status["nodes"]
        # For programs beside the test: the tool finds this lab by it.
        self.environment = {**os.environ, "LAB": str(TOOL)}
        if isinstance(lab, Hosts):
            self.environment["GODWIT_LAB_HOSTS"] = str(lab.path)
        else:
            self.environment["GODWIT_LAB_STATE"] = str(lab.state)

    def address(self, node: int) -> str:
        return str(self._nodes[str(node)]["address"])

    def interface(self, node: int) -> str:
        return str(self._nodes[str(node)]["interface"])

    def device(self, node: int) -> str:
        return str(self._nodes[str(node)]["device"])

    # --- commands ---------------------------------------------------------------------------------

    def run(self, node: int, command: "str | list[str]", timeout: float = 60,
            **request: Any) -> Result:
        return self.lab.run(node, command, timeout, **request)

    def out(self, node: int, command: "str | list[str]", timeout: float = 60) -> str:
        """What a command prints; that it fails is a failure of the test."""
        return self.lab.run(node, command, timeout, check=True).stdout.strip()

    def start(self, node: int, command: str) -> Background:
        """Runs a command in the background; it is killed at the test's end."""
        return self._keep(Background(f"node{node}: `{command}`",
                                     [sys.executable, str(TOOL), "run", str(node), command],
                                     self.environment))

    def start_here(self, command: list[str]) -> Background:
        """The same, beside the test instead of in a node."""
        return self._keep(Background(f"`{command[0]}`", command, self.environment))

    def _keep(self, started: Background) -> Background:
        self._background.append(started)
        return started

    def tool(self, *arguments: str, timeout: float = 60,
             **popen: Any) -> "subprocess.CompletedProcess[str]":
        """The command line itself, as a user calls it, on the test's lab."""
        return subprocess.run([sys.executable, str(TOOL), *arguments], capture_output=True,
                              text=True, timeout=timeout, check=False,
                              env=self.environment, **popen)

    def wait_until(self, condition: Callable[[], Any], what: str, timeout: float = 30) -> Any:
        deadline = time.monotonic() + timeout
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout:.0f} s: {what}")
            time.sleep(0.1)
        return value

    def wait_listening(self, node: int, port: int) -> None:
        """Until somebody in the node accepts TCP connections on a port."""
        self.wait_until(lambda: self.out(node, f"ss -Hltn sport = :{port}"),
                        f"node{node} listens on {port}")

    def program(self, name: str) -> str:
        """A program of the release build, which the nodes see."""
        path = PROJECT / "build" / "release" / "bin" / name
        if not path.exists():
            skip(f"{path} is not built (./dev build)")
        return str(path)

    def need_file(self, node: int, path: str, package: str) -> None:
        if self.run(node, ["test", "-r", path]).status != 0:
            skip(f"node{node} has no {path}: install {package}")

    # --- faults -----------------------------------------------------------------------------------

    def cut(self, a: int, b: int, one_way: bool = False) -> None:
        self.lab.ask("cut", links=[(a, b)] + ([] if one_way else [(b, a)]))

    def heal(self) -> None:
        self.lab.ask("heal", links=[])

    def slow(self, node: int, netem: str) -> None:
        self._slowed.add(node)
        self.lab.run(node, f"tc qdisc replace dev {self.interface(node)} root netem "
                     f"limit 100000 {netem}", check=True)

    def kill(self, node: int) -> None:
        self.lab.ask("kill", node=node)

    def boot(self, node: int) -> None:
        self.lab.ask("start", node=node)
        found = self.lab.ask("wait")["nodes"][str(node)]
        if found["state"] != "up":
            raise LabError(f"node{node} is {found['state']}: {found['detail']}")

    def pause(self, node: int) -> None:
        self.lab.ask("pause", node=node)

    def resume(self, node: int) -> None:
        self.lab.ask("resume", node=node)

    # --- RDMA -------------------------------------------------------------------------------------

    def need_guests(self) -> None:
        if isinstance(self.lab, Hosts):
            skip("is about guests, and the nodes are machines of your own")

    def need_rdma(self) -> None:
        for number, node in self.lab.ask("status")["nodes"].items():
            if node.get("rxe"):
                skip(f"node{number} has no RDMA device: {node['rxe']}")

    def rdma_counter(self, node: int, name: str) -> int:
        """A counter of the node's device, as rcvd_pkts or sent_pkts."""
        return int(self.out(node, f"cat /sys/class/infiniband/{self.device(node)}/ports/1/"
                            f"hw_counters/{name}"))

    def perftest(self, program: str, arguments: str, server: int = 1, client: int = 2,
                 timeout: float = 60) -> dict[str, float]:
        """Runs a program of perftest between two nodes: its result's columns, by their names."""
        line = f"timeout {timeout:.0f} {program} -F {arguments} -d"
        waiting = self.start(server, f"{line} {self.device(server)}")
        self.wait_listening(server, 18515)
        result = self.run(client, f"{line} {self.device(client)} {self.address(server)}",
                          timeout + 10)
        waiting.wait(30)
        return perftest_result(result)

    def check_kernel(self, node: int) -> None:
        """The node's kernel has complained about nothing."""
        kernel = self.out(node, "dmesg")
        assert not COMPLAINT.search(kernel), kernel[-3000:]

    # --- between tests ----------------------------------------------------------------------------

    def mend(self) -> None:
        """Undoes what a test did: whatever it was, the next one finds all nodes as new."""
        for background in self._background:
            background.kill()
        self._background.clear()
        self.heal()
        for number, node in self.lab.ask("status")["nodes"].items():
            if node["state"] == "paused":
                self.resume(int(number))
            elif node["state"] != "up":
                self.boot(int(number))
        for node_number in self._slowed:
            self.run(node_number, f"tc qdisc del dev {self.interface(node_number)} root")
        self._slowed.clear()


def perftest_result(result: Result) -> dict[str, float]:
    header: Optional[list[str]] = None
    for line in result.stdout.splitlines():
        if line.startswith(" #bytes"):
            header = line.replace("BW peak", "BW_peak").replace("BW average", "BW_average") \
                .replace("99% percentile", "99%").replace("99.9% percentile", "99.9%").split()
        elif header and line.strip()[:1].isdigit():
            return dict(zip(header, map(float, line.split())))
    raise AssertionError(f"no result, status {result.status}: {result.stdout[-500:]}"
                         f"{result.stderr}")
