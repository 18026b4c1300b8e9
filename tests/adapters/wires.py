"""Streams for the adapters' tests: a dialer whose calls end in a handler, over memory, and streams that misbehave."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import h11
import trio
import trio.testing

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
