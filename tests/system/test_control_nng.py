"""The control socket over real nng sockets: what any client may do, and what it cannot break.

Real time and real sockets: nng's own threads do not know a virtual clock (probes § 1).
"""

from __future__ import annotations

import json
import os
import shutil
import socket as sockets
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pynng
import pytest
import trio

from actors.errors import AskTimeout, Refusal, Unusable
from actors.ports import Asked, Stop
from supervisor.bus import EventBus
from supervisor.control import server
from supervisor.control.memory import ReplyMemory
from supervisor.control.protocol import FRAME_BYTES_MAX, decode_event
from tests.control import raw
from tests.control.daemon import FakeDaemon, FixedWall, QuietLog

pytestmark = pytest.mark.system

STATUS = {"v": 1, "id": "any", "cmd": "trading.status", "args": {"user": "alice"}}


class Daemon:
    """The server with a daemon of snapshots behind it."""

    def __init__(self, directory: Path) -> None:
        self.office = FakeDaemon()
        self.bus = EventBus(FixedWall(), boot="b00t")
        self.memory = ReplyMemory()
        self.log = QuietLog()
        self.path = directory / "run" / "control.sock"
        self.control = f"ipc://{self.path}"
        self.events = f"ipc://{directory}/run/events.sock"
        self.post, self._inbox = trio.open_memory_channel(10)
        self.finished = 0

    async def take(self) -> Any:
        return await self._inbox.receive()

    def finish(self) -> None:
        self.finished += 1

    async def serve(self, *, task_status: Any, **options: Any) -> None:
        await server.run(
            self,
            office=self.office,
            bus=self.bus,
            memory=self.memory,
            control_url=self.control,
            events_url=self.events,
            log=self.log,
            task_status=task_status,
            **options,
        )

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncIterator[trio.Nursery]:
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: self.serve(task_status=task_status, **options))
            yield nursery
            nursery.cancel_scope.cancel()

    async def ask(self, frame: bytes | dict[str, Any], *, within_s: float = 5, **options: Any) -> dict[str, Any]:
        data = frame if isinstance(frame, bytes) else json.dumps(frame).encode()
        with pynng.Req0(dial=self.control, block_on_dial=True, **options) as client, trio.fail_after(within_s):
            await client.asend(data)
            return json.loads(await client.arecv())


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await trio.sleep(0.01)
    raise AssertionError("not within 10 s")


@pytest.fixture
def daemon(tmp_path):
    return Daemon(tmp_path)


# -- requests


async def test_a_request_gets_its_reply(daemon):
    async with daemon.running():
        reply = await daemon.ask(STATUS)
    assert reply["ok"]
    assert reply["id"] == "any"
    assert reply["data"]["users"]["alice"]["progress"]["volume"] == "319.05"


async def test_the_caller_is_known_by_uid_and_pid(daemon):
    async with daemon.running():
        await daemon.ask({"cmd": "trading.stop", "args": {"user": "alice"}})
    assert daemon.office.traders["alice"].asked[0].who == f"{os.getuid()}:{os.getpid()}"


async def test_many_clients_are_served_at_once(daemon):
    replies = []

    async def client():
        for _ in range(5):
            replies.append((await daemon.ask(STATUS))["ok"])

    async with daemon.running(), trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(client)
        await until(lambda: len(replies) == 200)
    assert replies == [True] * 200


async def test_a_slow_command_does_not_hold_up_others(daemon):
    daemon.office.traders["alice"].wedged = True
    async with daemon.running() as nursery:
        slow = {"cmd": "trading.stop", "args": {"user": "alice"}}
        for _ in range(server.CONTEXTS - 1):
            nursery.start_soon(lambda: daemon.ask(slow, within_s=30))
        await trio.sleep(0.1)
        assert (await daemon.ask(STATUS, within_s=1))["ok"]


async def test_a_request_that_nng_sends_again_acts_once(daemon):
    """nngcat and other clients keep nng's resending; the trader here needs three of its periods to answer."""
    trader = daemon.office.traders["alice"]
    obey, calls = trader.ask, []

    async def slowly(question, *, within_s=None):
        calls.append(question)
        await trio.sleep(2.5)
        return await obey(question, within_s=within_s)

    trader.ask = slowly
    async with daemon.running():
        reply = await daemon.ask({"id": "1", "cmd": "trading.stop", "args": {"user": "alice"}}, resend_time=100)
    assert reply["ok"]
    assert len(calls) == 1
    assert daemon.memory.repeats >= 1


# -- what cannot break it


@pytest.mark.parametrize("frame", [b"", b"nonsense", b"\xff" * 100, b"[" * 100_000, b"{}", b"null"])
async def test_a_malformed_frame_gets_an_error_reply_and_the_socket_lives_on(daemon, frame):
    async with daemon.running():
        reply = await daemon.ask(frame)
        assert reply["error"]["code"] == "BAD_FRAME"
        assert (await daemon.ask(STATUS))["ok"]


async def test_a_frame_that_is_too_long_gets_an_error_reply(daemon):
    async with daemon.running():
        reply = await daemon.ask(b" " * (FRAME_BYTES_MAX + 1))
        assert "too long" in reply["error"]["message"]


async def test_a_frame_far_beyond_the_limit_costs_its_sender_the_connection(daemon):
    async with daemon.running():
        with pynng.Req0(dial=daemon.control, block_on_dial=True) as client:
            pynng.check_err(pynng.lib.nng_socket_set_ms(client.socket, b"req:resend-time", -1))
            await client.asend(b" " * (server.RECEIVE_BYTES_MAX + 1))
            with pytest.raises(pynng.ConnectionReset), trio.fail_after(5):
                await client.arecv()
        assert (await daemon.ask(STATUS))["ok"]


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0SP\0",
        raw.HELLO + b"\x01" + b"\xff" * 8,
        raw.HELLO + b"\x07" + b"\0" * 8,
        raw.HELLO + raw.frame(b"x", end=False),
        raw.HELLO + b"\x01\0\0\0\0\0\0\0\x02ab",
        raw.HELLO + raw.frame(b'{"cmd":"system.status"}')[:-3],
        b"\0SP\0\0\x21\0\0",
    ],
    ids=[
        "http",
        "half a hello",
        "endless length",
        "unknown type",
        "endless route",
        "no id",
        "half a frame",
        "subscriber",
    ],
)
async def test_bytes_that_are_no_nng_harm_nobody(daemon, bytes_sent):
    async with daemon.running():
        with raw.connect(daemon.control, hello=bytes_sent):
            assert (await daemon.ask(STATUS))["ok"]
        assert (await daemon.ask(STATUS))["ok"]


async def test_a_client_that_hangs_up_in_the_middle_harms_nobody(daemon):
    async with daemon.running():
        for n in range(50):
            with raw.connect(daemon.control) as client:
                client.sendall(raw.frame(json.dumps(STATUS).encode(), request=n))
        assert (await daemon.ask(STATUS))["ok"]


@pytest.mark.parametrize("unsent_max", [server.UNSENT_MAX, 1000])
async def test_a_client_that_never_reads_is_cut_off_and_others_are_served(daemon, monkeypatch, unsent_max):
    """By the number of replies it leaves untaken, or else by the time it takes none."""
    monkeypatch.setattr(server, "UNSENT_MAX", unsent_max)
    monkeypatch.setattr(server, "SEND_MS_MAX", 300)
    commands = raw.frame(b'{"cmd":"system.commands"}')
    async with daemon.running():
        with raw.connect(daemon.control) as deaf:
            deaf.setblocking(False)
            for _ in range(400):  # replies of some 10 kB each: more than the kernel keeps for a reader
                with suppress(BlockingIOError, BrokenPipeError):
                    deaf.sendall(commands)
            await trio.sleep(0.1)
            assert (await daemon.ask(STATUS, within_s=3))["ok"]
            await until(lambda: "control_cut_off" in [event for _, event, _ in daemon.log.lines])
        assert (await daemon.ask(STATUS, within_s=1))["ok"]


# -- places


async def test_sockets_are_for_owner_and_group_only(daemon):
    async with daemon.running():
        for path in daemon.path.parent.iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert stat.S_IMODE(daemon.path.parent.stat().st_mode) & 0o007 == 0


async def test_a_clean_end_leaves_no_socket_behind(daemon):
    async with daemon.running():
        pass
    assert list(daemon.path.parent.iterdir()) == []


async def test_a_second_daemon_is_told_that_the_socket_is_busy(daemon):
    async with daemon.running():
        with pytest.raises(Unusable, match="another daemon answers here"):
            await Daemon(daemon.path.parents[1]).serve(task_status=trio.TASK_STATUS_IGNORED)
        assert (await daemon.ask(STATUS))["ok"]


async def test_a_socket_left_by_a_kill_is_taken_over(daemon):
    daemon.path.parent.mkdir()
    with sockets.socket(sockets.AF_UNIX) as left_over:
        left_over.bind(str(daemon.path))
    async with daemon.running():
        assert (await daemon.ask(STATUS))["ok"]


async def test_a_file_of_the_sockets_name_is_not_deleted(daemon):
    daemon.path.parent.mkdir()
    daemon.path.write_text("precious")
    with pytest.raises(Unusable, match="no socket has its name"):
        await daemon.serve(task_status=trio.TASK_STATUS_IGNORED)
    assert daemon.path.read_text() == "precious"


async def test_a_path_too_long_for_a_socket_is_said_to_be(tmp_path):
    with pytest.raises(Unusable, match="too long"):
        await Daemon(tmp_path / ("x" * 100)).serve(task_status=trio.TASK_STATUS_IGNORED)


async def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Unusable, match="cannot use the directory"):
        await Daemon(tmp_path / "file").serve(task_status=trio.TASK_STATUS_IGNORED)


async def test_a_directory_that_takes_no_socket_is_named(daemon, monkeypatch):
    def refuse(*args):
        raise pynng.PermissionDenied("Permission denied", 26)

    monkeypatch.setattr(pynng.Rep0, "listen", refuse)
    with pytest.raises(Unusable, match="cannot listen: Permission denied"):
        await daemon.serve(task_status=trio.TASK_STATUS_IGNORED)


# -- stopping


async def test_asked_to_stop_it_answers_what_is_under_way_and_returns(daemon):
    trader = daemon.office.traders["alice"]
    obey = trader.ask

    async def slowly(question, *, within_s=None):
        await trio.sleep(0.3)
        return await obey(question, within_s=within_s)

    trader.ask = slowly
    replies = []

    async def ask():
        replies.append(await daemon.ask({"cmd": "trading.stop", "args": {"user": "alice"}}))

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(lambda task_status: daemon.serve(task_status=task_status))
            nursery.start_soon(ask)
            await trio.sleep(0.1)
            daemon.post.send_nowait(Stop())
    assert replies[0]["ok"]
    assert not daemon.path.exists()


async def test_a_question_in_its_mailbox_is_refused(daemon):
    refused = []

    class Reply:
        def refuse(self, error):
            refused.append(error)

    async with daemon.running():
        daemon.post.send_nowait(Asked("?", Reply()))
        daemon.post.send_nowait("news")
        await until(lambda: daemon.finished == 2)
    assert isinstance(refused[0], Refusal)


# -- events


async def test_events_reach_their_subscribers_and_no_others(daemon):
    async with daemon.running():
        with pynng.Sub0(dial=daemon.events, block_on_dial=True, topics=["fill.alice "]) as subscriber:
            await trio.sleep(0.1)  # a subscription takes effect on the subscriber's side only
            for user in ("alice2", "alice", "bob", "alice"):
                daemon.bus.emit(f"fill.{user}", "filled", side="BUY")
            with trio.fail_after(5):
                frames = [decode_event(await subscriber.arecv()) for _ in range(2)]
    assert [topic for topic, _ in frames] == ["fill.alice", "fill.alice"]
    assert [event["seq"] for _, event in frames] == [1, 2]
    assert frames[0][1]["boot"] == "b00t"
    assert frames[0][1]["side"] == "BUY"


async def test_a_subscriber_that_never_reads_holds_nobody_up(daemon):
    async with daemon.running():
        with raw.connect(daemon.events, hello=b"\0SP\0\0\x21\0\0"):
            await trio.sleep(0.05)
            for _ in range(5000):
                daemon.bus.emit("system", "x", text="x" * 1000)
            assert (await daemon.ask(STATUS))["ok"]


# -- other clients

nngcat = pytest.mark.skipif(shutil.which("nngcat") is None, reason="needs nngcat (Debian package nng-utils)")


async def run_nngcat(*args: str) -> bytes:
    with trio.fail_after(10):
        done = await trio.run_process(["nngcat", *args], capture_stdout=True, capture_stderr=True)
    return done.stdout


@nngcat
async def test_nngcat_asks_and_is_answered(daemon):
    async with daemon.running():
        frame = '{"cmd":"trading.status","args":{"all":true}}'
        reply = json.loads(await run_nngcat("--req0", "--dial", daemon.control, "--data", frame, "--raw"))
    assert list(reply["data"]["users"]) == ["alice", "bob", "carol"]


@nngcat
async def test_nngcat_hears_events(daemon):
    async with daemon.running() as nursery:

        async def emit():
            while True:
                daemon.bus.emit("fill.alice", "filled")
                await trio.sleep(0.02)

        nursery.start_soon(emit)
        heard = await run_nngcat("--sub0", "--dial", daemon.events, "--subscribe", "fill.", "--raw", "--count", "1")
    assert heard.startswith(b'fill.alice {"v":1')


async def test_a_wedged_trader_can_be_stopped_now(daemon):
    daemon.office.traders["alice"].wedged = True
    frame = {"cmd": "trading.stop", "args": {"user": "alice", "now": True}}

    async def quickly(question, *, within_s=None):
        await trio.sleep(0.05)
        raise AskTimeout("no answer")

    daemon.office.traders["alice"].ask = quickly
    async with daemon.running():
        assert (await daemon.ask(frame))["data"]["users"]["alice"]["wanted"] == "stopped"
    assert daemon.office.forced
