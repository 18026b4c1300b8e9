"""A client that speaks nng's ipc framing byte by byte, to misbehave where a library would not."""

from __future__ import annotations

import socket
import struct

REQ0, REP0 = 0x30, 0x31
HELLO = struct.pack(">4sHH", b"\0SP\0", REQ0, 0)
"""What a REQ peer says first: magic, its protocol number, reserved."""


def connect(url: str, *, hello: bytes = HELLO) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(5)
    client.connect(url.removeprefix("ipc://"))
    client.sendall(hello)
    return client


def frame(payload: bytes, *, request: int = 1, end: bool = True) -> bytes:
    """One message: type 1, length, then a request id (its top bit marks the end of the route) and the payload."""
    route = struct.pack(">I", request | (0x8000_0000 if end else 0))
    return struct.pack(">BQ", 1, len(route) + len(payload)) + route + payload


def read_message(client: socket.socket) -> bytes:
    """The next message without its request id. Raises: ConnectionError at the end of the stream."""
    _, length = struct.unpack(">BQ", _exactly(client, 9))
    return _exactly(client, length)[4:]


def _exactly(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = client.recv(count - len(data))
        if not more:
            raise ConnectionError("closed")
        data += more
    return data
