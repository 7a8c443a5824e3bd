"""Frames between the tool, the supervisor and the agent in a guest.

A frame is a header (channel, kind, length) and a payload. A channel is one command; the supervisor
gives each its number and passes frames on between the tool that asked and the guest that runs it.
The flow of bytes on a channel is bounded by credit, in both directions, so that a reader that stops
reading holds up its own command alone. This file is also copied into the guests.
"""
import json
import struct
from typing import Any, Iterator, NamedTuple

HEADER = struct.Struct("!IBI")
CHUNK = 32 * 1024    # the largest payload of STDIN, STDOUT and STDERR
WINDOW = 256 * 1024  # credit that each side of a channel starts with

# From the tool: a request to the supervisor, or what a running command gets.
REQUEST, STDIN, SIGNAL, RESIZE = 1, 2, 3, 4
# From the guest, or the supervisor's answer.
STDOUT, STDERR, EXIT, REPLY = 11, 12, 13, 14
# Both ways: the peer has taken N bytes. From the guest on channel 0: the agent runs.
CREDIT, HELLO = 21, 22


class Frame(NamedTuple):
    channel: int
    kind: int
    payload: bytes

    def encode(self) -> bytes:
        return HEADER.pack(self.channel, self.kind, len(self.payload)) + self.payload

    def json(self) -> Any:
        return json.loads(self.payload)

    def number(self) -> int:
        return int.from_bytes(self.payload, "big")


def json_frame(channel: int, kind: int, value: Any) -> Frame:
    return Frame(channel, kind, json.dumps(value).encode())


def number_frame(channel: int, kind: int, value: int) -> Frame:
    return Frame(channel, kind, value.to_bytes(4, "big"))


class Decoder:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        self._buffer += data
        at = 0
        while len(self._buffer) - at >= HEADER.size:
            channel, kind, length = HEADER.unpack_from(self._buffer, at)
            end = at + HEADER.size + length
            if len(self._buffer) < end:
                break
            yield Frame(channel, kind, bytes(self._buffer[at + HEADER.size:end]))
            at = end
        del self._buffer[:at]
