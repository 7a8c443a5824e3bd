"""One command in a guest: its process, its streams, its credit."""
import contextlib
import fcntl
import os
import pty
import selectors
import signal
import struct
import subprocess
import termios
from typing import Any, Callable, Optional

from frames import CHUNK, CREDIT, STDERR, STDOUT, WINDOW, Frame, number_frame


def session_of(leader: int) -> list[int]:
    pids = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                session = file.read().rpartition(")")[2].split()[3]
        except OSError:  # It has ended meanwhile.
            continue
        if int(session) == leader:
            pids.append(int(name))
    return pids


class Command:
    """Owned by the agent. `ready` is called when one of its streams can go on; it is finished when
    its process has ended and its output has been read to the end."""

    def __init__(self, channel: int, request: dict[str, Any], selector: selectors.BaseSelector,
                 send: Callable[[Frame], None]) -> None:
        self._channel, self._selector, self._send = channel, selector, send
        self._credit, self._pending, self._input_ended = WINDOW, bytearray(), False
        self._paused: set[str] = set()
        self.status: Optional[int] = None
        self._files: dict[str, int] = {}
        environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "LANG": "C.UTF-8",
                       "USER": "root", **request.get("env", {})}
        cwd = request.get("cwd", "/")
        arguments: dict[str, Any] = {"env": environment, "cwd": cwd if os.path.isdir(cwd) else "/",
                                     "start_new_session": True, "bufsize": 0}
        if request.get("pty"):
            self._open_terminal(request, arguments)
        else:
            process = subprocess.Popen(request["argv"], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, **arguments)
            for name, file in (("in", process.stdin), ("out", process.stdout),
                               ("err", process.stderr)):
                self._files[name] = os.dup(file.fileno())
                file.close()
        self.pid = process.pid if not request.get("pty") else self._terminal_pid
        for name, fd in self._files.items():
            os.set_blocking(fd, False)
            if name != "in":
                selector.register(fd, selectors.EVENT_READ, (self, name))

    def _open_terminal(self, request: dict[str, Any], arguments: dict[str, Any]) -> None:
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", *request["pty"], 0, 0))
        process = subprocess.Popen(request["argv"], stdin=slave, stdout=slave, stderr=slave,
                                   preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
                                   **arguments)
        self._terminal_pid = process.pid
        os.close(slave)
        self._files = {"out": master, "in": os.dup(master)}

    def ready(self, name: str) -> None:
        if name == "in":
            self._write()
            return
        if name not in self._files:
            return
        if self._credit <= 0:
            self._pause(name)
            return
        try:
            data = os.read(self._files[name], min(CHUNK, self._credit))
        except BlockingIOError:
            return
        except OSError:  # A terminal whose last user is gone.
            data = b""
        if not data:
            self._close(name)
            return
        self._credit -= len(data)
        self._send(Frame(self._channel, STDERR if name == "err" else STDOUT, data))

    def add_credit(self, count: int) -> None:
        self._credit += count
        for name in self._paused:
            self._selector.register(self._files[name], selectors.EVENT_READ, (self, name))
        self._paused.clear()

    def _pause(self, name: str) -> None:
        self._selector.unregister(self._files[name])
        self._paused.add(name)

    def feed(self, data: bytes) -> None:
        """Input for the command; nothing at all means that no more will come."""
        self._input_ended = self._input_ended or not data
        self._pending += data
        self._write()

    def _write(self) -> None:
        fd = self._files.get("in")
        if fd is None:
            return
        try:
            while self._pending:
                written = os.write(fd, self._pending[:CHUNK])
                del self._pending[:written]
                self._send(number_frame(self._channel, CREDIT, written))
        except BlockingIOError:
            if fd not in self._selector.get_map():
                self._selector.register(fd, selectors.EVENT_WRITE, (self, "in"))
            return
        except OSError:  # It reads no more.
            self._input_ended = True
            self._pending.clear()
        if fd in self._selector.get_map():
            self._selector.unregister(fd)
        if self._input_ended:
            self._close("in")

    def signal(self, number: int) -> None:
        """To the command's process group; one that kills to all of its session, as there may be
        other groups in it: timeout makes one."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            for pid in session_of(self.pid) if number == signal.SIGKILL else ():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        if number == signal.SIGKILL:  # Nobody waits any longer for what others of it might write.
            for name in list(self._files):
                self._close(name)

    def resize(self, rows: int, columns: int) -> None:
        if "in" in self._files:
            fcntl.ioctl(self._files["in"], termios.TIOCSWINSZ,
                        struct.pack("HHHH", rows, columns, 0, 0))

    def ended(self, status: int) -> None:
        code = os.waitstatus_to_exitcode(status)
        self.status = code if code >= 0 else 128 - code
        self._close("in")

    def finished(self) -> bool:
        return self.status is not None and not self._files

    def _close(self, name: str) -> None:
        fd = self._files.pop(name, None)
        if fd is None:
            return
        self._paused.discard(name)
        if fd in self._selector.get_map():
            self._selector.unregister(fd)
        os.close(fd)
