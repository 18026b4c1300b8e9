"""The paper exchange's server: over memory streams, with httpx and trio_websocket as clients, under a virtual clock."""

from __future__ import annotations

import errno
import json
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise

import httpx
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from trio_websocket import ConnectionClosed, ConnectionRejected, wrap_client_stream

from actors.adapters import paper, paper_http, paper_journal, paper_sockets
from actors.adapters.clock import WallClock
from actors.adapters.dialer import Endpoint
from actors.adapters.paper import PaperServer
from actors.adapters.paper_journal import FileJournal, MemoryJournal
from actors.adapters.transport import DialedBackend, PoolTransport
from actors.errors import ConfigError, IllegalEvent, Refusal, StoreError
from actors.paper.api import Frame, Request, Response
from actors.ports import Asked
from tests.adapters.wires import MemoryDialer, TrackedStream

EPOCH_MS = 1_790_000_000_000
HOST = Endpoint(host="127.0.0.1", port=8701, tls=False)


class Script:
    """An exchange that does what the test says. events: ms → what happens then. Checks that time never goes back."""

    def __init__(self):
        self.answer = lambda request, now_ms: Response(body=request.path.encode())
        self.requests: list[Request] = []
        self.events: list[tuple[int, object]] = []
        self.frames: list[Frame] = []
        self.heard: list[tuple] = []
        self.entries = b""
        self.now_ms = 0
        self.steps: list[int] = []

    def _at(self, now_ms):
        assert now_ms >= self.now_ms, "time went back"
        self.now_ms = now_ms

    def handle(self, request, now_ms):
        self._at(now_ms)
        self.requests.append(request)
        self.entries += b'{"request":"%s"}\n' % request.path.encode()
        return self.answer(request, now_ms)

    def advance(self, now_ms):
        self._at(now_ms)
        self.steps.append(now_ms)
        while self.events and self.events[0][0] <= now_ms:
            due_ms, event = self.events.pop(0)
            event(due_ms)

    def next_due_ms(self):
        return self.events[0][0] if self.events else None

    def at(self, due_ms, event):
        self.events.append((due_ms, event))
        self.events.sort(key=lambda item: item[0])

    def take_frames(self):
        frames, self.frames = self.frames, []
        return frames

    def snapshot(self):
        return b"all %d\n" % len(self.requests)

    def take_journal(self):
        entries, self.entries = self.entries, b""
        return entries

    def subscribe(self, stream, *, public, now_ms):
        self._at(now_ms)
        self.heard.append(("+", stream, public))

    def unsubscribe(self, stream, *, public):
        self.heard.append(("-", stream, public))

    def frame(self, stream, payload, due_ms, *, public=True, close=False):
        self.frames.append(Frame(public=public, stream=stream, payload=payload, due_ms=due_ms, close=close))


class World:
    """A server with its clock running, and ways to reach it."""

    def __init__(self, nursery, **options):
        self.exchange, self.wall, self.journal = Script(), WallClock.virtual(EPOCH_MS), MemoryJournal()
        self.server = PaperServer(self.exchange, self.wall, self.journal, **options)
        self.nursery = nursery
        self.dialer = MemoryDialer(nursery, self.server.serve_http)

    def client(self, **options):
        backend = DialedBackend(self.dialer, HOST, idle_s_max=1000, reply_bytes_max=10**7)
        transport = PoolTransport(backend, connections=8)
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8701", trust_env=False, **options)

    @asynccontextmanager
    async def socket(self, path=paper_sockets.PUBLIC_PATH, *, stream=None, queue=1000):
        ours, theirs = trio.testing.memory_stream_pair()
        self.nursery.start_soon(self.server.serve_ws, theirs)
        async with trio.open_nursery() as nursery:
            socket = await wrap_client_stream(
                nursery, stream(ours) if stream else ours, "x", path, message_queue_size=queue
            )
            yield socket
            nursery.cancel_scope.cancel()
        await ours.aclose()

    async def raw(self, data, serve=None):
        """All that comes back for these bytes, until the server closes."""
        ours, theirs = trio.testing.memory_stream_pair()
        self.nursery.start_soon(serve or self.server.serve_http, theirs)
        await ours.send_all(data)
        back = b""
        while part := await ours.receive_some():
            back += part
        await trio.sleep(0.1)  # it closed its end, and may now end
        return back


@pytest.fixture
async def world(nursery, autojump_clock):
    world = World(nursery)
    nursery.start_soon(world.server.run_clock)
    await trio.testing.wait_all_tasks_blocked()
    return world


async def ask(socket, method, params=(), **more):
    await socket.send_message(json.dumps({"method": method, "params": list(params), **more}))
    return json.loads(await socket.get_message())


# -- requests


async def test_a_request_arrives_whole_and_its_reply_goes_back(world, autojump_clock):
    world.exchange.answer = lambda request, now_ms: Response(
        status=418, headers=(("content-type", "application/json"), ("retry-after", "3")), body=b'{"code":"000000"}'
    )
    async with world.client(cookies={"paper_account": "alice"}) as client:
        reply = await client.post("/bapi/x%20y?a=1&b=&c=%C3%A4", content=b'{"p":1}', headers={"X-Trace": "t"})
    request = world.exchange.requests[0]
    assert (request.method, request.path, request.body) == ("POST", "/bapi/x y", b'{"p":1}')
    assert request.query == {"a": "1", "b": "", "c": "ä"}
    assert request.headers["x-trace"] == "t"
    assert request.cookies == {"paper_account": "alice"}
    assert (reply.status_code, reply.content, reply.headers["retry-after"]) == (418, b'{"code":"000000"}', "3")
    assert reply.headers["date"] == "Mon, 21 Sep 2026 14:13:20 GMT"


async def test_a_client_that_wants_the_connection_closed_gets_it_closed(world, autojump_clock):
    back = await world.raw(b"GET /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    assert back.startswith(b"HTTP/1.1 200 OK")
    assert back.endswith(b"/x")


async def test_one_connection_serves_many_requests(world, autojump_clock):
    async with world.client() as client:
        for number in range(5):
            assert (await client.get(f"/{number}")).text == f"/{number}"
        assert (await client.head("/h")).content == b""
        assert (await client.get("/again")).text == "/again"
    assert len(world.dialer.calls) == 1


async def test_a_body_in_chunks_and_expect_100_are_understood(world, autojump_clock):
    async def parts():
        yield b"one "
        yield b"two"

    async with world.client() as client:
        await client.post("/c", content=parts(), headers={"Expect": "100-continue"})
    assert world.exchange.requests[0].body == b"one two"


async def test_a_late_reply_comes_late_and_disturbs_nobody(world, autojump_clock):
    world.exchange.answer = lambda request, now_ms: Response(delay_ms=7_000 if request.path == "/slow" else 0)
    times = {}

    async def get(path):
        async with world.client(timeout=None) as client:
            await client.get(path)
        times[path] = trio.current_time()

    begin_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(get, "/slow")
        nursery.start_soon(get, "/quick")
    assert times["/quick"] - begin_s == pytest.approx(0, abs=0.01)
    assert times["/slow"] - begin_s == pytest.approx(7, abs=0.01)


async def test_a_lost_reply_closes_the_connection_after_its_delay(world, autojump_clock):
    world.exchange.answer = lambda request, now_ms: Response(lost=True, delay_ms=2_000)
    begin_s = trio.current_time()
    with pytest.raises(Exception, match="without sending a response"):
        async with world.client(timeout=None) as client:
            await client.get("/x")
    assert trio.current_time() - begin_s == pytest.approx(2, abs=0.01)
    assert world.exchange.requests


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no host
        (b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: -4\r\n\r\n", 400),
        (b"GET http://[:/ HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"GET /?" + b"a=1&" * 200 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 40_000, 431),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2000000\r\n\r\n" + b"z" * 1_100_000, 413),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 20\r\n\r\nz", 408),
        (b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n", 405),
        (b"HEAD http://[:/ HTTP/1.1\r\nhost: x\r\n\r\n", 400),
    ],
)
async def test_what_is_no_request_is_refused_and_the_connection_closed(world, autojump_clock, data, status):
    back = await world.raw(data)
    assert back.startswith(f"HTTP/1.1 {status} ".encode())
    assert not world.exchange.requests
    assert world.server.statistics().http_connections == 0


async def test_an_idle_connection_is_closed(world, autojump_clock):
    begin_s = trio.current_time()
    assert await world.raw(b"") == b""
    assert trio.current_time() - begin_s == pytest.approx(paper_http.IDLE_S_MAX, abs=0.2)


async def test_a_peer_that_vanishes_disturbs_nobody(world, autojump_clock):
    for reset_at in ("reply", "refusal"):
        ours, theirs = trio.testing.memory_stream_pair()
        tracked = TrackedStream(theirs)
        world.exchange.answer = lambda request, now_ms, tracked=tracked: setattr(tracked, "reset", True) or Response()
        tracked.reset = reset_at == "refusal"
        world.nursery.start_soon(world.server.serve_http, tracked)
        await ours.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await trio.sleep(1)
        assert tracked.closed
    async with world.client() as client:
        world.exchange.answer = lambda request, now_ms: Response(body=b"fine")
        assert (await client.get("/")).text == "fine"


async def test_what_a_request_changed_is_written_down_before_its_reply_leaves(world, autojump_clock):
    seen = []
    world.exchange.answer = lambda request, now_ms: Response(delay_ms=1000)

    async def look():
        await trio.sleep(0.5)
        seen.append(world.journal.data)

    async with world.client(timeout=None) as client:
        world.nursery.start_soon(look)
        await client.get("/x")
    assert seen == [b'{"request":"/x"}\n']


async def test_a_journal_that_has_outgrown_itself_becomes_a_snapshot(nursery, autojump_clock, monkeypatch):
    monkeypatch.setattr(paper, "COMPACT_BYTES", 60)
    world = World(nursery)
    async with world.client() as client:
        for number in range(4):
            await client.get(f"/{number}")
    assert list(world.journal.lines()) == [b"all 4\n"]  # three lines of 17 bytes fit, the fourth does not


def test_cookies_are_taken_apart():
    parse = paper_http.parse_cookies
    assert parse('a=1; b="x y";c=;junk;a=2; =z') == {"a": "1", "b": "x y", "c": ""}
    assert parse("") == {}


# -- time


async def test_the_exchange_is_moved_on_when_something_is_due(world, autojump_clock):
    happened = []
    for after_ms in (250, 1_000, 3_600_000):
        world.exchange.at(EPOCH_MS + after_ms, lambda due_ms: happened.append((due_ms, world.wall.now_ms())))
    async with world.client() as client:
        await client.get("/wakes the clock")
    await trio.sleep(3_601)
    assert [due_ms - EPOCH_MS for due_ms, _ in happened] == [250, 1_000, 3_600_000]
    assert all(0 <= now_ms - due_ms <= 2 for due_ms, now_ms in happened)


async def test_time_that_passes_while_the_clock_task_works_does_not_confuse_it(nursery, autojump_clock):
    class Hasty:
        """A wall on which every look costs 3 ms."""

        now = EPOCH_MS

        def now_ms(self):
            self.now += 3
            return self.now

    exchange, happened = Script(), []
    for after_ms in range(0, 200, 2):
        exchange.at(EPOCH_MS + after_ms, happened.append)
    nursery.start_soon(PaperServer(exchange, Hasty(), MemoryJournal()).run_clock)
    await trio.sleep(1)
    assert len(happened) == 100


async def test_a_wall_that_is_set_back_never_takes_the_exchange_back(world, autojump_clock):
    happened = []
    async with world.client() as client:
        await client.get("/a")
        reached_ms = world.exchange.now_ms
        world.wall._anchor_ms -= 3_600_000
        world.exchange.at(reached_ms + 500, happened.append)
        await client.get("/b")
        await trio.sleep(1)
    assert happened == [reached_ms + 500]


async def test_after_a_long_sleep_it_catches_up_in_steps_with_others_in_between(world, autojump_clock):
    for tenth in range(600):
        world.exchange.at(EPOCH_MS + tenth * 100, lambda due_ms: None)
    seen = []

    async def other():
        while not world.exchange.requests:
            seen.append(world.exchange.now_ms)
            await trio.lowlevel.checkpoint()

    world.wall._anchor_ms += 60_000
    world.nursery.start_soon(other)
    async with world.client() as client:
        await client.get("/late")
    assert len(set(seen)) > 100
    assert max(b - a for a, b in pairwise(world.exchange.steps)) <= 300
    assert world.exchange.requests


# -- sockets


async def test_subscribing_is_acknowledged_and_frames_come_at_their_moment_in_order(world, autojump_clock):
    async with world.socket() as socket:
        assert await ask(socket, "SUBSCRIBE", ["a@trade", "b@trade"], id=1) == {"result": None, "id": 1}
        assert world.exchange.heard == [("+", "a@trade", True), ("+", "b@trade", True)]
        now_ms = world.wall.now_ms()
        for stream, text, after_ms in (("a@trade", b"3", 30), ("b@trade", b"1", 10), ("a@trade", b"2", 30)):
            world.exchange.frame(stream, text, now_ms + after_ms)
        world.exchange.frame("c@trade", b"nobody", now_ms)
        async with world.client() as client:
            await client.get("/")
        got = [(await socket.get_message(), world.wall.now_ms() - now_ms) for _ in range(3)]
    assert [text for text, _ in got] == ["1", "3", "2"]
    assert [after_ms for _, after_ms in got] == [pytest.approx(10, abs=2)] + [pytest.approx(30, abs=2)] * 2


async def test_list_and_unsubscribe(world, autojump_clock):
    async with world.socket(paper_sockets.USER_PATH) as socket:
        await ask(socket, "SUBSCRIBE", ["alpha@k", "alpha@k"], id="abc")
        assert await ask(socket, "LIST_SUBSCRIPTIONS", id=None) == {"result": ["alpha@k"], "id": None}
        assert await ask(socket, "UNSUBSCRIBE", ["alpha@k", "alpha@unknown"], id=3) == {"result": None, "id": 3}
        assert (await ask(socket, "LIST_SUBSCRIPTIONS", id=4))["result"] == []
    assert world.exchange.heard == [("+", "alpha@k", False), ("-", "alpha@k", False)]


async def test_the_two_sockets_hear_different_streams_of_one_name(world, autojump_clock):
    async with world.socket() as public, world.socket(paper_sockets.USER_PATH) as user:
        await ask(public, "SUBSCRIBE", ["x"], id=1)
        await ask(user, "SUBSCRIBE", ["x"], id=1)
        world.exchange.frame("x", b"for users", world.wall.now_ms(), public=False)
        world.exchange.frame("x", b"for all", world.wall.now_ms())
        async with world.client() as client:
            await client.get("/")
        assert await public.get_message() == "for all"
        assert await user.get_message() == "for users"


async def test_acknowledgements_have_two_forms(nursery, autojump_clock):
    world = World(nursery, acks="short")
    nursery.start_soon(world.server.run_clock)
    async with world.socket() as public, world.socket(paper_sockets.USER_PATH) as user:
        assert await ask(public, "SUBSCRIBE", ["x"], id=1) == {"id": 1}
        assert await ask(user, "SUBSCRIBE", ["x"], id=1) == {"result": None, "id": 1}


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", 3),
        ("[]", 3),
        ("[" * 50_000, 3),
        ('{"method":7}', 3),
        (b"\xff\xfe", 3),
        ('{"method":"SUBSCRIBE","params":["' + "x" * 300 + '"],"id":1}', 2),
        ('{"method":"SUBSCRIBE","params":["a"],"id":"no spaces allowed"}', 2),
        ('{"method":"DANCE","id":1}', 2),
        (json.dumps({"method": "SUBSCRIBE", "params": [str(number) for number in range(1_100)], "id": 1}), 2),
    ],
)
async def test_a_bad_command_gets_an_error_and_the_socket_lives_on(world, autojump_clock, message, code):
    async with world.socket() as socket:
        await socket.send_message(message)
        assert json.loads(await socket.get_message())["error"]["code"] == code
        assert (await ask(socket, "LIST_SUBSCRIPTIONS", id=9))["result"] == []


async def test_an_oversized_command_ends_the_socket(world, autojump_clock):
    async with world.socket() as socket:
        await socket.send_message("x" * (paper_sockets.MESSAGE_MAX + 1))
        with pytest.raises(ConnectionClosed) as caught:
            await socket.get_message()
    assert caught.value.reason.code == 1009


async def test_another_path_is_refused(world, autojump_clock):
    with pytest.RaisesGroup(pytest.RaisesExc(ConnectionRejected), flatten_subgroups=True):
        async with world.socket("/ws"):
            pass
    await trio.sleep(1)
    assert world.server.statistics().sockets == 0


async def test_a_frame_may_close_the_sockets_of_its_stream_after_what_waits_before(world, autojump_clock):
    async with world.socket() as hit, world.socket() as spared:
        await ask(hit, "SUBSCRIBE", ["x"], id=1)
        await ask(spared, "SUBSCRIBE", ["y"], id=1)
        now_ms = world.wall.now_ms()
        world.exchange.frame("x", b"last words", now_ms)
        world.exchange.frame("x", b"", now_ms + 5, close=True)
        world.exchange.frame("x", b"unheard", now_ms + 5)
        world.exchange.frame("y", b"still here", now_ms + 6)
        async with world.client() as client:
            await client.get("/")
        assert await hit.get_message() == "last words"
        with pytest.raises(ConnectionClosed) as caught:
            await hit.get_message()
        assert caught.value.reason.code == 1001
        assert await spared.get_message() == "still here"
    assert ("-", "x", True) in world.exchange.heard


async def test_a_slow_reader_is_disconnected_alone(world, autojump_clock, monkeypatch):
    monkeypatch.setattr(paper_sockets, "QUEUE_MAX", 20)
    ours, theirs = trio.testing.memory_stream_pair()
    tracked = TrackedStream(theirs)
    world.nursery.start_soon(world.server.serve_ws, tracked)
    async with world.socket() as good, trio.open_nursery() as nursery:
        slow = await wrap_client_stream(nursery, ours, "x", paper_sockets.PUBLIC_PATH, message_queue_size=1)
        await ask(slow, "SUBSCRIBE", ["x"], id=1)
        await ask(good, "SUBSCRIBE", ["x"], id=1)
        tracked.clog()
        got = []
        for number in range(50):
            world.exchange.at(world.wall.now_ms() + 10, partial(_frame, world, number))
            async with world.client() as client:
                await client.get("/")
            got.append(await good.get_message())
        assert got == [str(number) for number in range(50)]
        assert tracked.closed
        nursery.cancel_scope.cancel()
    assert world.server.statistics().slow == 1


def _frame(world, number, due_ms):
    world.exchange.frame("x", str(number).encode(), due_ms)


async def test_a_reader_that_answers_no_ping_is_disconnected(world, autojump_clock):
    ours, theirs = trio.testing.memory_stream_pair()
    tracked = TrackedStream(theirs)
    world.nursery.start_soon(world.server.serve_ws, tracked)
    async with trio.open_nursery() as nursery:
        await wrap_client_stream(nursery, ours, "x", paper_sockets.PUBLIC_PATH)
        tracked.clog()
        await trio.sleep(paper_sockets.PING_EVERY_S + paper_sockets.PONG_S_MAX - 1)
        assert not tracked.closed
        await trio.sleep(2)
        assert tracked.closed
        nursery.cancel_scope.cancel()


async def test_a_quiet_socket_that_answers_pings_lives_a_day(world, autojump_clock):
    async with world.socket() as socket:
        begin_s = trio.current_time()
        with pytest.raises(ConnectionClosed):
            await socket.get_message()
    assert trio.current_time() - begin_s == pytest.approx(paper_sockets.LIFE_S_MAX, abs=1)


async def test_a_handshake_that_never_comes_is_given_up(world, autojump_clock):
    begin_s = trio.current_time()
    assert await world.raw(b"GET /", world.server.serve_ws) == b""
    assert trio.current_time() - begin_s == pytest.approx(paper_sockets.HANDSHAKE_S_MAX, abs=0.2)


async def test_when_a_socket_goes_its_subscriptions_go_with_it(world, autojump_clock):
    async with world.socket() as socket:
        await ask(socket, "SUBSCRIBE", ["x", "y"], id=1)
        assert world.server.statistics().subscriptions == 2
    await trio.sleep(1)
    assert sorted(world.exchange.heard) == [("+", "x", True), ("+", "y", True), ("-", "x", True), ("-", "y", True)]
    assert world.server.statistics().subscriptions == world.server.statistics().sockets == 0


async def test_more_connections_than_there_is_room_for_are_closed_at_once(world, autojump_clock, monkeypatch):
    monkeypatch.setattr(paper, "CONNECTIONS_MAX", 0)
    assert await world.raw(b"", world.server.serve_http) == b""
    assert await world.raw(b"", world.server.serve_ws) == b""


# -- any bytes

HTTP_HEAD = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
WS_HEAD = (
    b"GET /w3w/wsa/stream HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def ws_frame(opcode, payload, final, reserved):
    """A masked frame of a client, also an illegal one. payload: under 126 bytes."""
    return bytes([(0x80 if final else 0) | reserved | opcode, 0x80 | len(payload)]) + bytes(4) + payload


WS_PAYLOADS = st.binary(max_size=60) | st.sampled_from(
    [b'{"method":"SUBSCRIBE","params":["x"],"id":1}', b"\x03\xe8", b"\x03\xe8\xff"]
)
WS_FRAMES = st.builds(ws_frame, st.integers(0, 15), WS_PAYLOADS, st.booleans(), st.sampled_from([0, 0, 0x40, 0x70]))
REQUESTS = st.sampled_from(
    [
        HTTP_HEAD,
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nab",
        b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET /w3w/stream HTTP/1.1\r\nhost: \xff\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    ]
)


@settings(max_examples=120, deadline=None)
@given(
    pieces=st.lists(WS_FRAMES | REQUESTS | st.binary(max_size=100), max_size=6),
    greeted=st.booleans(),
    kind=st.sampled_from(["http", "ws"]),
)
def test_no_bytes_on_either_socket_harm_the_server(pieces, greeted, kind):
    async def main():
        async with trio.open_nursery() as nursery:
            world = World(nursery)
            nursery.start_soon(world.server.run_clock)
            ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(world.server.serve_http if kind == "http" else world.server.serve_ws, theirs)
            try:
                if greeted:
                    await ours.send_all(HTTP_HEAD if kind == "http" else WS_HEAD)
                for piece in pieces:
                    await ours.send_all(piece)
                    await trio.sleep(0.01)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the server had enough of us
            await ours.aclose()
            await trio.sleep(100)
            statistics = world.server.statistics()
            assert (statistics.http_connections, statistics.sockets) == (0, 0)
            async with world.client() as client:
                assert (await client.get("/alive")).text == "/alive"
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# -- the child, the ports, the journal


class Inbox:
    def __init__(self, *messages):
        self.messages, self.finished = list(messages), 0

    async def take(self):
        await trio.lowlevel.checkpoint()
        return self.messages.pop(0) if self.messages else await trio.sleep_forever()

    def finish(self):
        self.finished += 1


class ReplyBox:
    refused = None

    def refuse(self, error):
        self.refused = error


class Door:
    """A listener that hands out memory streams; sometimes the process is out of file descriptors."""

    def __init__(self):
        self.queue, self.streams = trio.open_memory_channel(100)

    def connect(self):
        ours, theirs = trio.testing.memory_stream_pair()
        self.queue.send_nowait(theirs)
        return ours

    async def accept(self):
        stream = await self.streams.receive()
        if isinstance(stream, OSError):
            raise stream
        return stream


async def test_the_child_is_ready_when_it_serves_and_its_listeners_outlive_it(autojump_clock):
    http, ws, reply = Door(), Door(), ReplyBox()
    exchange, wall = Script(), WallClock.virtual(EPOCH_MS)
    for _ in range(2):  # two incarnations on the same listeners
        async with trio.open_nursery() as nursery:
            inbox = Inbox(Asked("how are you", reply))
            server = partial(PaperServer, exchange, wall, MemoryJournal())
            await nursery.start(partial(paper.run, inbox, server, [http], [ws]))
            http.queue.send_nowait(OSError(errno.EMFILE, "too many open files"))
            stream = http.connect()
            await stream.send_all(HTTP_HEAD)
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 200 OK")
            assert isinstance(reply.refused, Refusal)
            assert inbox.finished == 1
            nursery.cancel_scope.cancel()


async def test_news_to_the_child_are_a_bug_of_ours(autojump_clock):
    server = partial(PaperServer, Script(), WallClock.virtual(EPOCH_MS), MemoryJournal())
    with pytest.RaisesGroup(pytest.RaisesExc(IllegalEvent)):
        await paper.run(Inbox("news"), server, [], [])


async def test_a_listener_that_breaks_ends_the_incarnation(autojump_clock):
    door = Door()
    door.queue.send_nowait(OSError(errno.EBADF, "closed"))
    server = PaperServer(Script(), WallClock.virtual(EPOCH_MS), MemoryJournal())
    with pytest.RaisesGroup(OSError):
        await server.serve([door], [])


async def test_alone_it_says_where_it_serves_once_it_does():
    say, said = trio.open_memory_channel(1)
    server = PaperServer(Script(), WallClock.virtual(EPOCH_MS), MemoryJournal())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(paper.run_exchange, server, 0, 0, say.send_nowait)
        where = json.loads(await said.receive())
        assert list(where) == ["rest_base", "ws_public", "ws_user"]
        assert where["ws_public"].endswith("/w3w/wsa/stream")
        assert where["ws_user"].endswith("/w3w/stream")
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(where["rest_base"] + "/x")).text == "/x"
        port = int(where["rest_base"].rpartition(":")[2])
        with pytest.raises(Refusal, match="choose another port"):
            await paper.listen("127.0.0.1", port)
        nursery.cancel_scope.cancel()
    for listener in await paper.listen("127.0.0.1", port):  # free again
        await listener.aclose()


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "example.org", "::"])
async def test_it_listens_on_the_loopback_only(host):
    with pytest.raises(ConfigError, match="not a loopback address"):
        await paper.listen(host, 0)


def test_the_journal_is_appended_to_and_cut_back_to_whole_lines(tmp_path):
    journal = FileJournal(tmp_path / "paper")
    journal.append(b"1\n")
    journal.append(b"2\n3\n")
    journal.close()
    file = tmp_path / "paper" / "journal.jsonl"
    file.write_bytes(file.read_bytes() + b"to")
    journal = FileJournal(tmp_path / "paper")
    assert list(journal.lines()) == [b"1\n", b"2\n", b"3\n"]
    journal.append(b"4\n")
    assert file.read_bytes() == b"1\n2\n3\n4\n"
    journal.replace(b"all\n")
    journal.append(b"5\n")
    assert list(journal.lines()) == [b"all\n", b"5\n"]
    assert journal.size == file.stat().st_size == 6
    assert file.stat().st_mode & 0o777 == 0o600
    journal.close()


def test_a_full_disk_leaves_no_half_line_and_nothing_is_forgotten(tmp_path, monkeypatch):
    journal = FileJournal(tmp_path)
    journal.append(b"1\n")
    real, room = paper_journal.os.write, [3]

    def write(file, data):
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        done = real(file, data[: room[0]])
        room[0] -= done
        return done

    monkeypatch.setattr(paper_journal.os, "write", write)
    with pytest.raises(StoreError, match="No space left") as caught:
        journal.append(b"second\n")
    assert caught.value.do
    assert (tmp_path / "journal.jsonl").read_bytes() == b"1\n"
    room[0] = 1000
    journal.append(b"3\n")
    assert list(journal.lines()) == [b"1\n", b"second\n", b"3\n"]
    journal.close()


def test_a_directory_that_cannot_be_used_is_an_error_that_says_so(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="make the directory writable"):
        FileJournal(tmp_path / "file")


def test_a_memory_journal_reads_what_was_written():
    journal = MemoryJournal()
    journal.append(b"1\n2\n")
    assert list(journal.lines()) == [b"1\n", b"2\n"]
    journal.replace(b"3\n")
    assert list(journal.lines()) == [b"3\n"]


def test_a_recording_is_loaded_from_a_path_or_the_path_refused(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("1,10,1,1,1,1723161255000,true\n2,11,1,1,1,1723161256000,true\n")
    assert paper.load_recording(file).span_ms == 1_000
    with pytest.raises(ConfigError, match="cannot read the file"):
        paper.load_recording(tmp_path / "missing.csv")
