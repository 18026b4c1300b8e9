"""A network in memory: listeners, dials, byte streams with latency, and whatever the weather does to them.

A `Wire` is one connection: two pipes, one for each direction, each first in first out like TCP. Bytes arrive a little
after they were sent, reads may get them in pieces. What goes wrong is done to wires from outside:

    reset   both ends break at once, what was on its way is lost              (RST)
    hold    nothing arrives any more, senders notice only a full window        (black hole; release() heals it)
    end     the far side closes: its bytes arrive, then the end                (FIN)

A machine has a name. `kill` takes it off the network: its wires are reset, its dials fail, whatever it still tries to
send goes nowhere; so a process that is being torn down leaves no trace (reliability § 2.1, crash).
"""

from __future__ import annotations

import errno
from collections import deque
from math import inf
from random import Random
from typing import Literal, Protocol

import trio

from actors.errors import NotSent

WINDOW_BYTES = 256 * 1024
"""On their way in one direction; beyond it the sender waits, as with a full socket buffer."""

CONNECT_S_MAX = 5.0

Side = Literal["client", "server"]


class Weather(Protocol):
    """What the network does by itself, asked at each occasion."""

    def dial(self, port: int, machine: str) -> str | None:
        """None: the connection comes about. "refused", or "silent": no answer ever comes."""
        ...

    def delay_s(self) -> float:
        """How long bytes of one send take."""
        ...

    def split(self, size: int) -> int:
        """How many of `size` bytes that have arrived one read gets, at least 1."""
        ...

    def torn(self, wire: Wire, side: Side, size: int) -> int | None:
        """None: a send of `size` bytes goes well. Else the wire breaks after so many of them."""
        ...


class Calm:
    """A good local network."""

    def __init__(self, rng: Random, *, delay_s: tuple[float, float] = (0.0005, 0.005)) -> None:
        self._rng = rng
        self._delay_s = delay_s

    def dial(self, port: int, machine: str) -> str | None:
        return None

    def delay_s(self) -> float:
        return self._rng.uniform(*self._delay_s)

    def split(self, size: int) -> int:
        return size

    def torn(self, wire: Wire, side: Side, size: int) -> int | None:
        return None


class Pipe:
    """Bytes on their way in one direction."""

    def __init__(self, weather: Weather) -> None:
        self._weather = weather
        self._chunks: deque[tuple[float, bytes]] = deque()
        self._last_s = 0.0
        self._size = 0
        self._changed = trio.lowlevel.ParkingLot()
        self._reader: trio.CancelScope | None = None  # of a reader that sleeps until the next bytes are due
        self.broken = False
        self.held = False
        self.ended_s: float | None = None  # when the end of the stream arrives
        self.deaf = False  # the reader has closed: what arrives is thrown away

    def put(self, data: bytes) -> None:
        self._last_s = max(self._last_s, trio.current_time() + self._weather.delay_s())
        if not self.deaf:
            self._chunks.append((self._last_s, data))
            self._size += len(data)
        self._set_alarm()

    def end(self) -> None:
        if self.ended_s is None:
            self.ended_s = max(self._last_s, trio.current_time() + self._weather.delay_s())
        self._set_alarm()

    def throw_away(self) -> None:
        self._chunks.clear()
        self._size = 0

    def stir(self) -> None:
        self._changed.unpark_all()

    @property
    def full(self) -> bool:
        return self._size >= WINDOW_BYTES

    async def wait(self) -> None:
        """Until something changes; not for what is merely put in."""
        await self._changed.park()

    async def wait_for_bytes(self) -> None:
        """Until the next bytes or the end are due, or something else changes."""
        try:
            with trio.CancelScope() as self._reader:
                self._set_alarm()
                await self._changed.park()
        finally:
            self._reader = None

    def _set_alarm(self) -> None:
        """What is put in moves the reader's deadline, so that it wakes once for it instead of twice."""
        if self._reader is not None:
            due_s = self.due_s()
            self._reader.deadline = inf if due_s is None else due_s

    def arrived(self) -> bool:
        """Whether a read would not wait."""
        if self.broken:
            return True
        due_s = self.due_s()
        return due_s is not None and due_s <= trio.current_time()

    def due_s(self) -> float | None:
        """When the next bytes, or the end, can be read; None: nothing is on its way."""
        if self.held:
            return None
        return self._chunks[0][0] if self._chunks else self.ended_s

    def take(self, most: int) -> bytes:
        """Bytes that have arrived; b"" at the end. Only when `arrived`."""
        if not self._chunks:
            return b""
        now_s, parts, size = trio.current_time(), [], 0
        while self._chunks and self._chunks[0][0] <= now_s and size < most:
            parts.append(self._chunks.popleft()[1])
            size += len(parts[-1])
        data = b"".join(parts)
        got = min(most, self._weather.split(len(data)))
        if got < len(data):
            self._chunks.appendleft((now_s, data[got:]))
        self._size -= got
        self.stir()
        return data[:got]


class Wire:
    """One connection. number: 1, 2 … in the order of dialing. machine: who dialed."""

    def __init__(self, net: SimNet, number: int, port: int, machine: str) -> None:
        self.number, self.port, self.machine = number, port, machine
        self.begun_s = trio.current_time()
        up, down = Pipe(net.weather), Pipe(net.weather)
        self.pipes: tuple[Pipe, Pipe] = (up, down)
        self.client = SimStream(self, "client", up, down, net)
        self.server = SimStream(self, "server", down, up, net)

    def __repr__(self) -> str:
        return f"Wire({self.number} :{self.port} {self.machine})"

    @property
    def over(self) -> bool:
        return self.client.closed and self.server.closed

    def reset(self) -> None:
        for pipe in self.pipes:
            pipe.broken = True
            pipe.throw_away()
            pipe.stir()

    def hold(self) -> None:
        for pipe in self.pipes:
            pipe.held = True

    def release(self) -> None:
        for pipe in self.pipes:
            pipe.held = False
            pipe.stir()

    def end(self) -> None:
        """The server closes."""
        self.pipes[1].end()


class SimStream(trio.abc.Stream):
    """One end of a wire. is_readable: see dialer.Readable."""

    def __init__(self, wire: Wire, side: Side, out: Pipe, into: Pipe, net: SimNet) -> None:
        self._wire, self._side, self._out, self._into, self._net = wire, side, out, into, net
        self._sending = False
        self._receiving = False
        self.closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending")
        self._sending = True
        try:
            await trio.lowlevel.checkpoint()
            self._check_sendable()
            while self._out.full:
                await self._out.wait()
                self._check_sendable()
            if data:  # an empty piece would look like the end of the stream
                self._send(bytes(data))
        finally:
            self._sending = False

    def _send(self, data: bytes) -> None:
        torn = self._net.weather.torn(self._wire, self._side, len(data))
        if torn is None:
            self._out.put(data)
            return
        if torn:
            self._out.put(data[:torn])
        self._out.end()
        self._into.broken = True
        self._into.stir()
        raise trio.BrokenResourceError("the connection broke while sending")

    def _check_sendable(self) -> None:
        if self.closed:
            raise trio.ClosedResourceError("this end is closed")
        if self._out.broken:
            raise trio.BrokenResourceError("reset by peer")
        ended_s = self._into.ended_s
        if self._out.deaf and ended_s is not None and ended_s <= trio.current_time() and not self._out.held:
            raise trio.BrokenResourceError("the peer has closed")

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()
        while self._out.full and not self._out.broken and not self.closed:
            await self._out.wait()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving")
        self._receiving = True
        try:
            if self.closed or self._into.arrived():
                await trio.lowlevel.checkpoint()
            while True:
                if self.closed:
                    raise trio.ClosedResourceError("this end is closed")
                if self._into.broken:
                    raise trio.BrokenResourceError("reset by peer")
                if self._into.arrived():
                    return self._into.take(max_bytes or 65_536)
                await self._into.wait_for_bytes()
        finally:
            self._receiving = False

    def is_readable(self) -> bool:
        return self._into.arrived()

    async def aclose(self) -> None:
        if not self.closed:
            self.closed = True
            self._into.deaf = True
            self._into.throw_away()
            if self._out.held:  # what never left is given up with the socket
                self._out.throw_away()
            self._out.end()
            self._out.stir()
            self._into.stir()
            self._net.forget(self._wire)
        await trio.lowlevel.checkpoint()


class SimListener:
    """Where connections to a port come in (paper.Acceptor). It outlives its servers, like a listening socket."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.serving = True  # False: connects are refused
        self._put, self._queue = trio.open_memory_channel[SimStream](10_000)

    async def accept(self) -> trio.abc.Stream:
        return await self._queue.receive()

    def offer(self, stream: SimStream) -> None:
        self._put.send_nowait(stream)


class SimNet:
    """All machines and wires. wires: those that are not closed on both ends, by number."""

    def __init__(self, weather: Weather) -> None:
        self.weather = weather
        self.wires: dict[int, Wire] = {}
        self.dialed = 0
        self._listeners: dict[int, SimListener] = {}
        self._dead: set[str] = set()

    def listen(self, port: int) -> SimListener:
        assert port not in self._listeners, port
        listener = self._listeners[port] = SimListener(port)
        return listener

    async def connect(self, port: int, machine: str) -> trio.abc.Stream:
        """Raises: OSError."""
        await trio.sleep(self.weather.delay_s())
        listener = self._listeners.get(port)
        weather = self.weather.dial(port, machine)
        if machine in self._dead:
            raise OSError(errno.ENETDOWN, "this machine is dead")
        if weather == "silent":
            await trio.sleep_forever()
        if weather == "refused" or listener is None or not listener.serving:
            raise OSError(errno.ECONNREFUSED, "connection refused")
        self.dialed += 1
        wire = Wire(self, self.dialed, port, machine)
        self.wires[wire.number] = wire
        listener.offer(wire.server)
        return wire.client

    def of(self, machine: str) -> list[Wire]:
        return [wire for wire in self.wires.values() if wire.machine == machine]

    def kill(self, machine: str) -> None:
        """From now on nothing of this machine reaches anybody."""
        self._dead.add(machine)
        for wire in self.of(machine):
            wire.reset()

    def forget(self, wire: Wire) -> None:
        if wire.over:
            self.wires.pop(wire.number, None)


class SimDialer:
    """ports.Dialer of one machine. Hosts do not matter: there is one of each port. Nothing is encrypted."""

    def __init__(self, net: SimNet, machine: str, *, connect_s_max: float = CONNECT_S_MAX) -> None:
        self._net, self._machine, self._connect_s_max = net, machine, connect_s_max

    async def dial(self, host: str, port: int, *, tls: bool, websocket: bool = False) -> trio.abc.Stream:
        """Raises: NotSent."""
        assert not tls, "the virtual world has no TLS"
        where = f"{host}:{port}"
        try:
            with trio.fail_after(self._connect_s_max):
                return await self._net.connect(port, self._machine)
        except trio.TooSlowError:
            raise NotSent(
                f"no connection within {self._connect_s_max:g} s", where=where, do="try again later"
            ) from None
        except OSError as error:
            raise NotSent(f"no connection: {error.strerror}", where=where, do="try again later") from error
