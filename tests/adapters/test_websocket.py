"""Web sockets over memory streams: every way a stream can be lost, said in time and without a remainder."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing
import trio_websocket
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.adapters.websocket import PINGS_MAX, OpenSocket, Timing, TrioSockets
from actors.errors import ConfigError, StreamLost
from tests.adapters.wires import MemoryDialer

URL = "wss://stream.test/w3w/stream?key=s3cr3t"


class Peer:
    """The exchange's end: accepts, then runs `script(socket)`; remembers what it got."""

    def __init__(self, script=None, *, accept=True):
        self.script = script
        self.accept = accept
        self.received = []
        self.closed = None
        self.path = None

    async def __call__(self, stream):
        async with trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(nursery, stream)
            self.path, self.headers = request.path, dict(request.headers)
            socket = await request.accept()
            if self.script is not None:
                nursery.start_soon(self._play, socket)
            try:
                while True:
                    self.received.append(await socket.get_message())
            except trio_websocket.ConnectionClosed as closed:
                self.closed = closed.reason
            nursery.cancel_scope.cancel()

    async def _play(self, socket):
        try:
            await self.script(socket)
        except trio_websocket.ConnectionClosed:
            return  # the client left, as the test wants it


@pytest.fixture
async def opening(nursery):
    """opening(peer, stale_s=…, …): as sockets.connect, and afterwards nothing may be left."""

    @asynccontextmanager
    async def connect(peer, *, stale_s=30.0, url=URL, prepare=lambda dialer: None, **options):
        dialer = MemoryDialer(nursery, peer)
        prepare(dialer)
        before = trio.lowlevel.current_task().child_nurseries
        try:
            async with TrioSockets(dialer, **options).connect(url, stale_s=stale_s) as socket:
                socket.dialer = dialer
                yield socket
        finally:
            assert dialer.open_streams == 0
            assert trio.lowlevel.current_task().child_nurseries == before

    yield connect
    nursery.cancel_scope.cancel()


async def lost(opening, peer, **options):
    """The StreamLost that entering, or else receiving, ends with; and the frames before it."""
    frames = []

    async def follow():
        async with opening(peer, **options) as socket:
            await receive_all(socket, frames)

    with pytest.raises(StreamLost) as caught:
        await follow()
    return caught.value, frames


async def receive_all(socket, frames):
    while True:
        frames.append(await socket.receive())


# -- the straight way


async def test_text_and_binary_frames_come_as_bytes_in_order(opening, autojump_clock):
    async def script(socket):
        await socket.send_message('{"a":"ü"}')
        await socket.send_message(b"\x00\x01")

    peer = Peer(script)
    async with opening(peer) as socket:
        await socket.send('{"method":"SUBSCRIBE"}')
        assert await socket.receive() == '{"a":"ü"}'.encode()
        assert await socket.receive() == b"\x00\x01"
        assert socket.statistics().frames == 2
        assert "s3cr3t" not in repr(socket)
    assert peer.received == ['{"method":"SUBSCRIBE"}']
    assert (peer.path, peer.closed.code) == ("/w3w/stream?key=s3cr3t", 1000)
    assert socket.dialer.calls == [("stream.test", 443, True, True)]


async def test_the_opening_request_carries_host_and_the_headers_wanted(opening, autojump_clock):
    peer = Peer()
    async with opening(peer, url="wss://stream.test:9443/x", headers={"Origin": "https://www.exchange.test"}) as socket:
        assert repr(socket) == "OpenSocket(stream.test:9443/x)"
    assert peer.headers[b"origin"] == b"https://www.exchange.test"


async def test_after_leaving_the_socket_says_so(opening, autojump_clock):
    async with opening(Peer()) as socket:
        pass
    with pytest.raises(StreamLost, match="left by us"):
        await socket.receive()
    with pytest.raises(StreamLost, match="left by us"):
        await socket.send("x")


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), StreamLost("mine")])
async def test_what_the_body_raises_comes_out_as_itself(opening, autojump_clock, error):
    with pytest.raises(type(error)) as caught:
        async with opening(Peer()):
            raise error
    assert caught.value is error


async def test_cancelling_the_body_leaves_at_once_and_cleanly(opening, autojump_clock):
    begun_s = trio.current_time()
    with trio.move_on_after(7) as scope:
        async with opening(Peer()):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() - begun_s == 7


async def test_a_cancelled_receive_loses_no_frame(opening, autojump_clock):
    async def script(socket):
        for number in range(5):
            await trio.sleep(1)
            await socket.send_message(str(number))

    got = []
    async with opening(Peer(script)) as socket:
        while len(got) < 5:
            with trio.move_on_after(0.25):
                got.append(await socket.receive())
    assert got == [b"0", b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("url", ["ws://stream.test/", "https://stream.test/", "", "wss:///x"])
async def test_a_wrong_url_is_a_configuration_error(opening, url):
    with pytest.raises(ConfigError):
        TrioSockets(MemoryDialer(None, None)).connect(url, stale_s=30)


# -- the opening handshake


async def test_f1_a_failed_dial_is_a_lost_stream(opening, autojump_clock):
    def prepare(dialer):
        dialer.refuse = "no connection: refused"

    error, _ = await lost(opening, Peer(), prepare=prepare)
    assert error.what == "no connection: refused"
    assert error.where == "stream.test/w3w/stream"


async def test_f11_a_handshake_that_is_never_answered_ends_at_the_deadline(opening, autojump_clock):
    async def mute(stream):
        await trio.sleep_forever()

    begun_s = trio.current_time()
    error, _ = await lost(opening, mute, timing=Timing(open_s_max=4))
    assert "no answer for 4 s" in error.what
    assert trio.current_time() - begun_s == 4


async def answers(stream, *, data):
    await stream.receive_some()
    await stream.send_all(data)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="eof"),
        pytest.param(b"HTTP/1.1 101 Swi", id="cut"),
        pytest.param(b"\x00\x01garbage\r\n\r\n", id="garbage"),
        pytest.param(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", id="no-accept"),
        pytest.param(b"HTTP/1.1 101 X\r\nUpgrade: \xff\r\nConnection: \xfe\r\n\r\n", id="not-ascii"),
        pytest.param(b"x" * 300_000, id="endless"),
    ],
)
async def test_f11_garbage_instead_of_a_handshake_is_noticed_at_once(opening, autojump_clock, data):
    begun_s = trio.current_time()
    error, _ = await lost(opening, partial(answers, data=data))
    assert "handshake" in error.what or "protocol" in error.what
    assert trio.current_time() == begun_s


@pytest.mark.parametrize("body", [b"", b"slow down"])
async def test_f24_a_refusal_tells_status_and_retry_after(opening, autojump_clock, body):
    data = b"HTTP/1.1 429 Too Many\r\nRetry-After: 17\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    error, _ = await lost(opening, partial(answers, data=data))
    assert (error.status, error.retry_after_s) == (429, 17.0)
    assert "429" in str(error)


async def test_cancelling_the_opening_leaves_nothing(opening, autojump_clock):
    async def mute(stream):
        await trio.sleep_forever()

    with trio.move_on_after(1) as scope:
        async with opening(mute):
            raise AssertionError("never opened")
    assert scope.cancelled_caught


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_no_garbage_from_the_peer_is_more_than_a_lost_stream(data, after_opening):
    async def peer(stream):
        if after_opening:
            async with trio.open_nursery() as nursery:
                request = await trio_websocket.wrap_server_stream(nursery, stream)
                await request.accept()
                await stream.send_all(data)
                await stream.aclose()
        else:
            await answers(stream, data=data)

    async def follow(dialer):
        async with TrioSockets(dialer).connect(URL, stale_s=30) as socket:
            await receive_all(socket, [])

    async def main():
        async with trio.open_nursery() as nursery:
            dialer = MemoryDialer(nursery, peer)
            with pytest.raises(StreamLost):
                await follow(dialer)
            assert dialer.open_streams == 0
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# -- losses


async def test_f8_a_close_tells_code_and_reason_after_the_frames_before_it(opening, autojump_clock):
    async def script(socket):
        for number in range(3):
            await socket.send_message(str(number))
        await socket.aclose(4000, "bye!")

    error, frames = await lost(opening, Peer(script))
    assert frames == [b"0", b"1", b"2"]
    assert "4000" in error.what
    assert "bye!" in error.what


async def test_f8_an_end_without_close_is_1006(opening, autojump_clock):
    async def script(socket):
        await socket.send_message("last")
        await socket._stream.aclose()

    error, frames = await lost(opening, Peer(script))
    assert frames == [b"last"]
    assert "1006" in error.what


async def test_f8_a_reset_is_1006(opening, autojump_clock):
    async with opening(Peer()) as socket:
        socket.dialer.streams[0].reset = True
        with pytest.raises(StreamLost, match="1006"):
            await socket.send("x")
        with pytest.raises(StreamLost, match="1006"):
            await socket.receive()


async def test_f9_a_black_hole_is_lost_after_stale_s(opening, autojump_clock):
    async with opening(Peer(), stale_s=30) as socket:
        socket.dialer.streams[0].clog()
        begun_s = trio.current_time()
        with pytest.raises(StreamLost, match="no frame and no pong for 30 s"):
            await socket.receive()
        assert trio.current_time() - begun_s == 30


async def test_f9_a_quiet_stream_that_answers_pings_is_alive(opening, autojump_clock):
    async with opening(Peer(), stale_s=30) as socket:
        with trio.move_on_after(3600) as scope:
            await socket.receive()
        assert scope.cancelled_caught
        assert socket.statistics().heard_s <= 10


async def test_f9_frames_keep_a_stream_alive_whose_pings_nobody_answers(opening, autojump_clock, monkeypatch):
    async def ignore(socket, event):
        await trio.lowlevel.checkpoint()

    async def script(socket):
        for number in range(20):
            await trio.sleep(20)
            await socket.send_message(str(number))

    monkeypatch.setattr(trio_websocket.WebSocketConnection, "_handle_ping_event", ignore)
    async with opening(Peer(script), stale_s=30) as socket:
        for number in range(20):
            assert await socket.receive() == str(number).encode()
            assert socket._pings_unanswered <= PINGS_MAX
        with pytest.raises(StreamLost, match="no pong"):
            await socket.receive()


async def test_pings_of_the_peer_are_answered_while_the_consumer_is_slow(opening, autojump_clock):
    pongs = []

    async def script(socket):
        for number in range(50):
            await socket.send_message(str(number))
            with trio.fail_after(1):
                await socket.ping()
            pongs.append(number)

    async with opening(Peer(script)) as socket:
        await trio.sleep(600)  # nobody receives
        assert len(pongs) == 50
        assert socket.statistics().waiting == 50
        assert [await socket.receive() for _ in range(50)] == [str(number).encode() for number in range(50)]


async def test_f13_an_overflow_of_frames_is_a_loss_and_no_gap(opening, autojump_clock):
    async def script(socket):
        for number in range(20):
            await socket.send_message(str(number))

    frames = []
    async with opening(Peer(script), frames_max=8) as socket:
        await trio.sleep(1)
        assert socket.dialer.open_streams == 0  # it was closed when it was lost, not when it was left
        with pytest.raises(StreamLost, match="too slow"):
            await receive_all(socket, frames)
    assert frames == [str(number).encode() for number in range(8)]


async def test_f13_an_overflow_of_bytes_is_a_loss_too(opening, autojump_clock):
    async def script(socket):
        for _ in range(5):
            await socket.send_message("x" * 400)

    async with opening(Peer(script), waiting_bytes_max=1000) as socket:
        await trio.sleep(1)
        assert [len(await socket.receive()) for _ in range(2)] == [400, 400]
        with pytest.raises(StreamLost, match="too slow"):
            await socket.receive()


async def test_f13_taking_frames_makes_room_again(opening, autojump_clock):
    async def script(socket):
        for _ in range(50):
            await socket.send_message("x" * 400)
            await trio.sleep(1)

    async with opening(Peer(script), waiting_bytes_max=1000, frames_max=2) as socket:
        assert sum([len(await socket.receive()) for _ in range(50)]) == 20_000


async def test_f80_an_oversized_frame_ends_the_stream(opening, autojump_clock):
    async def script(socket):
        await socket.send_message("x" * 100)
        await socket.send_message("x" * 101)

    error, frames = await lost(opening, Peer(script), frame_bytes_max=100)
    assert frames == [b"x" * 100]
    assert "1009" in error.what


async def test_f79_a_broken_frame_ends_the_stream(opening, autojump_clock):
    async def script(socket):
        await socket._stream.send_all(b"\xff\xff\xff")

    error, _ = await lost(opening, Peer(script))
    assert "1006" in error.what or "1002" in error.what or "protocol" in error.what


async def test_a_send_that_the_peer_does_not_take_is_a_loss_after_stale_s(opening, autojump_clock):
    async def script(socket):
        while True:
            await trio.sleep(1)
            await socket.send_message("tick")

    async with opening(Peer(script), stale_s=5, timing=Timing(ping_s=1000)) as socket:
        socket.dialer.streams[0].clog()
        begun_s = trio.current_time()
        with pytest.raises(StreamLost, match="not be sent"):
            await socket.send("x")
        assert trio.current_time() - begun_s == 5


async def test_a_loss_frees_a_send_that_waits(opening, autojump_clock):
    async with opening(Peer(), stale_s=5) as socket:
        await trio.sleep(3)  # the send's own deadline is later than the watch's
        socket.dialer.streams[0].clog()
        with pytest.raises(StreamLost):
            await socket.send("x")


async def test_a_cancelled_send_costs_the_stream(opening, autojump_clock):
    async with opening(Peer()) as socket:
        socket.dialer.streams[0].clog()
        with trio.move_on_after(1) as scope:
            await socket.send("x")
        assert scope.cancelled_caught
        with pytest.raises(StreamLost, match="not be sent"):
            await socket.receive()


async def test_a_loss_does_not_cancel_a_body_that_waits_for_something_else(opening, autojump_clock):
    async def script(socket):
        await socket.aclose(1001)

    async with opening(Peer(script)) as socket:
        await trio.sleep(60)  # say, a placement
        with pytest.raises(StreamLost, match="1001"):
            await socket.receive()


async def test_each_raised_loss_is_an_error_of_its_own(opening, autojump_clock):
    async def script(socket):
        await socket.aclose(1001)

    errors = []
    async with opening(Peer(script)) as socket:
        for _ in range(2):
            with pytest.raises(StreamLost) as caught:
                await socket.receive()
            errors.append(caught.value)
    assert str(errors[0]) == str(errors[1])
    assert errors[0] is not errors[1]


# -- leaving


async def test_f12_a_close_that_is_never_answered_is_cut_after_close_s_max(opening, autojump_clock):
    async with opening(Peer(), timing=Timing(close_s_max=2)) as socket:
        socket.dialer.streams[0].clog()
        begun_s = trio.current_time()
    assert trio.current_time() - begun_s == 2


async def test_f12_a_peer_that_hears_the_close_but_never_answers_is_cut_too(opening, autojump_clock):
    async def half_deaf(stream):
        async with trio.open_nursery() as nursery:
            request = await trio_websocket.wrap_server_stream(nursery, stream)
            socket = await request.accept()
            socket._reader_running = False
            await trio.sleep_forever()

    async with opening(half_deaf, timing=Timing(close_s_max=2)):
        await trio.sleep(0.1)
        begun_s = trio.current_time()
    assert trio.current_time() - begun_s == 2


async def test_leaving_while_frames_pour_in_is_prompt(opening, autojump_clock):
    async def script(socket):
        for _ in range(100_000):
            await socket.send_message("x")
            await trio.sleep(0.001)

    async with opening(Peer(script)) as socket:
        await socket.receive()
        begun_s = trio.current_time()
    assert trio.current_time() - begun_s < 0.1


async def test_a_bug_behind_the_socket_is_not_mistaken_for_a_loss(opening, autojump_clock, monkeypatch):
    async def broken(self, socket):
        await trio.sleep(1)
        raise RuntimeError("a bug")

    monkeypatch.setattr(OpenSocket, "_drain", broken)

    async def follow():
        async with opening(Peer()) as socket:
            await socket.receive()

    with pytest.raises(BaseExceptionGroup) as caught:
        await follow()
    assert caught.group_contains(RuntimeError, match="a bug")


async def test_receiving_and_sending_yield(opening, autojump_clock):
    async def script(socket):
        await socket.send_message("x")

    async with opening(Peer(script)) as socket:
        await trio.sleep(1)
        with trio.testing.assert_checkpoints():
            await socket.receive()
        with trio.testing.assert_checkpoints():
            await socket.send("x")
