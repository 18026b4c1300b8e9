"""What lies below httpx: httpcore's connection pool over dialed streams, and httpx's transport over the pool.

httpcore ships a stream for trio that insists on a socket, and httpx offers no way to hand in another; so these few
classes are ours (reliability § 2.1). TLS is done by the dialer, deadlines by the caller (a cancelled read or write
frees its place in the pool), and the age of idle connections is measured in trio's time instead of the real clock:
a peer that closes an idle connection just as a request is written turns a placement into an unknown outcome.
"""

# ruff: noqa: ASYNC109 - the signatures with a timeout are httpcore's
from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpcore
import httpx
import trio

from actors.adapters.dialer import Endpoint, is_readable
from actors.ports import Dialer

UNUSED_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""httpcore wants a context, else it makes one for each pool (15 ms). The dialer does TLS; this one trusts nobody."""


class DialedStream(httpcore.AsyncNetworkStream):
    """A dialed stream as httpcore sees it. TLS, if any, was done by the dialer; deadlines are the caller's."""

    def __init__(self, stream: trio.abc.Stream, *, idle_s_max: float, reply_bytes_max: int) -> None:
        self._stream = stream
        self._idle_s_max = idle_s_max
        self._reply_bytes_max = reply_bytes_max
        self._used_s = trio.current_time()
        self._received = 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            data = await self._stream.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore.ReadError("the connection broke while the reply was awaited") from error
        self._used_s = trio.current_time()
        self._received += len(data)
        if self._received > self._reply_bytes_max:  # raised from here, so that no generator above is left half way
            raise httpcore.ReadError(f"a reply of more than {self._reply_bytes_max} bytes")
        return bytes(data)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._received = 0
        try:
            await self._stream.send_all(buffer)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore.WriteError("the connection broke while the request was sent") from error

    async def aclose(self) -> None:
        await trio.aclose_forcefully(self._stream)  # a mute peer must not delay us

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        await trio.lowlevel.checkpoint()
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # asked of idle connections only; True makes httpcore replace them
            return trio.current_time() - self._used_s > self._idle_s_max or is_readable(self._stream)
        return None


class DialedBackend(httpcore.AsyncNetworkBackend):
    def __init__(self, dialer: Dialer, at: Endpoint, *, idle_s_max: float, reply_bytes_max: int) -> None:
        self._dialer = dialer
        self._at = at
        self._idle_s_max = idle_s_max
        self._reply_bytes_max = reply_bytes_max

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        stream = await self._dialer.dial(self._at.host, self._at.port, tls=self._at.tls)
        return DialedStream(stream, idle_s_max=self._idle_s_max, reply_bytes_max=self._reply_bytes_max)

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)


class PoolTransport(httpx.AsyncBaseTransport):
    """httpx's way to the pool. httpcore's exceptions pass through; cookies are taken out of replies: none are learned.

    connections: at most so many at once, idle ones included.
    """

    def __init__(self, backend: DialedBackend, *, connections: int) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=UNUSED_TLS,
            max_connections=connections,
            keepalive_expiry=None,  # it would read the real clock; idle connections are DialedStream's affair
            network_backend=backend,
        )

    @property
    def connections(self) -> int:
        return len(self._pool.connections)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        reply = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=_Sent(await request.aread()),
                extensions=request.extensions,
            )
        )
        headers = [(name, value) for name, value in reply.headers if name.lower() != b"set-cookie"]
        return httpx.Response(reply.status, headers=headers, stream=_Body(reply.stream), extensions=reply.extensions)

    async def aclose(self) -> None:
        await self._pool.aclose()


class _Sent:
    """A request's body. No generator: httpcore leaves one unfinished, for the collector, if the connection breaks."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Pieces(self._data)


class _Pieces:
    def __init__(self, data: bytes) -> None:
        self._left = [data] if data else []

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop()


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()
