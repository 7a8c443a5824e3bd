"""The switch between the guests: a port is a Unix socket to a guest's QEMU, which sends each
Ethernet frame with its length before it. Links can be cut here, one direction at a time, for
whatever protocol and whatever state the guests are in."""
import selectors
import socket
import struct

from labtool.machine import mac

LENGTH = struct.Struct("!I")
READ_SIZE = 256 * 1024
MAX_QUEUED = 8 * 1024 * 1024  # for a guest that takes nothing (paused); what comes then is dropped


class Port:
    def __init__(self, node: int, sock: socket.socket) -> None:
        self.node, self.socket = node, sock
        self.received, self.queued = bytearray(), bytearray()
        self.waits = False  # for its socket to take more
        self.dropped = 0


class Switch:
    """Knows which guest is behind which port by the guests' addresses, so nothing is learnt."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._ports: dict[int, Port] = {}
        self._node_of = {bytes.fromhex(mac(n).replace(":", "")): n for n in range(1, 10)}
        self.cut: set[tuple[int, int]] = set()

    def plug(self, node: int) -> socket.socket:
        """Makes the port of a node; returns the end that its QEMU gets."""
        self.unplug(node)
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        ours.setblocking(False)
        port = Port(node, ours)
        self._ports[node] = port
        self._selector.register(ours, selectors.EVENT_READ,
                                lambda events: self._ready(port, events))
        return theirs

    def unplug(self, node: int) -> None:
        port = self._ports.pop(node, None)
        if port:
            self._selector.unregister(port.socket)
            port.socket.close()

    def _ready(self, port: Port, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._flush(port)
        if not events & selectors.EVENT_READ:
            return
        try:
            data = port.socket.recv(READ_SIZE)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self.unplug(port.node)
            return
        port.received += data
        self._forward(port)

    def _forward(self, source: Port) -> None:
        buffer, at, end = source.received, 0, len(source.received)
        outgoing: dict[int, bytearray] = {}
        while end - at >= 4:
            size = 4 + LENGTH.unpack_from(buffer, at)[0]
            if end - at < size:
                break
            target = self._node_of.get(bytes(buffer[at + 4:at + 10]))
            # A known address goes to its port, any other (broadcast, multicast) to all.
            for node in (target,) if target else self._ports:
                if node != source.node and (source.node, node) not in self.cut:
                    outgoing.setdefault(node, bytearray()).extend(buffer[at:at + size])
            at += size
        del buffer[:at]
        for node, data in outgoing.items():
            port = self._ports.get(node)
            if port is None:
                continue
            if len(port.queued) + len(data) > MAX_QUEUED:
                port.dropped += 1
                continue
            port.queued += data
            self._flush(port)

    def _flush(self, port: Port) -> None:
        try:
            while port.queued:
                del port.queued[:port.socket.send(port.queued)]
        except BlockingIOError:
            pass
        except ConnectionError:
            port.queued.clear()
        if port.waits != bool(port.queued) and port.node in self._ports:
            port.waits = bool(port.queued)
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if port.waits else 0)
            self._selector.modify(port.socket, events, lambda found: self._ready(port, found))
