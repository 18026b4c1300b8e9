"""The nng edge of control: a REP socket with many contexts, a PUB socket for events.

Theory of operation. Each context is a worker: receive a frame, answer it, send, again; so as many requests are under
way as there are contexts. The answers come from commands.py under a deadline, and every ending is a frame: what a
client can do wrong costs it an error reply, and a mistake of ours in one command costs that command (INTERNAL, logged),
never the operators' way in.

Traps of pynng that shape this file (probes § 1): a send that fails or is cancelled leaks its message, so sends are
shielded, end by nng's own time-out, and give the message back; contexts close before their socket; `recv_max_size` is
unlimited unless set; permissions are set before listening; nng deletes a regular file of the socket's name without a
word. pynng works with threads of its own, and hands their results to the trio loop itself.
"""

from __future__ import annotations

import stat
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pynng  # type: ignore[import-untyped]  # it ships no types
import trio
from msgspec import Struct

from actors.errors import OtodError, Refusal, Unusable
from actors.ports import Asked, Inbox, Log, Started
from supervisor.bus import EventBus, Listener
from supervisor.control import table
from supervisor.control.commands import AllFailed, perform
from supervisor.control.memory import ReplyMemory
from supervisor.control.office import Office
from supervisor.control.protocol import (
    FRAME_BYTES_MAX,
    Request,
    RequestId,
    decode,
    encode_event,
    encode_refusal,
    encode_reply,
)

CONTEXTS = 16  # requests under way at once; measured: their number does not matter for throughput
REQUEST_S_MAX = 10.0  # a client waits longer (otoctl 15 s), so that it always hears our word first
SEND_MS_MAX = 2000  # a reader that takes no reply for so long is cut off
UNSENT_MAX = 8  # replies that one connection leaves untaken before it is cut off: half of the contexts stay free
RECEIVE_BYTES_MAX = 4 * FRAME_BYTES_MAX  # frames between the two get an error reply, longer ones end the connection
PERMISSIONS = 0o660  # callers come in through the group
PATH_BYTES_MAX = 107  # of a unix socket address


class Caller(Struct, frozen=True):
    """Who is on the other end of the connection, as the kernel says."""

    uid: int
    pid: int

    @property
    def who(self) -> str:
        return f"{self.uid}:{self.pid}"


async def run(
    inbox: Inbox,
    *,
    office: Office,
    bus: EventBus,
    memory: ReplyMemory,
    control_url: str,
    events_url: str,
    log: Log,
    rate: float = 1.0,
    contexts: int = CONTEXTS,
    task_status: Started,
) -> None:
    """The body of the child `control`.

    bus, memory: belong to the supervisor and outlive incarnations. rate: trio seconds per real second (--speed), so
    that operators' deadlines stay real ones. Raises: Unusable, a socket cannot be opened.
    """
    with ExitStack() as stack:
        control = stack.enter_context(_listen(pynng.Rep0, control_url))
        events = stack.enter_context(_listen(pynng.Pub0, events_url))
        workers = [stack.enter_context(control.new_context()) for _ in range(contexts)]
        listener = stack.enter_context(bus.listen("pub"))
        desk = Desk(office, bus, memory, log, rate)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_publish, bus, listener, events)
            for worker in workers:
                nursery.start_soon(_serve, desk, worker)
            log.info("control_listening", control=control_url, events=events_url)
            task_status.started()
            while True:
                message = await inbox.take()
                if isinstance(message, Asked):
                    message.reply.refuse(Refusal("control answers on its socket only", where="control"))
                inbox.finish()


# -- requests


class Desk:
    """Answers frames. No socket in here: bytes in, bytes out."""

    def __init__(self, office: Office, bus: EventBus, memory: ReplyMemory, log: Log, rate: float = 1.0) -> None:
        self._office = office
        self._bus = bus
        self._memory = memory
        self._rate = rate
        self.log = log
        self.unsent: Counter[int] = Counter()

    async def answer(self, frame: bytes, caller: Caller) -> bytes:
        request_id, request = decode(frame)
        if isinstance(request, Refusal):
            await trio.lowlevel.checkpoint()
            return encode_refusal(request_id, request)
        command = table.BY_NAME.get(request.cmd)
        if command is None or not command.acts or request_id is None:
            return await self._perform(request, caller)
        return await self._perform_once(request, caller)

    async def _perform_once(self, request: Request, caller: Caller) -> bytes:
        key = (caller.uid, caller.pid, request.id, request.cmd)
        args = msgspec.json.encode(request.args, order="deterministic")
        try:
            slot, first = self._memory.claim(key, args, now_s=self._now_s())
        except Refusal as error:
            return encode_refusal(request.id, error)
        if not first:
            with trio.move_on_after(REQUEST_S_MAX * self._rate):
                await slot.done.wait()
            return slot.reply or _timed_out(request.id)
        try:
            reply = await self._perform(request, caller)
        except BaseException:  # a shutdown or a crash: whoever asks again must not wait for a reply that never comes
            self._memory.abandon(key)
            raise
        self._memory.settle(key, reply, now_s=self._now_s())
        return reply

    async def _perform(self, request: Request, caller: Caller) -> bytes:
        try:
            with trio.fail_after(REQUEST_S_MAX * self._rate):
                data = await perform(
                    self._office, self._bus, request.cmd, request.args, who=caller.who, rate=self._rate, log=self.log
                )
        except trio.TooSlowError:
            return _timed_out(request.id)
        except AllFailed as error:
            return encode_refusal(request.id, error, error.data)
        except OtodError as error:
            return encode_refusal(request.id, error)
        return encode_reply(request.id, data)

    def _now_s(self) -> float:
        return trio.current_time() / self._rate


def _timed_out(request_id: RequestId) -> bytes:
    late = Refusal(
        f"not done within {REQUEST_S_MAX:g} s; it may still come into effect",
        code="TIMEOUT",
        do="look at the state first (trading.status), then ask again",
    )
    return encode_refusal(request_id, late)


async def _serve(desk: Desk, context: Any) -> None:
    while True:
        message = await context.arecv_msg()
        pipe = message.pipe
        caller = _caller(pipe)
        if caller is None:
            continue  # it hung up: nobody can be answered, and nobody is known to have asked
        reply = await desk.answer(message.bytes, caller)
        if desk.unsent[pipe.id] >= UNSENT_MAX:
            _cut_off(desk, pipe, caller, "it does not read its replies")
            continue
        desk.unsent[pipe.id] += 1
        try:
            await _send(desk, context, reply, pipe, caller)
        finally:
            desk.unsent[pipe.id] -= 1
            desk.unsent += Counter()  # drops the zeros


async def _send(desk: Desk, context: Any, reply: bytes, pipe: Any, caller: Caller) -> None:
    message = pynng.Message(reply)
    with trio.CancelScope(shield=True):
        try:
            await context.asend_msg(message)
        except pynng.NNGException as error:
            message._mem_freed = False  # not taken: ours again, and freed with the object
            if not isinstance(error, pynng.Timeout):
                raise
            _cut_off(desk, pipe, caller, f"it took no reply for {SEND_MS_MAX} ms")


def _cut_off(desk: Desk, pipe: Any, caller: Caller, why: str) -> None:
    desk.log.warning("control_cut_off", who=caller.who, why=why)
    try:
        pipe.close()
    except pynng.Closed:
        return  # it was faster


def _caller(pipe: Any) -> Caller | None:
    """None: the connection is gone."""
    if pipe is None:
        return None
    told = []
    for option in (b"ipc:peer-uid", b"ipc:peer-pid"):
        value = pynng.ffi.new("uint64_t *")
        if pynng.lib.nng_pipe_get_uint64(pipe.pipe, option, value) != 0:
            return None
        told.append(int(value[0]))
    return Caller(*told)


# -- events


async def _publish(bus: EventBus, listener: Listener, socket: Any) -> None:
    while True:
        event = await listener.take()
        if not socket.pipes:
            continue
        frame = encode_event(
            event.topic, boot=bus.boot, seq=event.seq, at_ms=event.at_ms, kind=event.kind, payload=event.payload
        )
        socket.send(frame, block=False)  # PUB never waits: a subscriber that is too slow sees a gap in seq


# -- sockets


def _listen(kind: Any, url: str) -> Any:
    """An open socket of this kind at an ipc URL. Raises: Unusable."""
    path = _usable_path(url)
    socket = kind(send_timeout=SEND_MS_MAX, recv_max_size=RECEIVE_BYTES_MAX)
    try:
        pynng.options._setopt_int(socket, "ipc:permissions", PERMISSIONS)
        socket.listen(url)
    except pynng.AddressInUse as error:
        socket.close()
        raise Unusable("another daemon answers here", where=str(path), do="stop it, or choose --state-dir") from error
    except pynng.NNGException as error:
        socket.close()
        raise Unusable(f"cannot listen: {error}", where=str(path), do="check the directory and its owner") from error
    return socket


def _usable_path(url: str) -> Path:
    """The path of an ipc URL, its directory made. Raises: Unusable."""
    assert url.startswith("ipc:///"), url
    path = Path(url.removeprefix("ipc://"))
    length = len(bytes(path))
    if length > PATH_BYTES_MAX:
        raise Unusable(
            f"a socket path of {length} bytes is too long",
            where=str(path),
            do=f"at most {PATH_BYTES_MAX}: choose --state-dir",
        )
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return path
    except OSError as error:
        raise Unusable(
            f"cannot use the directory: {error.strerror}", where=str(path.parent), do="choose --state-dir"
        ) from error
    if not stat.S_ISSOCK(mode):
        raise Unusable("a file that is no socket has its name", where=str(path), do="move it away")
    return path
