"""Streams for the adapters' tests: a dialer whose calls end in a handler, over memory, and streams that misbehave."""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable
from functools import partial

import h11
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from actors.errors import NotSent

Handler = Callable[[trio.abc.Stream], Awaitable[None]]


class MemoryDialer:
    """ports.Dialer: each dial gives one end of a memory stream, the other goes to the handler, in the given nursery."""

    def __init__(self, nursery: trio.Nursery, handler: Handler) -> None:
        self.nursery = nursery
        self.handler = handler
        self.calls: list[tuple[str, int, bool, bool]] = []
        self.streams: list[TrackedStream] = []
        self.refuse: str | None = None
        self.connect_s = 0.0

    async def dial(self, host, port, *, tls, websocket=False):
        self.calls.append((host, port, tls, websocket))
        await trio.sleep(self.connect_s)
        if self.refuse is not None:
            raise NotSent(self.refuse, where=f"{host}:{port}")
        ours, theirs = trio.testing.memory_stream_pair()
        tracked = TrackedStream(ours)
        self.streams.append(tracked)
        self.nursery.start_soon(self._serve, theirs)
        return tracked

    async def _serve(self, stream):
        try:
            await self.handler(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client went away, which is the test's business
        finally:
            await trio.aclose_forcefully(stream)

    @property
    def open_streams(self) -> int:
        return sum(not stream.closed for stream in self.streams)


class TrackedStream(trio.abc.Stream):
    """A stream that remembers whether it was closed, and can be cut, clogged or reset from the outside."""

    def __init__(self, inner: trio.abc.Stream) -> None:
        self.inner = inner
        self.closed = False
        self.reset = False  # the next read or write breaks, as after an RST
        self.clogged = trio.Event()  # sends wait for this one once `clog` was called
        self.clogged.set()
        self.sent = bytearray()

    def clog(self) -> None:
        self.clogged = trio.Event()

    async def send_all(self, data):
        if self.reset:
            raise trio.BrokenResourceError("reset by peer")
        await self.clogged.wait()
        self.sent += data
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self):
        await self.inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes=None):
        data = await self.inner.receive_some(max_bytes)
        if self.reset:
            raise trio.BrokenResourceError("reset by peer")
        return data

    async def aclose(self):
        self.closed = True
        await self.inner.aclose()


async def read_request(stream, connection: h11.Connection | None = None):
    """(request, body) of the next HTTP request, None at the end of the stream."""
    connection = connection or h11.Connection(h11.SERVER)
    request, body = None, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(65536)))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return request, bytes(body)
        else:
            return None


def raw_reply(body=b"{}", *, status=200, headers=()) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Served:
    """An HTTP handler that answers each request by `answer(request, body) -> bytes`, and remembers the requests."""

    def __init__(self, answer=lambda request, body: raw_reply()):
        self.answer = answer
        self.requests = []

    async def __call__(self, stream):
        connection = h11.Connection(h11.SERVER)
        while True:
            got = await read_request(stream, connection)
            if got is None:
                return
            request, body = got
            self.requests.append((request, body))
            answer = self.answer(request, body)
            await stream.send_all(answer if isinstance(answer, bytes) else await answer)
            # our half is written raw: tell h11 that the cycle is over
            connection = h11.Connection(h11.SERVER)

    def header(self, name: str, at: int = -1) -> str | None:
        found = dict(self.requests[at][0].headers).get(name.encode())
        return None if found is None else found.decode()


# -- real sockets on the loopback


def certificate(tmp_path, *, name="localhost", days=1):
    """A self-signed certificate for `name` in tmp_path/NAME.pem, with its key. days < 0: expired."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=9))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / f"{name}{days}.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


async def listen(nursery, handler, tls=None):
    """Serves `handler` on a free loopback port; returns the port."""

    async def serve(stream):
        try:
            await handler(stream if tls is None else trio.SSLStream(stream, tls, server_side=True))
        except trio.BrokenResourceError:
            await trio.aclose_forcefully(stream)  # the client refused us, as the test wants it

    listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
    return listeners[0].socket.getsockname()[1]
