"""Web sockets: trio_websocket over a dialed stream, with the deadlines that it lacks (probes § 2, reliability § 1).

`async with sockets.connect(url, stale_s=30) as socket` opens one. Behind it runs one task with a nursery of its own:

- the library's reader, over a stream that tells when the peer ended it: an end during the opening handshake is noticed
  at once instead of at the deadline (F11),
- `_drain`, which empties the library's queue into a bounded one of ours, so that a slow consumer never keeps pongs
  back; if that one overflows the stream is lost, in words, instead of a frame without (F13),
- `_ping`, every `ping_s`, and `_watch`: no whole frame and no pong for `stale_s` means lost (F9).

A loss surfaces at receive(), after all frames that came before it, and at send(). It does not cancel a body that
waits for something else: that may be a placement, and nothing that happens to a stream makes it right to cut one off.
What the body raises comes out as itself, because it never enters the nursery. Leaving closes politely for
`close_s_max` (F12), or at once when the body was cancelled; nothing is left behind, no task and no stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType

import h11
import trio
import trio_websocket
import wsproto.utilities
from msgspec import Struct
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection

from actors.adapters.dialer import Endpoint, endpoint
from actors.adapters.http import retry_after_s
from actors.errors import NotSent, StreamLost
from actors.ports import Dialer

OPEN_S_MAX = 10.0  # the opening handshake, after the stream was dialed
CLOSE_S_MAX = 2.0  # the closing handshake: courtesy, nothing depends on it
FRAME_BYTES_MAX = 2**20  # the largest frame known, a token list ticker, has some 100 kB
FRAMES_MAX = 4096  # waiting for the consumer: 12 s of the busiest token known (332 trades/s, probes § 7) ...
WAITING_BYTES_MAX = 8 * 2**20  # ... and never more than this
PINGS_MAX = 4  # unanswered at once: a peer that answers none must not collect tasks
RECEIVE_BYTES = 64 * 1024

BROKEN_PROTOCOL = (ConnectionClosed, wsproto.utilities.ProtocolError, h11.ProtocolError, UnicodeError)
"""What the library's reader raises at garbage, or while it answers garbage (held by tests/pins and a fuzzing test)."""


class Timing(Struct, frozen=True, kw_only=True):
    """Deadlines in seconds. ping_s None: a third of stale_s, so that two pongs may be missed."""

    open_s_max: float = OPEN_S_MAX
    close_s_max: float = CLOSE_S_MAX
    ping_s: float | None = None


class SocketStatistics(Struct, frozen=True, kw_only=True):
    """waiting: frames for the consumer, waiting_max: the most ever; heard_s: since the last frame or pong."""

    frames: int
    waiting: int
    waiting_max: int
    heard_s: float


class TrioSockets:
    """ports.Sockets over a dialer. One for all streams."""

    def __init__(
        self,
        dialer: Dialer,
        *,
        timing: Timing | None = None,
        frames_max: int = FRAMES_MAX,
        waiting_bytes_max: int = WAITING_BYTES_MAX,
        frame_bytes_max: int = FRAME_BYTES_MAX,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """headers: sent with the opening request, say an Origin; none are known to be required (wire § 2)."""
        self._dialer = dialer
        self.timing = timing or Timing()
        self.frames_max = frames_max
        self.waiting_bytes_max = waiting_bytes_max
        self.frame_bytes_max = frame_bytes_max
        self.headers = [(name.encode("ascii"), value.encode("ascii")) for name, value in (headers or {}).items()]

    def connect(self, url: str, *, stale_s: float) -> AbstractAsyncContextManager[OpenSocket]:
        """url: ws:// (loopback only) or wss://.

        Raises: ConfigError for a wrong URL; on entry StreamLost, which knows the HTTP status of a refusal.
        """
        assert stale_s > 0, stale_s
        return _Connecting(self, self._dialer, endpoint(url, plain="ws", secure="wss", where="exchange.ws"), stale_s)


class _Connecting(AbstractAsyncContextManager["OpenSocket"]):
    """The way in and out of one socket."""

    def __init__(self, sockets: TrioSockets, dialer: Dialer, at: Endpoint, stale_s: float) -> None:
        self._sockets = sockets
        self._dialer = dialer
        self._at = at
        self._stale_s = stale_s

    async def __aenter__(self) -> OpenSocket:
        at = self._at
        try:
            stream = await self._dialer.dial(at.host, at.port, tls=at.tls, websocket=True)
        except NotSent as error:
            raise StreamLost(error.what, where=_where(at), do=error.do) from error
        self._socket = OpenSocket(self._sockets, at, stream, self._stale_s)
        self._manager = trio.open_nursery()
        self._nursery = await self._manager.__aenter__()
        self._nursery.start_soon(self._socket.run, name=f"web socket {_where(at)}")
        opened = False
        try:
            await self._socket.opened()
            opened = True
        finally:
            if not opened:
                await self._leave()
        return self._socket

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if not isinstance(error, trio.Cancelled):
                await self._socket.close()
        finally:
            await self._leave()

    async def _leave(self) -> None:
        self._nursery.cancel_scope.cancel()
        await self._manager.__aexit__(None, None, None)  # the body's exception stays out of it


class OpenSocket:
    """ports.Socket. `run` is its task; it ends when the stream is lost or left."""

    def __init__(self, sockets: TrioSockets, at: Endpoint, stream: trio.abc.Stream, stale_s: float) -> None:
        self._at = at
        self._timing = sockets.timing
        self._frame_bytes_max = sockets.frame_bytes_max
        self._waiting_bytes_max = sockets.waiting_bytes_max
        self._headers = sockets.headers
        self._stale_s = stale_s
        self._ping_s = stale_s / 3 if sockets.timing.ping_s is None else sockets.timing.ping_s
        self._stream = _Watched(stream)
        self._put, self._queue = trio.open_memory_channel[bytes](sockets.frames_max)
        self._settled = trio.Event()  # opened, or never will be
        self._scope: trio.CancelScope | None = None  # of all tasks behind this socket
        self._socket: WebSocketConnection | None = None
        self._loss: StreamLost | None = None
        self._leaving = False
        self._sends: dict[trio.CancelScope, None] = {}  # a set would be walked in the order of addresses
        self._pings_sent = self._pings_unanswered = 0
        self._frames = self._waiting_bytes = self._waiting_max = 0
        self._heard_s = trio.current_time()

    def __repr__(self) -> str:
        return f"OpenSocket({_where(self._at)})"

    async def send(self, text: str) -> None:
        """Sends one text frame. A send that is cancelled costs the stream: half a frame may have left.

        Raises: StreamLost, also when the peer takes nothing for stale_s.
        """
        await trio.lowlevel.checkpoint()
        if self._loss is not None:
            raise self._error()
        assert self._socket is not None
        scope, done = trio.CancelScope(deadline=trio.current_time() + self._stale_s), False
        self._sends[scope] = None
        try:
            with scope:
                await self._socket.send_message(text)
                done = True
        except ConnectionClosed as closed:
            self._lose(_closed_text(closed))
        finally:
            del self._sends[scope]
            if not done:
                self._lose("a frame could not be sent to its end")
        if not done:
            raise self._error()

    async def receive(self) -> bytes:
        """The next frame. Cancelling it loses none. Raises: StreamLost, once all frames before the loss were taken."""
        try:
            frame = await self._queue.receive()
        except trio.EndOfChannel:
            raise self._error() from None
        self._waiting_bytes -= len(frame)
        return frame

    def statistics(self) -> SocketStatistics:
        return SocketStatistics(
            frames=self._frames,
            waiting=self._queue.statistics().current_buffer_used,
            waiting_max=self._waiting_max,
            heard_s=trio.current_time() - self._heard_s,
        )

    async def opened(self) -> None:
        """Raises: StreamLost when the opening handshake failed."""
        await self._settled.wait()
        if self._socket is None:
            raise self._error()

    async def close(self) -> None:
        """Says goodbye, for close_s_max at most."""
        self._leaving = True
        with trio.move_on_after(self._timing.close_s_max):
            if self._socket is not None and self._loss is None:
                await self._socket.aclose()
        await trio.lowlevel.checkpoint()

    async def run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                await self._open(nursery)
        except* ConnectionRejected as group:
            self._refused(_first(group))
        except* BROKEN_PROTOCOL as group:
            self._lose(f"the peer broke the protocol ({type(_first(group)).__name__})")
        finally:
            self._lose("left by us" if self._leaving else "its task ended")
            self._put.close()
            self._settled.set()
            with trio.CancelScope(shield=True):  # else a Cancelled from here would hide what is being raised
                await trio.aclose_forcefully(self._stream)

    async def _open(self, nursery: trio.Nursery) -> None:
        """The opening handshake (F11), then the tasks that live as long as the stream."""
        with trio.move_on_after(self._timing.open_s_max) as opening:
            self._stream.ends = opening
            self._socket = await trio_websocket.wrap_client_stream(
                nursery,
                self._stream,  # type: ignore[arg-type] # any stream will do
                self._at.authority,
                self._at.target,
                extra_headers=self._headers,
                message_queue_size=16,  # a little room, so that reader and drain need not take turns
                max_message_size=self._frame_bytes_max,
                receive_buffer_size=RECEIVE_BYTES,
            )
        self._stream.ends = None
        if self._socket is None:
            ended = (
                "the peer ended the stream" if self._stream.ended else f"no answer for {self._timing.open_s_max:g} s"
            )
            self._lose(f"{ended} during the opening handshake")
            return
        self._heard_s = trio.current_time()
        nursery.start_soon(self._drain, self._socket)
        nursery.start_soon(self._ping, self._socket, nursery)
        nursery.start_soon(self._watch)
        self._settled.set()

    async def _drain(self, socket: WebSocketConnection) -> None:
        while True:
            try:
                message = await socket.get_message()
            except ConnectionClosed as closed:
                if not self._leaving:  # else close() waits for the peer's word, and the reader must live to hear it
                    self._lose(_closed_text(closed))
                return
            frame = message.encode() if isinstance(message, str) else message
            self._heard_s = trio.current_time()
            if not self._keep(frame):
                self._lose(f"too slow: {self._queue.statistics().current_buffer_used} frames were waiting to be taken")
                return

    def _keep(self, frame: bytes) -> bool:
        """Puts a frame where receive() finds it; False if there is no room."""
        if self._waiting_bytes + len(frame) > self._waiting_bytes_max:
            return False
        try:
            self._put.send_nowait(frame)
        except trio.WouldBlock:
            return False
        self._frames += 1
        self._waiting_bytes += len(frame)
        self._waiting_max = max(self._waiting_max, self._queue.statistics().current_buffer_used)
        return True

    async def _ping(self, socket: WebSocketConnection, nursery: trio.Nursery) -> None:
        while True:
            await trio.sleep(self._ping_s)
            if self._pings_unanswered < PINGS_MAX:
                nursery.start_soon(self._one_ping, socket)

    async def _one_ping(self, socket: WebSocketConnection) -> None:
        """One ping and its pong, however long it takes: a pong that is never sent is no loss while frames come in."""
        self._pings_sent += 1
        self._pings_unanswered += 1
        try:
            await socket.ping(self._pings_sent.to_bytes(4, "big"))
        except ConnectionClosed:
            return  # _drain hears it too, with the reason
        self._pings_unanswered -= 1
        self._heard_s = trio.current_time()

    async def _watch(self) -> None:
        while (left_s := self._heard_s + self._stale_s - trio.current_time()) > 0:
            await trio.sleep(left_s)
            await trio.lowlevel.checkpoint()  # a frame of this very instant counts
        self._lose(f"no frame and no pong for {self._stale_s:g} s")

    def _lose(self, what: str, *, status: int | None = None, retry_after_s: float | None = None) -> None:
        """The first reason counts. Ends all tasks behind the socket and the sends that wait."""
        if self._loss is None:
            self._loss = StreamLost(what, where=_where(self._at), do="connect again, with growing delays")
            self._loss.status, self._loss.retry_after_s = status, retry_after_s
        for scope in (self._scope, *self._sends):
            if scope is not None:
                scope.cancel()

    def _refused(self, refusal: BaseException) -> None:
        assert isinstance(refusal, ConnectionRejected)
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in refusal.headers}
        status = refusal.status_code
        self._lose(f"refused with HTTP status {status}", status=status, retry_after_s=retry_after_s(headers))

    def _error(self) -> StreamLost:
        """A new error each time: one that is raised twice drags the first traceback along."""
        assert self._loss is not None
        error = StreamLost(self._loss.what, where=self._loss.where, do=self._loss.do)
        error.status, error.retry_after_s = self._loss.status, self._loss.retry_after_s
        return error


class _Watched(trio.abc.Stream):
    """A stream that tells when it ended. During the opening handshake `ends` is cancelled then, and size is bounded."""

    def __init__(self, inner: trio.abc.Stream) -> None:
        self._inner = inner
        self._left = RECEIVE_BYTES  # a handshake or a refusal is no larger
        self.ends: trio.CancelScope | None = None
        self.ended = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        whole = False
        try:
            data = await self._inner.receive_some(max_bytes)
            whole = bool(data)
        finally:
            if not whole:
                self._end()
        if self.ends is not None:
            self._left -= len(data)
            if self._left < 0:
                self._end()
        return data

    async def aclose(self) -> None:
        self._end()
        await self._inner.aclose()

    def _end(self) -> None:
        self.ended = True
        if self.ends is not None:
            self.ends.cancel()


def _closed_text(closed: ConnectionClosed) -> str:
    if closed.reason is None:
        return "closed"
    said = f" {closed.reason.reason!r}" if closed.reason.reason else ""
    return f"closed with {closed.reason.code} {closed.reason.name}{said}"


def _where(at: Endpoint) -> str:
    """Host and path; the query stays out, a key may be in it."""
    return f"{at.authority}{at.target.partition('?')[0]}"


def _first(group: BaseException) -> BaseException:
    """The first leaf of an exception group."""
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group
