"""The tool's side of a lab: requests to its supervisor, and commands in its guests."""
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, NamedTuple, Optional

from labtool import machine
from labtool.frames import (CHUNK, CREDIT, EXIT, REPLY, REQUEST, STDERR, STDIN, STDOUT, WINDOW,
                            Decoder, Frame, json_frame, number_frame)
from labtool.places import LabError, say

IDLE_SECONDS = float(os.environ.get("GODWIT_LAB_IDLE", "1800"))


class Timeout(LabError):
    pass


class Result(NamedTuple):
    status: int
    stdout: str
    stderr: str


def send(sock: socket.socket, frame: Frame) -> None:
    try:
        sock.sendall(frame.encode())
    except ConnectionError:
        pass  # What the supervisor still said is read before the connection's end.


def receive(sock: socket.socket) -> bytes:
    try:
        data = sock.recv(65536)
    except ConnectionError:  # It died with what we had sent unread.
        data = b""
    if not data:
        raise LabError("the lab went down")
    return data


class Execution:
    """A command in a guest, from its request to its exit status."""

    def __init__(self, lab: "Lab", request: dict[str, Any],
                 output: Callable[[int, bytes], None], stdin: Optional[int] = None) -> None:
        self._socket = lab.connect()
        self._decoder, self._output = Decoder(), output
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._stdin, self._credit = stdin, WINDOW
        self.send(json_frame(0, REQUEST, {"op": "exec", **request}))
        if stdin is None:
            self.send(Frame(0, STDIN, b""))
        self._watch_input()

    def send(self, frame: Frame) -> None:
        send(self._socket, frame)

    def _watch_input(self) -> None:
        watched = self._stdin is not None and self._stdin in self._selector.get_map()
        wanted = self._stdin is not None and self._credit > 0
        try:
            if wanted and not watched:
                self._selector.register(self._stdin, selectors.EVENT_READ)
            elif watched and not wanted:
                self._selector.unregister(self._stdin)
        except PermissionError:  # A plain file or /dev/null: always ready, never waited for.
            while self._stdin is not None and self._credit > 0:
                self._read_input()

    def _read_input(self) -> None:
        data = os.read(self._stdin, min(CHUNK, self._credit))
        self._credit -= len(data)
        self.send(Frame(0, STDIN, data))
        if not data:
            if self._stdin in self._selector.get_map():
                self._selector.unregister(self._stdin)
            self._stdin = None

    def wait(self, timeout: Optional[float] = None) -> int:
        """The command's exit status. On a timeout the command is killed, as its client is gone."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._socket, self._selector:
            while True:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise Timeout(f"no end after {timeout:.0f} s")
                for key, _ in self._selector.select(left):
                    if key.fileobj is self._socket:
                        status = self._receive()
                        if status is not None:
                            return status
                    elif self._stdin is not None:
                        self._read_input()
                self._watch_input()

    def _receive(self) -> Optional[int]:
        for frame in self._decoder.feed(receive(self._socket)):
            if frame.kind in (STDOUT, STDERR):
                self._output(frame.kind, frame.payload)
                self.send(number_frame(0, CREDIT, len(frame.payload)))
            elif frame.kind == CREDIT:
                self._credit += frame.number()
            elif frame.kind == EXIT:
                answer = frame.json()
                if "error" in answer:
                    self._output(STDERR, f"{answer['error']}\n".encode())
                return int(answer["status"])
            elif frame.kind == REPLY:
                raise LabError(frame.json()["error"])
        return None


class Lab:
    """A lab by its state folder, running or not."""

    def __init__(self, state: Path) -> None:
        self.state = state

    def connect(self) -> socket.socket:
        """To the supervisor; by way of a descriptor, as a socket's path must be short."""
        try:
            folder = os.open(self.state, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            raise LabError("no lab is up: ./dev lab up") from None
        try:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(f"/proc/self/fd/{folder}/ctl")
            return sock
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            raise LabError("no lab is up: ./dev lab up") from None
        finally:
            os.close(folder)

    def is_up(self) -> bool:
        try:
            self.connect().close()
            return True
        except LabError:
            return False

    def ask(self, op: str, **arguments: Any) -> dict[str, Any]:
        with self.connect() as sock:
            send(sock, json_frame(0, REQUEST, {"op": op, **arguments}))
            decoder = Decoder()
            while True:
                for frame in decoder.feed(receive(sock)):
                    answer: dict[str, Any] = frame.json()
                    if "error" in answer:
                        raise LabError(answer["error"])
                    return answer

    def run(self, node: int, command: "str | list[str]", timeout: float = 60, check: bool = False,
            **request: Any) -> Result:
        """Runs a command (a string is for the shell) and returns what it said."""
        output: dict[int, bytearray] = {STDOUT: bytearray(), STDERR: bytearray()}
        argv = ["/bin/sh", "-c", command] if isinstance(command, str) else command
        execution = Execution(self, {"node": node, "argv": argv, "cwd": os.getcwd(), **request},
                              lambda kind, data: output[kind].extend(data))
        status = execution.wait(timeout)
        result = Result(status, *(output[kind].decode(errors="replace")
                                  for kind in (STDOUT, STDERR)))
        if check and status != 0:
            raise LabError(f"node{node}: `{command}` ended with {status}: {result.stderr}")
        return result

    def up(self, nodes: int, owned: bool = False) -> dict[str, Any]:
        """Starts the guests and waits until they can be used. If owned, it ends with us."""
        parts = machine.prepare(nodes)
        self.state.mkdir(parents=True, exist_ok=True)
        say(f"starting {nodes} guests ({parts.accelerator}, Linux {parts.kernel.version}, "
            f"{machine.MEMORY_MIB} MiB and {parts.processors} processors each)")
        owner_read, self._owner_write = os.pipe() if owned else (-1, -1)
        with open(self.state / "supervisor.log", "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "labtool.supervisor", self.state, str(nodes),
                 str(IDLE_SECONDS), str(owner_read)],
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                pass_fds=[owner_read] if owned else [])
        if owned:
            os.close(owner_read)
        try:
            while not self.is_up():
                if process.poll() is not None:
                    raise LabError("the supervisor ended: " + self.log_tail())
                time.sleep(0.02)
            status = self.ask("wait")
        except BaseException:
            process.send_signal(signal.SIGTERM)
            process.wait()
            raise
        failed = {n: node for n, node in status["nodes"].items() if node["state"] != "up"}
        if not failed:
            return status
        self.down()
        if status["accelerator"] == "kvm" and "GODWIT_LAB_ACCEL" not in os.environ:
            say("KVM let a guest hang: emulating")
            machine.remember("tcg")
            return self.up(nodes, owned)
        reasons = "; ".join(f"node{n}: {node['detail']}" for n, node in failed.items())
        # A machine that has all that guests need and boots none: a failure, not a skip.
        raise LabError(f"guests did not come up ({reasons}); their consoles are in {self.state}")

    def down(self) -> bool:
        """Ends all guests; whether there was a lab."""
        try:
            pid = self.ask("status")["pid"]
            self.ask("down")
        except LabError:
            return False
        while Path(f"/proc/{pid}/stat").exists() and "labtool.supervisor" in \
                Path(f"/proc/{pid}/cmdline").read_text(errors="replace"):
            time.sleep(0.02)
        return True

    def log_tail(self) -> str:
        return (self.state / "supervisor.log").read_text(errors="replace").strip()[-500:]
