"""From a request frame to its reply frame, once per acting request, under a deadline. No socket in here."""

from __future__ import annotations

import trio
from msgspec import Struct

from actors.errors import OtodError, Refusal
from actors.ports import Log
from supervisor.access import Rights
from supervisor.bus import EventBus
from supervisor.control import table
from supervisor.control.commands import AllFailed, perform
from supervisor.control.lately import Lately
from supervisor.control.memory import ReplyMemory
from supervisor.control.office import Office, not_permitted
from supervisor.control.protocol import Request, RequestId, decode, encode_refusal, encode_reply

REQUEST_S_MAX = 10.0  # a client waits longer (otoctl 15 s), so that it always hears our word first


class Caller(Struct, frozen=True):
    """Who is on the other end of the connection, as the kernel says; certified: the name in a remote's certificate."""

    uid: int
    pid: int
    certified: str | None = None

    @property
    def who(self) -> str:
        return f"{self.uid}:{self.pid}" if self.certified is None else f"tls:{self.certified}"


class Desk:
    """rate: trio seconds per real second (--speed).

    Looks come in through a door, one in a pass of the loop: however many people look, each pass is trading's but for
    one of them, and while nobody trades a pass takes microseconds. Who acts does not wait at the door.
    """

    def __init__(self, office: Office, bus: EventBus, memory: ReplyMemory, log: Log, rate: float = 1.0) -> None:
        self._office = office
        self._bus = bus
        self._memory = memory
        self._log = log
        self._rate = rate
        self._lately = Lately(rate)
        self._door = trio.Lock()

    async def answer(self, frame: bytes, caller: Caller) -> bytes:
        """Always a reply, whatever the frame. A stranger's is always the same one."""
        request_id, request = decode(frame)
        if self._rights(caller).stranger:
            await trio.lowlevel.checkpoint()
            return encode_refusal(request_id, not_permitted())
        if isinstance(request, Refusal):
            await trio.lowlevel.checkpoint()
            return encode_refusal(request_id, request)
        command = table.BY_NAME.get(request.cmd)
        if command is None or not command.acts or request_id is None:
            async with self._door:
                await trio.lowlevel.checkpoint()
            return await self._perform(request, caller)
        return await self._perform_once(request, frame, caller)

    async def _perform_once(self, request: Request, frame: bytes, caller: Caller) -> bytes:
        key = (caller.who, request.id, request.cmd)
        try:
            slot, first = self._memory.claim(key, frame, now_s=self._now_s())
        except Refusal as error:
            await trio.lowlevel.checkpoint()
            return encode_refusal(request.id, error)
        if not first:
            with trio.move_on_after(REQUEST_S_MAX * self._rate):
                await slot.done.wait()
            return slot.reply or _timed_out(request.id)
        try:
            reply = await self._perform(request, caller)
            self._memory.settle(key, reply, now_s=self._now_s())
            return reply
        finally:
            if slot.reply is None:  # a shutdown: whoever waits for this reply must not wait for ever
                self._memory.abandon(key)

    async def _perform(self, request: Request, caller: Caller) -> bytes:
        try:
            with trio.fail_after(REQUEST_S_MAX * self._rate):
                data = await perform(
                    self._office,
                    self._bus,
                    request.cmd,
                    request.args,
                    who=caller.who,
                    log=self._log,
                    rate=self._rate,
                    rights=self._rights(caller),
                    lately=self._lately,
                )
        except trio.TooSlowError:
            return _timed_out(request.id)
        except AllFailed as error:
            return encode_refusal(request.id, error, error.data)
        except OtodError as error:
            return encode_refusal(request.id, error)
        return encode_reply(request.id, data)

    def _rights(self, caller: Caller) -> Rights:
        access = self._office.access
        return access.rights(caller.uid) if caller.certified is None else access.remote(caller.certified)

    def _now_s(self) -> float:
        return trio.current_time() / self._rate


def _timed_out(request_id: RequestId) -> bytes:
    late = Refusal(
        f"not done within {REQUEST_S_MAX:g} s; it may still come into effect",
        code="TIMEOUT",
        do="look at the state first (trading.status), then ask again",
    )
    return encode_refusal(request_id, late)
