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

import logging
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pynng  # type: ignore[import-untyped]  # it ships no types
import trio
from msgspec import Struct

from actors.errors import Refusal, Unusable
from actors.ports import Asked, Inbox, Log, Started, Stop
from supervisor.bus import EventBus, Listener
from supervisor.control.desk import Caller, Desk
from supervisor.control.memory import ReplyMemory
from supervisor.control.office import Office
from supervisor.control.protocol import FRAME_BYTES_MAX, encode_event

# At debug it would log from its own threads, and an error there would keep _admit from being called.
logging.getLogger("pynng").setLevel(logging.WARNING)

CONTEXTS = 128  # requests under way at once: looks wait at a door (desk.py), and who acts must get past them
SEND_MS_MAX = 2000  # a reader that takes no reply for so long is cut off
UNSENT_MAX = 8  # replies that one connection leaves untaken before it is cut off
RECEIVE_BYTES_MAX = 4 * FRAME_BYTES_MAX  # frames between the two get an error reply, longer ones end the connection
LAST_WORDS_S = 0.05  # nng counts a reply as sent when it has it; closing at once would cut it off
PERMISSIONS = 0o660  # callers come in through the group
PATH_BYTES_MAX = 107  # of a unix socket address


class Remote(Struct, frozen=True, kw_only=True):
    """[control.remote]: listen is a tls+tcp URL; the others are PEM files."""

    listen: str
    certificate: str
    key: str
    clients_ca: str


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
    permissions: int = PERMISSIONS,
    remote: Remote | None = None,
    task_status: Started,
) -> None:
    """The body of the child `control`.

    bus, memory: belong to the supervisor and outlive incarnations. rate: trio seconds per real second (--speed), so
    that operators' deadlines stay real ones. permissions: mode of both sockets. remote: where callers with
    certificates may come in. Raises: Unusable, a socket cannot be opened.
    """
    with ExitStack() as stack:
        control = stack.enter_context(_listen(pynng.Rep0, control_url, permissions))
        if remote is not None:
            _listen_remote(control, remote)
            log.info("control_listening_remote", at=remote.listen)
        events = stack.enter_context(_listen(pynng.Pub0, events_url, permissions, partial(_admit, office)))
        workers = [stack.enter_context(control.new_context()) for _ in range(contexts)]
        listener = stack.enter_context(bus.listen("pub"))
        reception = Reception(Desk(office, bus, memory, log, rate), log)
        async with trio.open_nursery() as publishing:
            publishing.start_soon(_publish, bus, listener, events)
            async with trio.open_nursery() as serving:
                for worker in workers:
                    serving.start_soon(_serve, reception, worker)
                log.info("control_listening", control=control_url, events=events_url)
                task_status.started()
                await _until_stop(inbox)
                reception.close()  # requests under way are answered, further ones not taken
            await trio.sleep(LAST_WORDS_S * rate)
            publishing.cancel_scope.cancel()


async def _until_stop(inbox: Inbox) -> None:
    """Nobody has anything to say to control but the supervisor."""
    while True:
        message = await inbox.take()
        if isinstance(message, Stop):
            return
        if isinstance(message, Asked):
            message.reply.refuse(Refusal("control answers on its socket only", where="control"))
        inbox.finish()


# -- requests


class Reception:
    """What all workers share: the desk, who leaves replies untaken, and the end of listening."""

    def __init__(self, desk: Desk, log: Log) -> None:
        self.desk = desk
        self.log = log
        self.unsent: Counter[int] = Counter()  # by connection
        self._closed = False
        self._listening: set[trio.CancelScope] = set()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Around waiting for a request: close() ends it, and any later one."""
        with trio.CancelScope() as scope:
            if self._closed:
                scope.cancel()
            self._listening.add(scope)
            try:
                yield
            finally:
                self._listening.remove(scope)

    def close(self) -> None:
        self._closed = True
        for scope in self._listening:
            scope.cancel()


async def _serve(reception: Reception, context: Any) -> None:
    while True:
        message = None
        with reception.listening():
            message = await context.arecv_msg()
        if message is None:
            return
        pipe = message.pipe
        caller = _caller(pipe)
        if caller is None:
            continue  # it hung up: nobody can be answered, and nobody is known to have asked
        reply = await reception.desk.answer(message.bytes, caller)
        if reception.unsent[pipe.id] >= UNSENT_MAX:
            _cut_off(reception, pipe, caller, "it does not read its replies")
            continue
        reception.unsent[pipe.id] += 1
        try:
            await _send(reception, context, reply, pipe, caller)
        finally:
            reception.unsent[pipe.id] -= 1
            reception.unsent += Counter()  # drops the zeros


async def _send(reception: Reception, context: Any, reply: bytes, pipe: Any, caller: Caller) -> None:
    message = pynng.Message(reply)
    with trio.CancelScope(shield=True):
        try:
            await context.asend_msg(message)
        except pynng.NNGException as error:
            message._mem_freed = False  # not taken: ours again, and freed with the object
            if not isinstance(error, pynng.Timeout):
                raise
            _cut_off(reception, pipe, caller, f"it took no reply for {SEND_MS_MAX} ms")


def _cut_off(reception: Reception, pipe: Any, caller: Caller, why: str) -> None:
    reception.log.warning("control_cut_off", who=caller.who, why=why)
    with suppress(pynng.NNGException):  # it is gone already
        pipe.close()


def _caller(pipe: Any) -> Caller | None:
    """None: the connection is gone."""
    if pipe is None:
        return None
    told = []
    for option in (b"ipc:peer-uid", b"ipc:peer-pid"):
        value = pynng.ffi.new("uint64_t *")
        if pynng.lib.nng_pipe_get_uint64(pipe.pipe, option, value) != 0:
            return _certified(pipe)
        told.append(int(value[0]))
    uid, pid = told
    return Caller(uid, pid)


def _certified(pipe: Any) -> Caller | None:
    """A caller over TLS: the name in its certificate, which was checked. None: there is none, or it hung up."""
    verified = pynng.ffi.new("bool *")
    name = pynng.ffi.new("char **")
    if pynng.lib.nng_pipe_get_bool(pipe.pipe, b"tls-verified", verified) != 0 or not verified[0]:
        return None
    if pynng.lib.nng_pipe_get_string(pipe.pipe, b"tls-peer-cn", name) != 0:
        return None
    try:
        return Caller(-1, -1, pynng.ffi.string(name[0]).decode(errors="replace"))
    finally:
        pynng.lib.nng_strfree(name[0])


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


def _admit(office: Office, pipe: Any) -> None:
    """Events are about everybody: only who sees everybody gets them. Runs in a thread of nng, for each connection."""
    admitted = False
    try:
        caller = _caller(pipe)
        admitted = caller is not None and office.access.rights(caller.uid).sees_all
    finally:
        if not admitted:
            pipe.close()


def _listen(kind: Any, url: str, permissions: int, admit: Callable[[Any], None] | None = None) -> Any:
    """An open socket of this kind at an ipc URL. admit: closes connections that it does not want. Raises: Unusable."""
    path = _usable_path(url)
    socket = kind(send_timeout=SEND_MS_MAX, recv_max_size=RECEIVE_BYTES_MAX)
    try:
        pynng.options._setopt_int(socket, "ipc:permissions", permissions)
        if admit is not None:
            socket.add_pre_pipe_connect_cb(admit)
        socket.listen(url)
    except pynng.AddressInUse as error:
        socket.close()
        raise Unusable("another daemon answers here", where=str(path), do="stop it, or choose --state-dir") from error
    except pynng.NNGException as error:
        socket.close()
        raise Unusable(f"cannot listen: {error}", where=str(path), do="check the directory and its owner") from error
    return socket


def _listen_remote(socket: Any, remote: Remote) -> None:
    """Only clients with a certificate of our authority come in. Raises: Unusable."""
    where = remote.listen
    try:
        texts = [Path(file).read_text() for file in (remote.certificate, remote.key, remote.clients_ca)]
        certificate, key, authority = texts
        socket.tls_config = pynng.TLSConfig(
            pynng.TLSConfig.MODE_SERVER,
            own_key_string=key,
            own_cert_string=certificate,
            ca_string=authority,
            auth_mode=pynng.TLSConfig.AUTH_MODE_REQUIRED,
        )
        socket.listen(where)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise Unusable(
            f"a certificate or key cannot be read: {error}", where=where, do="see [control.remote]"
        ) from None
    except pynng.NNGException as error:
        do = "see [control.remote]: port, and PEM files (no Ed25519 keys)"
        raise Unusable(f"cannot listen: {error}", where=where, do=do) from error


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
