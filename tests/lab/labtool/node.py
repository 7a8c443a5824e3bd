"""One guest, as the supervisor keeps it: its QEMU, its control line, its state."""
import os
import selectors
import signal
import socket
import subprocess
import time
from typing import Any, Callable, Optional

from labtool import machine
from labtool.frames import HELLO, Decoder, Frame
from labtool.switch import Switch

BOOT_SECONDS = {"kvm": 60, "tcg": 240}


class Node:
    """Owned by the supervisor. States: booting, up, paused, failed (never came up), dead."""

    def __init__(self, number: int, selector: selectors.BaseSelector, switch: Switch,
                 on_frame: Callable[["Node", Frame], None],
                 on_end: Callable[["Node"], None]) -> None:
        self.number, self.name = number, f"node{number}"
        self.state, self.detail, self.facts = "dead", "", {}  # type: str, str, dict[str, Any]
        self.boot_seconds = 0.0
        self._selector, self._switch = selector, switch
        self._on_frame, self._on_end = on_frame, on_end
        self._control: Optional[socket.socket] = None
        self._out, self._decoder = bytearray(), Decoder()
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._began, self._limit = 0.0, 0.0

    def start(self, parts: machine.Parts) -> None:
        self._control, theirs = socket.socketpair()
        self._control.setblocking(False)
        self._out, self._decoder = bytearray(), Decoder()
        network = self._switch.plug(self.number)
        console = f"{self.name}.console"
        argv = machine.command(parts, self.number, console, theirs.fileno(), network.fileno())
        with open(f"{self.name}.qemu", "wb") as log:
            self._process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=(theirs.fileno(), network.fileno()), start_new_session=True,
                preexec_fn=machine.die_with_parent)
        theirs.close()
        network.close()
        self._selector.register(self._control, selectors.EVENT_READ, self._ready)
        self._began = time.monotonic()
        self._limit = self._began + BOOT_SECONDS[parts.accelerator]
        self.state, self.detail, self.facts = "booting", "", {}

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def send(self, frame: Frame) -> None:
        self._out += frame.encode()
        self._flush()

    def _flush(self) -> None:
        if not self._control:
            return
        try:
            while self._out:
                del self._out[:self._control.send(self._out)]
        except BlockingIOError:
            pass
        except ConnectionError:
            self._out.clear()
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._out else 0)
        self._selector.modify(self._control, events, self._ready)

    def _ready(self, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush()
        if not events & selectors.EVENT_READ or not self._control:
            return
        try:
            data = self._control.recv(65536)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._ended()
            return
        for frame in self._decoder.feed(data):
            if frame.kind == HELLO:
                self.facts = frame.json()
                self.boot_seconds = time.monotonic() - self._began
                self.state = "up"
            else:
                self._on_frame(self, frame)

    def pause(self) -> None:
        """The guest stands still while time goes by, as a machine that stalls."""
        if self._process and self.state == "up":
            os.kill(self._process.pid, signal.SIGSTOP)
            self.state = "paused"

    def resume(self) -> None:
        if self._process and self.state == "paused":
            os.kill(self._process.pid, signal.SIGCONT)
            self.state = "up"

    def kill(self) -> None:
        """As if its power were cut."""
        if self._process:
            self._process.kill()
            self._ended()

    def check(self) -> None:
        """Called now and then: has the boot failed?"""
        if self.state == "booting" and time.monotonic() > self._limit:
            self.kill()
            self.state, self.detail = "failed", "it did not come up in time"

    def _ended(self) -> None:
        if not self._process:
            return
        self._process.kill()
        self._process.wait()
        self._process = None
        if self._control:
            self._selector.unregister(self._control)
            self._control.close()
            self._control = None
        self._switch.unplug(self.number)
        self.state = "failed" if self.state == "booting" else "dead"
        if self.state == "failed":
            self.detail = complaint(f"{self.name}.qemu") or complaint(f"{self.name}.console")
        self._on_end(self)


def complaint(path: str) -> str:
    """What a log says last, before the kernel's report of its own end."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read().partition("Kernel panic")[0]
    except OSError:
        return ""
    return " / ".join(line.strip() for line in text.strip().splitlines()[-3:])
