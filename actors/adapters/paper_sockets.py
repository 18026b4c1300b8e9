"""One web socket of the paper exchange: subscriptions in, frames out (wire § 6.1, § 10.2).

Each socket has a bounded queue of its own and a task that empties it, so that a slow reader harms itself alone: when
its queue is full it is disconnected. The server pings; who does not answer within a minute is disconnected too, and
so is everybody after a day.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, Literal, Protocol

import msgspec
import trio
import wsproto
from msgspec import Struct
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, wrap_server_stream

AckForm = Literal["full", "short"]
"""{"result":null,"id":1} on both sockets, or {"id":1} as the public one was also seen to answer (wire § 6.1)."""

PUBLIC_PATH = "/w3w/wsa/stream"
USER_PATH = "/w3w/stream"
PATHS = {PUBLIC_PATH: True, USER_PATH: False}

QUEUE_MAX = 8_192  # frames that wait for a slow reader: half a minute of a busy token, 4 MB at worst
MESSAGE_MAX = 65_536  # bytes of one command
COMMANDS_WAIT_MAX = 64  # commands read ahead; more would delay pongs (probes § 2)
STREAMS_MAX = 1_024  # of one socket: the spot rule, wire § 10.2
NAME_MAX = 200  # characters of a stream's name
ID_MAX = 36  # characters of a command's id
HANDSHAKE_S_MAX = 10.0
PING_EVERY_S = 20.0  # spot rules, wire § 10.2 ...
PONG_S_MAX = 60.0
LIFE_S_MAX = 86_400.0
CLOSE_S_MAX = 5.0

LOST = (
    ConnectionClosed,
    wsproto.utilities.LocalProtocolError,  # what slips past the library: a reply to a socket that is closing ...
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    UnicodeError,  # ... and a Host header that is no name (wsproto 1.3.2)
)
"""How a socket that ended under our hands makes itself felt."""


class Command(Struct):
    method: str
    params: list[str] = []
    id: int | str | None = None


class Registry(Protocol):
    """Who hears what: the server's side."""

    def subscribe(self, subscriber: Subscriber, stream: str) -> None: ...

    def unsubscribe(self, subscriber: Subscriber, stream: str) -> None: ...


class Subscriber:
    """One socket. public: which of the two, by its path. streams: what it listens to, in the order of subscribing."""

    def __init__(self, registry: Registry, *, acks: AckForm) -> None:
        self.public = True
        self.streams: dict[str, None] = {}
        self.slow = False
        self._registry = registry
        self._acks = acks
        self._scope = trio.CancelScope()
        self._send, self._queue = trio.open_memory_channel[str](QUEUE_MAX)
        self._decoder = msgspec.json.Decoder(Command)

    # -- what the server calls; none of these waits

    def offer(self, frame: str) -> None:
        """Queues a frame; a full queue ends the socket."""
        try:
            self._send.send_nowait(frame)
        except trio.WouldBlock:
            self.slow = True
            self._scope.cancel()
        except trio.ClosedResourceError:
            pass  # it is closing: whatever comes after that is not sent

    def finish(self) -> None:
        """Closes the socket in order, after the frames that wait already."""
        self._send.close()

    # -- its life

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Handshake, then commands and frames until one side ends it. Never raises for anything that a peer does."""
        try:
            async with trio.open_nursery() as nursery:
                with self._scope:
                    socket = await self._accept(nursery, stream)
                    if socket is not None:
                        nursery.start_soon(self._write, socket)
                        nursery.start_soon(self._ping, socket)
                        with trio.move_on_after(LIFE_S_MAX):
                            await self._read(socket)
                nursery.cancel_scope.cancel()
        except* LOST:
            pass
        finally:
            for name in self.streams:
                self._registry.unsubscribe(self, name)
            await trio.aclose_forcefully(stream)

    async def _accept(self, nursery: trio.Nursery, stream: trio.abc.Stream) -> WebSocketConnection | None:
        request: WebSocketRequest | None = None
        with trio.move_on_after(HANDSHAKE_S_MAX):
            request = await wrap_server_stream(
                nursery, stream, message_queue_size=COMMANDS_WAIT_MAX, max_message_size=MESSAGE_MAX
            )
            path = request.path.partition("?")[0]
            if path in PATHS:
                self.public = PATHS[path]
                return await request.accept()
            await request.reject(404, body=b"no stream at this path")
        return None

    async def _read(self, socket: WebSocketConnection) -> None:
        while True:
            message = await socket.get_message()
            self.offer(self._obey(message).decode())

    async def _write(self, socket: WebSocketConnection) -> None:
        async for frame in self._queue:
            await socket.send_message(frame)
        with trio.move_on_after(CLOSE_S_MAX):
            await socket.aclose(1001, "closed by the exchange")
        self._scope.cancel()

    async def _ping(self, socket: WebSocketConnection) -> None:
        for number in itertools.count():
            await trio.sleep(PING_EVERY_S)
            with trio.move_on_after(PONG_S_MAX) as waiting:
                await socket.ping(number.to_bytes(4, "big"))
            if waiting.cancelled_caught:
                self._scope.cancel()

    # -- commands

    def _obey(self, message: str | bytes) -> bytes:
        try:
            command = self._decoder.decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return _error(None, 3, f"Invalid JSON: {error}")
        answer: Callable[[Command], bytes] | None = {
            "SUBSCRIBE": self._subscribe,
            "UNSUBSCRIBE": self._unsubscribe,
            "LIST_SUBSCRIPTIONS": self._list,
        }.get(command.method)
        if isinstance(command.id, str) and not (len(command.id) <= ID_MAX and command.id.isalnum()):
            return _error(None, 2, f"Invalid request: id must be an integer or up to {ID_MAX} letters and digits")
        if answer is None:
            return _error(command.id, 2, "Invalid request: unknown method")
        if any(len(name) > NAME_MAX for name in command.params):
            return _error(command.id, 2, "Invalid request: stream name too long")
        return answer(command)

    def _subscribe(self, command: Command) -> bytes:
        fresh = [name for name in dict.fromkeys(command.params) if name not in self.streams]
        if len(self.streams) + len(fresh) > STREAMS_MAX:
            return _error(command.id, 2, f"Invalid request: more than {STREAMS_MAX} streams")
        for name in fresh:
            self.streams[name] = None
            self._registry.subscribe(self, name)
        return self._ack(command.id)

    def _unsubscribe(self, command: Command) -> bytes:
        for name in command.params:
            if name in self.streams:
                del self.streams[name]
                self._registry.unsubscribe(self, name)
        return self._ack(command.id)

    def _list(self, command: Command) -> bytes:
        return msgspec.json.encode({"result": list(self.streams), "id": command.id})

    def _ack(self, command_id: int | str | None) -> bytes:
        if self._acks == "short" and self.public:
            return msgspec.json.encode({"id": command_id})
        return msgspec.json.encode({"result": None, "id": command_id})


def _error(command_id: Any, code: int, text: str) -> bytes:
    """The spot form; the exchange's own was never captured (wire § 6.1)."""
    return msgspec.json.encode({"error": {"code": code, "msg": text}, "id": command_id})
