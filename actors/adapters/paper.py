"""Serves a paper exchange over byte streams, and tells it the time.

The exchange itself is a machine that never waits (actors/paper/machine.py). Around it stand here: one clock task that
moves it on when something is due and lets frames go at their moment, and one task per connection. Whatever a call
changed is in the journal before anybody hears of it. Time comes from the wall port and never goes backwards for the
exchange; when it is far behind (a suspended machine), it catches up in small steps with everybody else in between.

Streams may be of any kind: TCP in the daemon, memory or simulated streams elsewhere. The listening sockets belong to
the wiring and outlive this server, so that a restarted paper child keeps its ports. Only the loopback is served.
"""

from __future__ import annotations

import errno
import heapq
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import trio
from msgspec import Struct

from actors.adapters.dialer import is_loopback
from actors.adapters.paper_http import converse
from actors.adapters.paper_journal import Journal
from actors.adapters.paper_sockets import PUBLIC_PATH, USER_PATH, AckForm, Subscriber
from actors.errors import ConfigError, IllegalEvent, Refusal
from actors.paper.api import Frame, Request, Response
from actors.paper.recording import Recording, read_recording
from actors.ports import Asked, Inbox, Started, Wall

STEP_MS = 100  # market time per step while catching up: a few ms of work
CONNECTIONS_MAX = 8_192  # of either kind; more are closed at once
BACKLOG = 512  # connects that wait to be accepted: a thousand users start together
ACCEPT_PAUSE_S = 0.1  # out of file descriptors: somebody will close one

COMPACT_BYTES = 32_000_000  # the journal is rewritten as one snapshot when it has outgrown this ...
COMPACT_FACTOR = 4  # ... and so many times the last snapshot: the cost stays a share of what was written

LOOPBACK = "127.0.0.1"
NO_SOCKETS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})


class Exchange(Protocol):
    """The machine, as far as it is served: actors.paper.machine.Exchange."""

    def handle(self, request: Request, now_ms: int) -> Response: ...

    def advance(self, now_ms: int) -> None: ...

    def next_due_ms(self) -> int | None: ...

    def take_frames(self) -> list[Frame]: ...

    def take_journal(self) -> bytes:
        """What changed since the last call, as whole lines; b"" if nothing did."""
        ...

    def snapshot(self) -> bytes:
        """One line that stands for all that were taken."""
        ...

    def subscribe(self, stream: str, *, public: bool, now_ms: int) -> Any: ...

    def unsubscribe(self, stream: str, *, public: bool) -> None: ...


class Acceptor(Protocol):
    """Where connections come from: a trio.SocketListener, or a simulated one."""

    async def accept(self) -> trio.abc.Stream: ...


class PaperStatistics(Struct, frozen=True, kw_only=True):
    """requests, frames: served since the start. slow: sockets that were disconnected because they did not read."""

    requests: int
    http_connections: int
    sockets: int
    subscriptions: int
    frames: int
    frames_waiting: int
    slow: int
    behind_ms: int


class PaperServer:
    """One incarnation of serving. The exchange, the journal and the listeners are older and live on."""

    def __init__(self, exchange: Exchange, wall: Wall, journal: Journal, *, acks: AckForm = "full") -> None:
        self._exchange = exchange
        self._wall = wall
        self._journal = journal
        self._compact_bytes = max(COMPACT_BYTES, COMPACT_FACTOR * journal.size)
        self._acks: AckForm = acks
        self._now_ms = wall.now_ms()
        self._lead_ms = 0  # by which the exchange is ahead of a wall that was set back
        self._frames: list[tuple[int, int, Frame]] = []
        self._frame_count = 0
        self._hears: dict[
            tuple[bool, str], dict[Subscriber, None]
        ] = {}  # dicts: an order that hash seeds do not change
        self._wake = trio.Event()
        self._sleeps_until_ms: int | None = None
        self._requests = self._sent = self._slow = 0
        self._open = {"http": 0, "ws": 0}

    # -- serving

    async def serve(
        self, http: Sequence[Acceptor], ws: Sequence[Acceptor], *, task_status: Started = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Runs the clock and accepts on all listeners until cancelled. Started when all of them are."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.run_clock)
            for listener in http:
                nursery.start_soon(self._accept, listener, self.serve_http, nursery)
            for listener in ws:
                nursery.start_soon(self._accept, listener, self.serve_ws, nursery)
            task_status.started()

    async def _accept(
        self, listener: Acceptor, serve: Callable[[trio.abc.Stream], Awaitable[None]], nursery: trio.Nursery
    ) -> None:
        # Not trio.serve_listeners: that closes the listeners at its end, and with them the port.
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                if error.errno not in NO_SOCKETS:
                    raise
                await trio.sleep(ACCEPT_PAUSE_S)
            else:
                nursery.start_soon(serve, stream)

    async def serve_http(self, stream: trio.abc.Stream) -> None:
        """One REST connection, to its end."""
        with self._room("http") as room:
            if room:
                await converse(stream, self._answer, self._clock_ms)
            else:
                await trio.aclose_forcefully(stream)

    async def serve_ws(self, stream: trio.abc.Stream) -> None:
        """One web socket, public or user by its path, to its end."""
        with self._room("ws") as room:
            if room:
                subscriber = Subscriber(self, acks=self._acks)
                await subscriber.serve(stream)
                self._slow += subscriber.slow
            else:
                await trio.aclose_forcefully(stream)

    @contextmanager
    def _room(self, kind: Literal["http", "ws"]) -> Iterator[bool]:
        self._open[kind] += 1
        try:
            yield self._open[kind] <= CONNECTIONS_MAX
        finally:
            self._open[kind] -= 1

    async def _answer(self, request: Request) -> Response:
        await self._catch_up()
        self._requests += 1
        response = self._exchange.handle(request, self._clock_ms())
        self._settle()
        if response.delay_ms:
            await trio.sleep(response.delay_ms / 1000)
        return response

    # -- who hears what (paper_sockets.Registry)

    def subscribe(self, subscriber: Subscriber, stream: str) -> None:
        self._hears.setdefault((subscriber.public, stream), {})[subscriber] = None
        self._exchange.subscribe(stream, public=subscriber.public, now_ms=self._reached_ms())
        self._settle()

    def unsubscribe(self, subscriber: Subscriber, stream: str) -> None:
        listeners = self._hears[subscriber.public, stream]
        del listeners[subscriber]
        if not listeners:
            del self._hears[subscriber.public, stream]
        self._exchange.unsubscribe(stream, public=subscriber.public)

    # -- time

    async def run_clock(self) -> None:
        """Moves the exchange on whenever something is due, and lets frames go at their moment."""
        while True:
            if self._reached_ms() < self._now_ms:
                await self._catch_up()
            self._step(self._clock_ms())
            self._let_go()
            self._wake = trio.Event()
            due_ms = self._next_ms()
            self._sleeps_until_ms = due_ms
            wait_s = math.inf if due_ms is None else max(0, due_ms - self._clock_ms()) / 1000  # it may be due by now
            with trio.move_on_after(wait_s):
                await self._wake.wait()

    def _clock_ms(self) -> int:
        """Now, for the exchange: the wall, but never back. A wall that was set back is followed from there on."""
        wall_ms = self._wall.now_ms()
        self._lead_ms = max(self._lead_ms, self._now_ms - wall_ms)
        self._now_ms = wall_ms + self._lead_ms
        return self._now_ms

    async def _catch_up(self) -> None:
        """Returns when the exchange is at most STEP_MS behind; others run between the steps."""
        await trio.lowlevel.checkpoint()
        while (reached_ms := self._reached_ms()) < self._now_ms:
            self._step(reached_ms)
            self._let_go()
            await trio.lowlevel.checkpoint()

    def _reached_ms(self) -> int:
        """Up to when the exchange can be moved in one go: now, or a step behind the first thing that is overdue."""
        now_ms, due_ms = self._clock_ms(), self._exchange.next_due_ms()
        return now_ms if due_ms is None else min(now_ms, due_ms + STEP_MS)

    def _step(self, now_ms: int) -> None:
        self._exchange.advance(now_ms)
        self._settle()

    def _settle(self) -> None:
        """After every call of the exchange: its memory is written down first, then its frames may go their way."""
        if entry := self._exchange.take_journal():
            self._journal.append(entry)
            if self._journal.size > self._compact_bytes:
                self._journal.replace(self._exchange.snapshot())
                self._compact_bytes = max(COMPACT_BYTES, COMPACT_FACTOR * self._journal.size)
        for frame in self._exchange.take_frames():
            self._frame_count += 1
            heapq.heappush(self._frames, (frame.due_ms, self._frame_count, frame))
        due_ms = self._next_ms()
        if due_ms is not None and (self._sleeps_until_ms is None or due_ms < self._sleeps_until_ms):
            self._wake.set()

    def _next_ms(self) -> int | None:
        due_ms = self._exchange.next_due_ms()
        if not self._frames:
            return due_ms
        return self._frames[0][0] if due_ms is None else min(due_ms, self._frames[0][0])

    def _let_go(self) -> None:
        now_ms = self._clock_ms()
        while self._frames and self._frames[0][0] <= now_ms:
            _, _, frame = heapq.heappop(self._frames)
            self._sent += 1
            text = frame.payload.decode()
            for subscriber in list(self._hears.get((frame.public, frame.stream), ())):
                if text:
                    subscriber.offer(text)
                if frame.close:
                    subscriber.finish()

    def statistics(self) -> PaperStatistics:
        due_ms = self._exchange.next_due_ms()
        return PaperStatistics(
            requests=self._requests,
            http_connections=self._open["http"],
            sockets=self._open["ws"],
            subscriptions=sum(map(len, self._hears.values())),
            frames=self._sent,
            frames_waiting=len(self._frames),
            slow=self._slow,
            behind_ms=0 if due_ms is None else max(0, self._clock_ms() - due_ms),
        )


async def run(
    inbox: Inbox,
    server: Callable[[], PaperServer],
    http: Sequence[Acceptor],
    ws: Sequence[Acceptor],
    *,
    task_status: Started = trio.TASK_STATUS_IGNORED,
) -> None:
    """The `paper` child. server: makes this incarnation's server around the exchange that outlives it."""
    async with trio.open_nursery() as nursery:
        await nursery.start(server().serve, http, ws)
        task_status.started()
        while True:
            message = await inbox.take()
            if not isinstance(message, Asked):
                raise IllegalEvent(f"the paper exchange takes no news: {message!r}", where="paper")
            message.reply.refuse(Refusal("the paper exchange answers on its sockets", where="paper", do="ask it there"))
            inbox.finish()


async def run_exchange(
    server: PaperServer, http_port: int, ws_port: int, say: Callable[[str], None], *, host: str = LOOPBACK
) -> None:
    """`otod exchange`: serves on two ports (0: any free) until cancelled; says where as soon as it does.

    say: gets one line of JSON (contract § 1). Raises: ConfigError, host is not the loopback; Refusal, port in use.
    """
    async with AsyncExitStack() as stack:
        http: list[trio.SocketListener] = []
        ws: list[trio.SocketListener] = []
        for listeners, port in ((http, http_port), (ws, ws_port)):
            for listener in await listen(host, port):
                listeners.append(await stack.enter_async_context(listener))
        async with trio.open_nursery() as nursery:
            await nursery.start(server.serve, http, ws)
            say(msgspec.json.encode(addresses(http, ws)).decode())


async def listen(host: str, port: int) -> list[trio.SocketListener]:
    """Listening sockets on a loopback address. Raises: ConfigError, another address; Refusal, the port is in use."""
    if not is_loopback(host):
        raise ConfigError(
            f"{host!r} is not a loopback address",
            where="paper exchange",
            do=f"listen on {LOOPBACK}: it knows no passwords and is not for a network",
        )
    try:
        return await trio.open_tcp_listeners(port, host=host, backlog=BACKLOG)
    except OSError as error:
        raise Refusal(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            where="paper exchange",
            do="choose another port, or 0 for any free one",
        ) from error


def addresses(http: Sequence[trio.SocketListener], ws: Sequence[trio.SocketListener]) -> dict[str, str]:
    """rest_base, ws_public, ws_user as contract § 1 names them."""
    rest, stream = (":".join(map(str, listeners[0].socket.getsockname()[:2])) for listeners in (http, ws))
    return {
        "rest_base": f"http://{rest}",
        "ws_public": f"ws://{stream}{PUBLIC_PATH}",
        "ws_user": f"ws://{stream}{USER_PATH}",
    }


def load_recording(path: Path) -> Recording:
    """The trades of a file for --replay. Raises: ConfigError, naming file, line and column."""
    try:
        data = path.read_bytes()
    except OSError as error:
        what = f"cannot read the file: {error.strerror or error}"
        raise ConfigError(what, where=str(path), do="give the path of a CSV file of trades") from error
    return read_recording(str(path), data)
