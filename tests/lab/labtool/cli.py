"""The verbs of `./dev lab`."""
import fcntl
import os
import re
import shutil
import signal
import struct
import sys
import termios
import tty
from pathlib import Path
from typing import Any, Optional, Union

from labtool.client import IDLE_SECONDS, Execution, Lab
from labtool.frames import RESIZE, SIGNAL, STDOUT, json_frame, number_frame
from labtool.hosts import Hosts, read
from labtool.places import HOSTS, PROJECT, STATE, LabError, say

AnyLab = Union[Lab, Hosts]

USAGE = """usage: ./dev lab VERB [arguments]

  up [N]                start N guests, 2 unless told (4 at most), and wait until they can be used;
                        they run until `down`, or until nobody used them for half an hour
  run NODE COMMAND      run a command; its output, its exit status and its input are this command's.
                        One argument is for the shell, several are a program and its arguments
  shell NODE            a shell on a terminal
  status                what runs
  cut A B [--one-way]   let nothing pass between two nodes (or from A to B only); `cut A`: from
                        and to all others
  heal [A B]            undo cuts, and without arguments `slow` too
  slow NODE NETEM...    delay, lose or limit what a node sends, as `slow 1 delay 5ms loss 1%` (tc
                        netem); `slow NODE off`
  kill NODE             end a guest as if its power were cut
  start NODE            start it again, with nothing of what it was
  pause NODE            let it stand still while time goes by; `resume NODE`
  down                  end all guests
  use FILE | use guests
                        take your own machines for nodes, over ssh (docs/rdma.md), or guests again
  test [-k WORD] [-l]   run the tests of tests/lab/cases in a lab of their own
  bench [ARGS]          measure over RDMA beside perftest, in a lab of its own (bench --help)

NODE is 1 or node1. Node N is 10.77.0.N and nodeN to the others; its RDMA device is rxe0.
The project's folder is at its own path, read-only and up to date; other files are the host's.
Exit status 255: the lab itself failed; `test` skips with 77 where no lab can be made.
"""


def node_number(text: str) -> int:
    match = re.fullmatch(r"(?:node)?([1-9])", text)
    if not match:
        raise LabError(f"'{text}' is not a node; say 1 or node1")
    return int(match.group(1))


def write(kind: int, data: bytes) -> None:
    stream = sys.stdout if kind == STDOUT else sys.stderr
    stream.buffer.write(data)
    stream.buffer.flush()


def command_of(arguments: list[str]) -> list[str]:
    return ["/bin/sh", "-c", arguments[0]] if len(arguments) == 1 else arguments


def run(lab: AnyLab, arguments: list[str]) -> int:
    if len(arguments) < 2:
        raise LabError("run NODE COMMAND")
    if isinstance(lab, Hosts):
        line = lab.command(node_number(arguments[0]), command_of(arguments[1:]), os.getcwd())
        os.execvp(line[0], line)
    execution = Execution(lab, {"node": node_number(arguments[0]), "cwd": os.getcwd(),
                                "argv": command_of(arguments[1:])}, write, stdin=0)
    interrupted = False

    def forward(number: int, _: object) -> None:
        nonlocal interrupted
        if interrupted:  # The second time the user means it: the command ends with its client.
            raise KeyboardInterrupt
        interrupted = True
        execution.send(number_frame(0, SIGNAL, number))

    signal.signal(signal.SIGINT, forward)
    signal.signal(signal.SIGTERM, forward)
    return execution.wait()


def terminal_size() -> tuple[int, int]:
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8))
    return rows, columns


def shell(lab: AnyLab, arguments: list[str]) -> int:
    if len(arguments) != 1:
        raise LabError("shell NODE")
    if isinstance(lab, Hosts):
        line = lab.command(node_number(arguments[0]), ["/bin/bash", "-l"], os.getcwd(), True)
        os.execvp(line[0], line)
    if not sys.stdin.isatty():
        raise LabError("shell needs a terminal; use run")
    node = node_number(arguments[0])
    before = termios.tcgetattr(0)
    execution = Execution(lab, {
        "node": node, "cwd": os.getcwd(), "pty": terminal_size(),
        "argv": ["/bin/bash", "--norc", "-i"],
        "env": {"TERM": os.environ.get("TERM", "vt100"), "PS1": f"node{node}:\\w# "}},
        write, stdin=0)
    signal.signal(signal.SIGWINCH,
                  lambda *_: execution.send(json_frame(0, RESIZE, terminal_size())))
    try:
        tty.setraw(0)
        return execution.wait()
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def up(lab: AnyLab, arguments: list[str]) -> int:
    if isinstance(lab, Hosts):
        return status(lab, [])
    nodes = int(arguments[0]) if arguments and arguments[0].isdigit() else 2
    if lab.is_up():
        running = len(lab.ask("status")["nodes"])
        if arguments and nodes != running:
            raise LabError(f"a lab of {running} is up; ./dev lab down first")
        say("it is up already")
    else:
        lab.up(nodes)
    status(lab, [])
    say(f"it goes down by itself after {IDLE_SECONDS / 60:.0f} minutes without use "
        "(GODWIT_LAB_IDLE: seconds)")
    return 0


def status(lab: AnyLab, _: list[str]) -> int:
    facts = lab.ask("status")
    for number, node in facts["nodes"].items():
        text = f"node{number} ({node['address']}): {node['state']}"
        if node["detail"]:
            text += f", {node['detail']}"
        if node["boot"]:
            text += f", booted in {node['boot']:.1f} s"
        if node.get("rxe"):
            text += f", no RDMA device: {node['rxe']}"
        say(text)
    for source, target in facts["cut"]:
        say(f"cut: nothing passes from node{source} to node{target}")
    return 0


def links(lab: AnyLab, arguments: list[str]) -> list[tuple[int, int]]:
    one_way = "--one-way" in arguments
    nodes = [node_number(text) for text in arguments if text != "--one-way"]
    if len(nodes) == 1:
        others = [int(n) for n in lab.ask("status")["nodes"] if int(n) != nodes[0]]
    elif len(nodes) == 2 and nodes[0] != nodes[1]:
        others = nodes[1:]
    else:
        raise LabError("which nodes? cut A B [--one-way], cut A, heal A B")
    found = [(nodes[0], other) for other in others]
    return found if one_way else found + [(b, a) for a, b in found]


def cut(lab: AnyLab, arguments: list[str]) -> int:
    lab.ask("cut", links=links(lab, arguments))
    return 0


def heal(lab: AnyLab, arguments: list[str]) -> int:
    lab.ask("heal", links=links(lab, arguments) if arguments else [])
    if not arguments:
        for number, node in lab.ask("status")["nodes"].items():
            if node["state"] == "up":
                slow(lab, [number, "off"])
    return 0


def slow(lab: AnyLab, arguments: list[str]) -> int:
    if len(arguments) < 2:
        raise LabError("slow NODE NETEM..., as slow 1 delay 5ms")
    node, netem = node_number(arguments[0]), arguments[1:]
    interface = lab.ask("status")["nodes"][str(node)]["interface"]
    if netem == ["off"]:
        lab.run(node, f"tc qdisc del dev {interface} root netem 2>/dev/null; true", check=True)
    else:
        # Its queue must hold what is on the way, or a delay is a limit of the bandwidth as well.
        result = lab.run(node, ["tc", "qdisc", "replace", "dev", interface, "root", "netem",
                                "limit", "100000", *netem])
        if result.status != 0:
            raise LabError(f"node{node}: {result.stderr.strip()}")
    return 0


def start(lab: AnyLab, arguments: list[str]) -> int:
    node = one_node("start", arguments)
    lab.ask("start", node=node)
    facts: dict[str, Any] = lab.ask("wait")["nodes"][str(node)]
    if facts["state"] != "up":
        raise LabError(f"node{node} is {facts['state']}: {facts['detail']}")
    return 0


def one_node(verb: str, arguments: list[str]) -> int:
    if len(arguments) != 1:
        raise LabError(f"{verb} NODE")
    return node_number(arguments[0])


def down(lab: AnyLab, _: list[str]) -> int:
    if isinstance(lab, Hosts):
        heal(lab, [])
        say("healed; the machines are yours, and stay up")
    else:
        say("down" if lab.down() else "no lab was up")
    return 0


def use(_: AnyLab, arguments: list[str]) -> int:
    if len(arguments) != 1:
        raise LabError("use FILE, or use guests")
    if arguments[0] == "guests":
        HOSTS.unlink(missing_ok=True)
        return 0
    read(Path(arguments[0]))
    HOSTS.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(arguments[0], HOSTS)
    return status(Hosts(HOSTS), [])


def open_lab() -> AnyLab:
    """The lab that the verbs mean. Tests tell their scripts by the environment which it is."""
    if "GODWIT_LAB_STATE" in os.environ:
        return Lab(Path(os.environ["GODWIT_LAB_STATE"]))
    path = Path(os.environ.get("GODWIT_LAB_HOSTS", HOSTS))
    return Hosts(path) if path.exists() else Lab(STATE)


def main(arguments: Optional[list[str]] = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    verb, rest = (arguments[0], arguments[1:]) if arguments else ("help", [])
    verbs = {"up": up, "run": run, "shell": shell, "status": status, "cut": cut, "heal": heal,
             "slow": slow, "start": start, "down": down, "use": use}
    try:
        if verb in ("help", "-h", "--help"):
            print(USAGE, end="")
            return 0
        if verb not in (*verbs, "kill", "pause", "resume", "test", "bench"):
            raise LabError(f"unknown verb '{verb}'; ./dev lab help")
        lab = open_lab()
        if verb in ("kill", "pause", "resume"):
            lab.ask(verb, node=one_node(verb, rest))
            return 0
        if verb == "bench":
            os.execv(PROJECT / "bench" / "lab", ["bench/lab", *rest])
        if verb == "test":
            from labtool import testing
            return testing.main(rest, lab if isinstance(lab, Hosts) else None)
        return verbs[verb](lab, rest)
    except LabError as error:
        say(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    except KeyboardInterrupt:
        return 130
    return 255
