"""A user's own machines as the nodes, over ssh: what `./dev lab use FILE` chose.

FILE has a line for each node: `DESTINATION ADDRESS INTERFACE DEVICE`, as
`root@alpha 192.168.1.10 eth0 rxe0`; the address, on that interface, is the one RDMA goes by.
Lines that begin with # are comments.
"""
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from labtool.client import Result, Timeout
from labtool.places import LabError

# Its own preference for each node that is cut off, so that heal finds its filters and no others.
FIRST_PREFERENCE = 47910


class NotOnHosts(LabError):
    """Something that only guests can be made to do."""


class Host(NamedTuple):
    destination: str
    address: str
    interface: str
    device: str


def read(path: Path) -> list[Host]:
    hosts = []
    for line in path.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split()
        if len(words) != 4:
            raise LabError(f"{path}: '{line}' is not DESTINATION ADDRESS INTERFACE DEVICE")
        hosts.append(Host(*words))
    if not hosts:
        raise LabError(f"{path} names no machine")
    return hosts


class Hosts:
    """Does for machines what Lab does for guests, as far as ssh and tc can."""

    def __init__(self, path: Path) -> None:
        self.path, self.hosts = path, read(path)

    def host(self, node: int) -> Host:
        if not 1 <= node <= len(self.hosts):
            raise LabError(f"there is no node{node}: {self.path} names {len(self.hosts)}")
        return self.hosts[node - 1]

    def command(self, node: int, argv: list[str], cwd: str = "/",
                terminal: bool = False) -> list[str]:
        ssh = shlex.split(os.environ.get("GODWIT_LAB_SSH", "ssh -o BatchMode=yes"))
        line = f"cd {shlex.quote(cwd)} 2>/dev/null; ulimit -l unlimited 2>/dev/null; " \
               f"exec {shlex.join(argv)}"
        return [*ssh, *(["-t"] if terminal else []), self.host(node).destination, line]

    def run(self, node: int, command: "str | list[str]", timeout: float = 60, check: bool = False,
            **request: Any) -> Result:
        argv = ["/bin/sh", "-c", command] if isinstance(command, str) else command
        try:
            done = subprocess.run(self.command(node, argv, request.get("cwd", os.getcwd())),
                                  stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                  timeout=timeout, check=False)
        except subprocess.TimeoutExpired:
            raise Timeout(f"no end after {timeout:.0f} s") from None
        result = Result(done.returncode, done.stdout, done.stderr)
        if check and result.status != 0:
            raise LabError(f"node{node}: `{command}` ended with {result.status}: {result.stderr}")
        return result

    def ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        if op == "status":
            return {"accelerator": "none", "cut": [], "nodes": {
                str(n): self._status(n) for n in range(1, len(self.hosts) + 1)}}
        if op == "cut":
            for source, target in arguments["links"]:
                self._cut(source, target)
        elif op == "heal":
            nodes = range(1, len(self.hosts) + 1)
            for source, target in arguments["links"] or [(a, b) for a in nodes for b in nodes]:
                self._heal(source, target)
        else:
            raise NotOnHosts(f"{op}: only guests can be made to do that, not machines of your own")
        return {}

    def _status(self, node: int) -> dict[str, Any]:
        host = self.host(node)
        found = self.run(node, f"test -e /sys/class/infiniband/{host.device}")
        state = "up" if found.status in (0, 1) else "unreachable"
        return {"state": state, "boot": 0, "detail": found.stderr.strip() if state != "up" else "",
                "rxe": "" if found.status == 0 else f"no RDMA device {host.device}",
                **host._asdict()}

    def _cut(self, source: int, target: int) -> None:
        """At the receiver's door, where soft-RoCE's packets pass as all others do. The packets of a
        real adapter pass by the kernel: such a link cannot be cut from here."""
        host = self.host(target)
        if self.run(target, f"test -e /sys/class/infiniband/{host.device}/parent").status != 0:
            raise NotOnHosts(f"node{target}: {host.device} is not soft-RoCE, so the kernel cannot "
                             "cut it off")
        self.run(target, f"tc qdisc add dev {host.interface} clsact 2>/dev/null; "
                 f"tc filter replace dev {host.interface} ingress pref {FIRST_PREFERENCE + source} "
                 f"handle 1 protocol ip flower src_ip {self.host(source).address} action drop",
                 check=True)

    def _heal(self, source: int, target: int) -> None:
        if source != target:
            interface = self.host(target).interface
            self.run(target, f"tc filter del dev {interface} ingress "
                     f"pref {FIRST_PREFERENCE + source} 2>/dev/null; true")

    def down(self) -> bool:
        self.ask("heal", links=[])
        return True

    def is_up(self) -> bool:
        return True
