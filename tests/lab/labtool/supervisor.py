"""The process behind a running lab. It starts the guests, is the switch between them, and passes
commands on to them; guests die with it, however it ends. It ends by `down`, when nobody has used
the lab for long, and, where it has an owner, when that ends.

usage: python -m labtool.supervisor STATE NODES IDLE_SECONDS OWNER_FD
(OWNER_FD: a pipe that is closed when the owner ends, or -1)
"""
import fcntl
import os
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any, Optional

from labtool import machine
from labtool.frames import (EXIT, REPLY, REQUEST, SIGNAL, Decoder, Frame, json_frame, number_frame)
from labtool.node import Node
from labtool.places import LabError
from labtool.switch import Switch


class Client:
    """A connection of the tool: one request, and for a command the streams that follow."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket, self.decoder, self.out = sock, Decoder(), bytearray()
        self.node: Optional[Node] = None
        self.channel = 0
        self.waits = False     # for the guests to be up
        self.finishing = False  # closed as soon as all has been written


class Supervisor:
    def __init__(self, nodes: int, idle_seconds: float) -> None:
        self.selector = selectors.DefaultSelector()
        self.switch = Switch(self.selector)
        self.parts = machine.prepare(nodes)
        self.nodes = {n: Node(n, self.selector, self.switch, self.from_guest, self.guest_ended)
                      for n in range(1, nodes + 1)}
        self.clients: set[Client] = set()
        self.channels: dict[int, Client] = {}
        self.next_channel, self.last_use = 1, time.monotonic()
        self.idle_seconds, self.stopping = idle_seconds, False

    def listen(self) -> None:
        Path("ctl").unlink(missing_ok=True)
        server = socket.socket(socket.AF_UNIX)
        server.bind("ctl")
        os.chmod("ctl", 0o600)
        server.listen(64)
        server.setblocking(False)
        self.selector.register(server, selectors.EVENT_READ, lambda _: self.accept(server))

    def accept(self, server: socket.socket) -> None:
        sock, _ = server.accept()
        sock.setblocking(False)
        client = Client(sock)
        self.clients.add(client)
        self.selector.register(sock, selectors.EVENT_READ, lambda e: self.ready(client, e))

    def ready(self, client: Client, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self.flush(client)
        if not events & selectors.EVENT_READ or client not in self.clients:
            return
        try:
            data = client.socket.recv(65536)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self.drop(client)
            return
        self.last_use = time.monotonic()
        for frame in client.decoder.feed(data):
            if frame.kind == REQUEST:
                self.request(client, frame.json())
            elif client.node:
                client.node.send(frame._replace(channel=client.channel))

    def drop(self, client: Client) -> None:
        """The tool is gone: nobody waits for its command any more."""
        self.clients.discard(client)
        self.selector.unregister(client.socket)
        client.socket.close()
        if self.channels.pop(client.channel, None) and client.node:
            client.node.send(number_frame(client.channel, SIGNAL, signal.SIGKILL))

    def send(self, client: Client, frame: Frame, last: bool = False) -> None:
        client.out += frame.encode()
        client.finishing = client.finishing or last
        self.flush(client)

    def flush(self, client: Client) -> None:
        try:
            while client.out:
                del client.out[:client.socket.send(client.out)]
        except BlockingIOError:
            pass
        except ConnectionError:
            self.drop(client)
            return
        if client.finishing and not client.out:
            self.drop(client)
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.out else 0)
        self.selector.modify(client.socket, events, lambda e: self.ready(client, e))

    def request(self, client: Client, request: dict[str, Any]) -> None:
        try:
            if request["op"] == "wait":
                client.waits = True
            elif request["op"] == "exec":
                self.execute(client, request)
            else:
                answer = getattr(self, "do_" + request["op"])(request)
                self.send(client, json_frame(0, REPLY, answer or {}), last=True)
        except LabError as error:
            self.send(client, json_frame(0, REPLY, {"error": str(error)}), last=True)

    def node(self, number: int) -> Node:
        if number not in self.nodes:
            raise LabError(f"there is no node{number}: this lab has {len(self.nodes)}")
        return self.nodes[number]

    def execute(self, client: Client, request: dict[str, Any]) -> None:
        node = self.node(request["node"])
        if node.state not in ("up", "paused"):
            raise LabError(f"{node.name} is {node.state}")
        client.node, client.channel = node, self.next_channel
        self.channels[client.channel] = client
        self.next_channel = self.next_channel % 0x7FFFFFFF + 1
        node.send(json_frame(client.channel, REQUEST, request))

    def from_guest(self, node: Node, frame: Frame) -> None:
        client = self.channels.get(frame.channel)
        if not client:
            return
        last = frame.kind == EXIT
        if last:
            del self.channels[frame.channel]
            client.node = None
        self.send(client, frame, last)

    def guest_ended(self, node: Node) -> None:
        for channel, client in list(self.channels.items()):
            if client.node is node:
                del self.channels[channel]
                client.node = None
                self.send(client, json_frame(0, REPLY, {"error": f"{node.name} ended"}), last=True)

    def do_status(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"accelerator": self.parts.accelerator, "kernel": self.parts.kernel.version,
                "pid": os.getpid(), "cut": sorted(self.switch.cut),
                "nodes": {n: {"state": node.state, "detail": node.detail, "pid": node.pid,
                              "boot": node.boot_seconds, "address": f"10.77.0.{n}",
                              "interface": "eth0", "device": "rxe0", **node.facts}
                          for n, node in self.nodes.items()}}

    def do_start(self, request: dict[str, Any]) -> None:
        node = self.node(request["node"])
        if node.state in ("booting", "up", "paused"):
            raise LabError(f"{node.name} is {node.state} already")
        node.start(self.parts)

    def do_kill(self, request: dict[str, Any]) -> None:
        self.node(request["node"]).kill()

    def do_pause(self, request: dict[str, Any]) -> None:
        node = self.node(request["node"])
        if node.state != "up":
            raise LabError(f"{node.name} is {node.state}")
        node.pause()

    def do_resume(self, request: dict[str, Any]) -> None:
        node = self.node(request["node"])
        if node.state != "paused":
            raise LabError(f"{node.name} is {node.state}")
        node.resume()

    def do_cut(self, request: dict[str, Any]) -> None:
        for source, target in request["links"]:
            self.node(source), self.node(target)
            self.switch.cut.add((source, target))

    def do_heal(self, request: dict[str, Any]) -> None:
        links = {(source, target) for source, target in request["links"]}
        self.switch.cut -= links or set(self.switch.cut)

    def do_down(self, _: dict[str, Any]) -> None:
        self.stopping = True

    def tick(self) -> None:
        for node in self.nodes.values():
            node.check()
        if not any(node.state == "booting" for node in self.nodes.values()):
            for client in [c for c in self.clients if c.waits]:
                client.waits = False
                self.send(client, json_frame(0, REPLY, self.do_status({})), last=True)
        if self.channels or any(client.waits for client in self.clients):
            self.last_use = time.monotonic()
        if time.monotonic() - self.last_use > self.idle_seconds:
            print(f"nobody used the lab for {self.idle_seconds:.0f} s: taking it down", flush=True)
            self.stopping = True

    def run(self) -> None:
        try:
            for node in self.nodes.values():
                node.start(self.parts)
            while not self.stopping:
                for key, events in self.selector.select(timeout=0.5):
                    if self.selector.get_map().get(key.fd) is not None:
                        key.data(events)
                self.tick()
        finally:
            for node in self.nodes.values():
                node.kill()
            Path("ctl").unlink(missing_ok=True)

    def stop(self, *_: object) -> None:
        self.stopping = True


def main(state: str, nodes: str, idle_seconds: str, owner_fd: str) -> None:
    os.chdir(state)
    # Held as long as this process lives, so that a state folder never has two.
    with open("lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        supervisor = Supervisor(int(nodes), float(idle_seconds))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, supervisor.stop)
        if int(owner_fd) >= 0:
            supervisor.selector.register(int(owner_fd), selectors.EVENT_READ, supervisor.stop)
        supervisor.listen()
        supervisor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
