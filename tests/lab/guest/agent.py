"""The first process of a guest: sets the node up, then runs the commands that come in by the
control port (a virtio serial line, so that no state of the network can lock anybody out).

One thread. It also reaps whatever is orphaned in the guest, as a first process must.
"""
import ctypes
import os
import resource
import selectors
import signal
import subprocess
import sys
import time
import traceback

sys.path.insert(0, "/run/lab")
from command import Command  # noqa: E402
from frames import (  # noqa: E402
    CREDIT, EXIT, HELLO, REQUEST, RESIZE, SIGNAL, STDIN, Decoder, Frame, json_frame)
from node import set_up  # noqa: E402


class Port:
    """The control port: frames out are queued, as the line may be full."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.fd = os.open(find_port(), os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._selector, self._out, self._decoder = selector, bytearray(), Decoder()
        selector.register(self.fd, selectors.EVENT_READ, self)

    def send(self, frame: Frame) -> None:
        self._out += frame.encode()
        self.flush()

    def flush(self) -> None:
        try:
            while self._out:
                del self._out[:os.write(self.fd, self._out[:65536])]
        except BlockingIOError:
            pass
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        self._selector.modify(self.fd, events, self)

    def receive(self) -> list[Frame]:
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return []
        if not data:  # The host's end is closed: the supervisor is gone, and QEMU goes with it.
            time.sleep(0.1)
        return list(self._decoder.feed(data))


def find_port() -> str:
    ports = "/sys/class/virtio-ports"
    for name in os.listdir(ports):
        with open(f"{ports}/{name}/name", encoding="ascii") as file:
            if file.read().strip() == "lab.control":
                return f"/dev/{name}"
    raise RuntimeError("no control port")


class Agent:
    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.selector.register(wake_read, selectors.EVENT_READ, wake_read)
        self.wake = wake_read
        self.port = Port(self.selector)
        self.commands: dict[int, Command] = {}

    def start(self, frame: Frame) -> None:
        try:
            self.commands[frame.channel] = Command(frame.channel, frame.json(), self.selector,
                                                   self.port.send)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            name = (frame.json().get("argv") or ["?"])[0]
            # 127 and 126: what a shell says of a program that is not there, or cannot be run.
            status = 127 if isinstance(error, FileNotFoundError) else 126
            self.port.send(json_frame(frame.channel, EXIT,
                                      {"status": status, "error": f"{name}: {error}"}))

    def handle(self, frame: Frame) -> None:
        if frame.kind == REQUEST:
            self.start(frame)
            return
        command = self.commands.get(frame.channel)
        if not command:
            return
        if frame.kind == STDIN:
            command.feed(frame.payload)
        elif frame.kind == CREDIT:
            command.add_credit(frame.number())
        elif frame.kind == SIGNAL:
            command.signal(frame.number())
        elif frame.kind == RESIZE:
            command.resize(*frame.json())

    def reap(self) -> None:
        try:
            while os.read(self.wake, 4096):
                pass
        except BlockingIOError:
            pass
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for command in self.commands.values():
                if command.pid == pid:
                    command.ended(status)

    def serve(self) -> None:
        while True:
            for key, events in self.selector.select():
                if key.data is self.port:
                    for frame in self.port.receive() if events & selectors.EVENT_READ else ():
                        self.handle(frame)
                    self.port.flush()
                elif key.data == self.wake:
                    self.reap()
                else:
                    command, stream = key.data
                    command.ready(stream)
            for channel in [c for c, command in self.commands.items() if command.finished()]:
                command = self.commands.pop(channel)
                self.port.send(json_frame(channel, EXIT, {"status": command.status}))


def main() -> None:
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (65536, 65536))
    facts = set_up()
    agent = Agent()
    agent.port.send(json_frame(0, HELLO, facts))
    agent.serve()


try:
    main()
except BaseException:  # The end of the first process is the end of the guest: say why.
    traceback.print_exc()
    sys.stderr.flush()
    ctypes.CDLL(None).reboot(0x4321FEDC)
