"""HTTP sessions over memory streams: what was sent, what may have been, and what never leaves."""

from __future__ import annotations

import gzip
import logging
import ssl
from functools import partial

import httpcore
import pytest
import trio
import trio.testing

from actors.adapters import http
from actors.adapters.clock import WallClock
from actors.adapters.dialer import TcpDialer, client_tls
from actors.adapters.http import HttpSession, retry_after_s
from actors.adapters.limits import LOOPBACK, AddressLimits
from actors.adapters.sim import SimWall
from actors.errors import ConfigError, NoReply, NotSent
from tests.adapters.wires import MemoryDialer, Served, certificate, listen, raw_reply, read_request

BASE = "https://exchange.test"
SECRET = "s3cr3t-cookie"


@pytest.fixture
def limits():
    return AddressLimits(LOOPBACK)


@pytest.fixture
async def make(nursery, limits):
    """make(handler, **session options) -> (session, dialer), all closed at the end."""
    made = []

    def build(handler, **options):
        dialer = MemoryDialer(nursery, handler)
        session = HttpSession(options.pop("base", BASE), dialer, limits.user(), **options)
        made.append((session, dialer))
        return session, dialer

    yield build
    for session, dialer in made:
        await session.aclose()
        assert dialer.open_streams == 0
    nursery.cancel_scope.cancel()


async def test_a_request_carries_exactly_what_the_owner_handed_in(make, autojump_clock):
    served = Served(lambda request, body: raw_reply(b'{"a":1}', headers=[("X-Y", "z")]))
    session, dialer = make(served, cookies={"cr00": SECRET, "lang": "zh"}, headers={"csrftoken": "t", "Host": "evil"})
    reply = await session.request("POST", "/bapi/x", query={"page": "1", "q": "a b"}, body=b'{"n":1}', lane="order")
    assert (reply.status, reply.body, reply.headers["x-y"]) == (200, b'{"a":1}', "z")
    request, body = served.requests[0]
    assert (request.method, request.target, body) == (b"POST", b"/bapi/x?page=1&q=a+b", b'{"n":1}')
    assert dict(request.headers) == {
        b"host": b"exchange.test",
        b"content-length": b"7",
        b"content-type": b"application/json",
        b"cookie": b"cr00=s3cr3t-cookie; lang=zh",
        b"csrftoken": b"t",
        b"accept": b"application/json",
        b"accept-encoding": b"gzip",
        b"user-agent": b"otod",
    }
    assert dialer.calls == [("exchange.test", 443, True, False)]


async def test_a_connection_is_kept_for_the_next_request(make, autojump_clock):
    session, dialer = make(Served())
    for _ in range(3):
        assert (await session.request("GET", "/a")).body == b"{}"
    assert len(dialer.calls) == 1
    assert session.statistics().connections == 1


async def test_an_idle_connection_is_replaced_after_idle_s_max(make, autojump_clock):
    session, dialer = make(Served(), idle_s_max=20)
    await session.request("GET", "/a")
    await trio.sleep(19)
    await session.request("GET", "/a")
    assert len(dialer.calls) == 1
    await trio.sleep(21)
    await session.request("GET", "/a")
    assert len(dialer.calls) == 2
    assert dialer.open_streams == 1


async def test_f77_renewed_credentials_are_sent_from_the_next_request_on(make, autojump_clock):
    async def slow(request, body):
        await trio.sleep(5)
        return raw_reply()

    served = Served(slow)
    session, _ = make(served, cookies={"a": "old"}, headers={"csrftoken": "old"})
    async with trio.open_nursery() as inner:
        inner.start_soon(session.request, "GET", "/in-flight")
        await trio.sleep(1)
        session.renew({"a": "new"}, {"csrftoken": "new"})
    await session.request("GET", "/next")
    assert (served.header("cookie", 0), served.header("csrftoken", 0)) == ("a=old", "old")
    assert (served.header("cookie", 1), served.header("csrftoken", 1)) == ("a=new", "new")


async def test_cookies_of_replies_are_neither_learned_nor_shown(make, autojump_clock):
    served = Served(lambda *_: raw_reply(headers=[("Set-Cookie", "cr00=stolen; Path=/"), ("Set-Cookie", "b=c")]))
    session, _ = make(served, cookies={"cr00": SECRET})
    for _ in range(2):
        reply = await session.request("GET", "/a")
        assert "set-cookie" not in reply.headers
        assert served.header("cookie") == f"cr00={SECRET}"


async def test_a_pasted_cookie_header_serves_where_no_cookies_are(make, autojump_clock):
    served = Served()
    session, _ = make(served, headers={"Cookie": "a=b; c=d", ":authority": "x"})
    await session.request("GET", "/a")
    assert served.header("cookie") == "a=b; c=d"


async def test_redirects_and_errors_are_replies(make, autojump_clock):
    for status in (301, 302, 307, 400, 403, 500, 503):
        served = Served(
            lambda *_, status=status: raw_reply(b"x", status=status, headers=[("Location", "http://evil/")])
        )
        session, dialer = make(served)
        assert (await session.request("GET", "/a")).status == status
        assert len(dialer.calls) == 1


# -- certainly not sent


async def test_f1_a_refused_connect_is_not_sent(make, autojump_clock):
    session, dialer = make(Served())
    dialer.refuse = "no connection: refused"
    with pytest.raises(NotSent, match="refused") as caught:
        await session.request("POST", "/place", body=b"{}", lane="order")
    assert caught.value.trouble == "not_sent"
    dialer.refuse = None
    assert (await session.request("GET", "/a")).status == 200  # the pool has forgotten the failure
    assert session.statistics().not_sent == 1


async def test_f2_a_deadline_that_passes_while_connecting_is_not_sent(make, autojump_clock):
    session, dialer = make(Served(), call_s_max=3)
    dialer.connect_s = 60
    with pytest.raises(NotSent, match="within 3 s"):
        await session.request("POST", "/place", body=b"{}", lane="order")
    assert session.statistics().in_flight == 0


async def test_f2_a_request_that_finds_no_free_connection_is_not_sent(make, autojump_clock):
    async def hangs(request, body):
        await trio.sleep_forever()

    served = Served(hangs)
    session, _ = make(served, connections=3, reserved=1, call_s_max=5)
    async with trio.open_nursery() as inner:
        for _ in range(2):
            inner.start_soon(swallow, partial(session.request, "GET", "/hangs"), NoReply)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(NotSent):
            await session.request("GET", "/third")
    assert len(served.requests) == 2


async def test_f2_cancels_and_reconciling_reads_own_connections(make, autojump_clock):
    async def answer(request, body):
        if request.target == b"/hangs":
            await trio.sleep_forever()
        return raw_reply()

    session, _ = make(Served(answer), connections=3, reserved=1)
    async with trio.open_nursery() as inner:
        for _ in range(4):
            inner.start_soon(swallow, partial(session.request, "GET", "/hangs"), (NoReply, NotSent))
        await trio.testing.wait_all_tasks_blocked()
        for lane in ("cancel", "reconcile"):
            assert (await session.request("POST", "/now", body=b"{}", lane=lane)).elapsed_s == 0
        inner.cancel_scope.cancel()


async def test_a_closed_session_sends_nothing(make, autojump_clock):
    session, dialer = make(Served())
    await session.aclose()
    with pytest.raises(NotSent, match="closed"):
        await session.request("GET", "/a")
    assert dialer.calls == []


async def test_a_request_without_permit_is_not_sent_and_says_how_long_to_wait(make, limits, autojump_clock):
    session, dialer = make(Served(), permit_s_max=10)
    limits.penalise(60)
    with pytest.raises(NotSent, match="no permit") as caught:
        await session.request("POST", "/place", body=b"{}", lane="order")
    assert caught.value.trouble == "throttled"
    assert caught.value.retry_after_s == pytest.approx(50)
    assert dialer.calls == []


async def raised_by(make, monkeypatch, error, *, after_sending):
    """What a session makes of an exception of httpcore, raised before or after it began to send."""
    session, _ = make(Served())

    async def failing(request):
        if after_sending:
            await request.extensions["trace"]("http11.send_request_headers.started", {})
        raise error(SECRET)

    monkeypatch.setattr(session._transport._pool, "handle_async_request", failing)
    with pytest.raises((NotSent, NoReply)) as caught:
        await session.request("POST", "/place", body=b"{}", lane="order")
    assert SECRET not in str(caught.value) or issubclass(error, httpcore.ReadError | httpcore.WriteError)
    return type(caught.value)


@pytest.mark.parametrize("error", http.NOT_SENT)
async def test_exceptions_of_the_list_are_not_sent_only_if_the_trace_agrees(make, monkeypatch, error):
    assert await raised_by(make, monkeypatch, error, after_sending=False) is NotSent
    assert await raised_by(make, monkeypatch, error, after_sending=True) is NoReply


@pytest.mark.parametrize(
    "error",
    [
        httpcore.ReadTimeout,
        httpcore.WriteTimeout,
        httpcore.ReadError,
        httpcore.WriteError,
        httpcore.RemoteProtocolError,
        httpcore.LocalProtocolError,
        httpcore.ProxyError,
    ],
)
async def test_all_other_exceptions_decide_nothing_whatever_the_trace_says(make, monkeypatch, error):
    assert await raised_by(make, monkeypatch, error, after_sending=False) is NoReply
    assert await raised_by(make, monkeypatch, error, after_sending=True) is NoReply


def test_every_exception_of_httpcore_is_sorted():
    """A new one of a later release must be put on one of the two lists."""
    raised = [each for each in vars(httpcore).values() if isinstance(each, type) and issubclass(each, Exception)]
    internal = {httpcore.ConnectionNotAvailable}
    assert [each for each in raised if each not in internal and not issubclass(each, http.HTTPCORE)] == []


# -- may have been processed


async def swallow(call, errors):
    with pytest.raises(errors):
        await call()


async def closes_on_accept(stream):
    pass


async def closes_after_reading(stream):
    await read_request(stream)


async def sends(stream, *, data):
    await read_request(stream)
    await stream.send_all(data)


async def never_answers(stream):
    await read_request(stream)
    await trio.sleep_forever()


async def drips(stream):
    await read_request(stream)
    await stream.send_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
    while True:
        await trio.sleep(0.1)
        await stream.send_all(b"x")


BAD_GZIP = [("Content-Encoding", "gzip")]


@pytest.mark.parametrize(
    "handler",
    [
        pytest.param(closes_on_accept, id="f3-closed-on-accept"),
        pytest.param(closes_after_reading, id="f5-closed-after-reading"),
        pytest.param(never_answers, id="f4-never-answers"),
        pytest.param(drips, id="f18-drips"),
        pytest.param(partial(sends, data=b"HTTP/1.1 200 OK\r\ncontent-le"), id="f6-cut-in-the-head"),
        pytest.param(partial(sends, data=b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"), id="f7-truncated"),
        pytest.param(partial(sends, data=b"\x00\x01 garbage\r\n\r\n"), id="f7-garbage"),
        pytest.param(partial(sends, data=raw_reply(b"no gzip", headers=BAD_GZIP)), id="f7-undecodable"),
        pytest.param(
            partial(sends, data=raw_reply(gzip.compress(b"x" * 99)[:-9], headers=BAD_GZIP)), id="f7-short-gzip"
        ),
        pytest.param(partial(sends, data=raw_reply(b"x", headers=[("Content-Encoding", "br")])), id="f7-not-asked-for"),
        pytest.param(partial(sends, data=raw_reply(b"x" * 300_000)), id="too-large"),
        pytest.param(partial(sends, data=raw_reply(gzip.compress(b"x" * 10**7), headers=BAD_GZIP)), id="gzip-bomb"),
    ],
)
async def test_once_handed_over_every_failure_is_no_reply(make, autojump_clock, handler):
    session, dialer = make(handler, call_s_max=4, reply_bytes_max=100_000)
    begun_s = trio.current_time()
    with pytest.raises(NoReply) as caught:
        await session.request("POST", "/place", body=b"{}", lane="order")
    assert caught.value.where == f"POST {BASE}/place"
    assert trio.current_time() - begun_s <= 4
    # a whole reply that cannot be used leaves a usable connection; every other failure costs it
    assert dialer.open_streams == session.statistics().connections
    assert (session.statistics().no_reply, session.statistics().in_flight) == (1, 0)


async def test_f3_a_reset_while_sending_is_no_reply(make, autojump_clock):
    session, dialer = make(Served())
    await session.request("GET", "/a")
    dialer.streams[0].reset = True
    with pytest.raises(NoReply):
        await session.request("POST", "/place", body=b"{}", lane="order")


async def test_f4_a_clogged_write_is_no_reply_at_the_deadline(make, autojump_clock):
    session, dialer = make(Served(), call_s_max=4)
    await session.request("GET", "/a")
    dialer.streams[0].clog()
    with pytest.raises(NoReply, match="within 4 s"):
        await session.request("POST", "/place", body=b"{}", lane="order")
    assert dialer.streams[0].closed


async def test_a_cancelled_request_frees_its_connection(make, autojump_clock):
    session, dialer = make(never_answers)
    with trio.move_on_after(1) as scope:
        await session.request("GET", "/a")
    assert scope.cancelled_caught
    assert dialer.open_streams == 0
    assert (session.statistics().in_flight, session.statistics().connections) == (0, 0)


async def test_a_gzip_reply_is_unpacked(make, autojump_clock):
    packed = gzip.compress(b'{"list":[' + b"1," * 5000 + b"1]}")
    session, _ = make(Served(lambda *_: raw_reply(packed, headers=[("Content-Encoding", "GZIP")])))
    assert (await session.request("GET", "/a")).body.startswith(b'{"list":[1,1,')


async def test_a_body_of_exactly_the_limit_is_taken(make, autojump_clock):
    packed = gzip.compress(b"x" * 1000)
    session, _ = make(
        Served(lambda *_: raw_reply(packed, headers=[("Content-Encoding", "gzip")])), reply_bytes_max=1000
    )
    assert len((await session.request("GET", "/a")).body) == 1000


# -- the address's manners


async def test_f24_429_closes_the_address_for_all_its_users(nursery, limits, autojump_clock):
    served = Served(lambda *_: raw_reply(status=429, headers=[("Retry-After", "7")]))
    dialer = MemoryDialer(nursery, served)
    alice, bob = (HttpSession(BASE, dialer, limits.user()) for _ in range(2))
    assert (await alice.request("GET", "/a")).status == 429
    served.answer = lambda *_: raw_reply()
    begun_s = trio.current_time()
    await bob.request("GET", "/b")
    assert trio.current_time() - begun_s == pytest.approx(7)
    for session in (alice, bob):
        await session.aclose()
    nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("status", "wait_s"), [(429, http.THROTTLED_S), (418, http.BANNED_S)])
async def test_f24_a_throttle_without_retry_after_has_a_default(make, limits, autojump_clock, status, wait_s):
    session, _ = make(Served(lambda *_: raw_reply(status=status)))
    await session.request("GET", "/a")
    assert limits.statistics().closed_for_s == pytest.approx(wait_s)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": " 0 "}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Fri, 20 Nov 2026 12:01:30 GMT", "date": "Fri, 20 Nov 2026 12:00:00 GMT"}, 90.0),
        ({"retry-after": "Fri, 20 Nov 2026 11:00:00 GMT", "date": "Fri, 20 Nov 2026 12:00:00 GMT"}, 0.0),
        ({"retry-after": "Fri, 20 Nov 2026 12:01:30 GMT"}, None),
        ({"retry-after": "Fri, 99 Nov 2026 12:01:30 GMT", "date": "x"}, None),
        ({"retry-after": "Fri, 20 Nov 2026 12:01:30 -0000", "date": "Fri, 20 Nov 2026 12:00:00 GMT"}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers, expected):
    assert retry_after_s(headers) == expected


async def test_the_date_header_measures_the_skew(make, autojump_clock):
    noon_ms = 1_795_176_000_000  # 2026-11-20T12:00:00Z

    async def answer(request, body):
        await trio.sleep(1)
        return raw_reply(headers=[("Date", "Fri, 20 Nov 2026 12:00:31 GMT")])

    session, _ = make(Served(answer), wall=WallClock.virtual(noon_ms))
    assert session.server_skew_ms is None
    await session.request("GET", "/a")
    assert session.server_skew_ms == 31_000  # ours when the exchange stamped it: 12:00:00.500; its: 12:00:31.500 ± 500
    assert session.statistics().server_skew_ms == 31_000


async def test_a_step_of_our_wall_shows_in_the_skew_before_the_next_reply(make, autojump_clock):
    async def answer(request, body):
        await trio.lowlevel.checkpoint()
        return raw_reply(headers=[("Date", "Fri, 20 Nov 2026 12:00:00 GMT")])

    wall = SimWall(1_795_176_000_000)
    session, _ = make(Served(answer), wall=wall)
    await session.request("GET", "/a")
    await trio.sleep(60)
    wall.ahead_ms = 3_600_000
    assert session.server_skew_ms == 500 - 3_600_000


async def test_a_slow_reply_tells_nothing_of_the_skew(make, autojump_clock):
    async def answer(request, body):
        await trio.sleep(1.5)
        return raw_reply(headers=[("Date", "Fri, 20 Nov 2026 12:00:31 GMT")])

    session, _ = make(Served(answer), wall=SimWall(1_795_176_000_000))
    await session.request("GET", "/a")
    assert session.server_skew_ms is None


# -- secrets and configuration


async def test_f86_no_secret_in_repr_errors_or_logs(make, autojump_clock, caplog):
    caplog.set_level(logging.DEBUG)
    garbage = b"HTTP/1.1 200 OK\r\nbad header " + SECRET.encode()
    session, _ = make(partial(sends, data=garbage), cookies={"a": SECRET}, headers={"csrftoken": SECRET})
    with pytest.raises(NoReply) as caught:
        await session.request("POST", "/a", body=SECRET.encode(), query={"x": "y"})
    error = caught.value
    for text in (repr(session), repr(vars(session)), str(error), repr(error), repr(error.__dict__), caplog.text):
        assert SECRET not in text
    assert error.__cause__ is None


@pytest.mark.parametrize(
    ("cookies", "headers"),
    [
        ({"a": f"{SECRET}\r\nx: y"}, {}),
        ({"a": f"{SECRET};b=c"}, {}),
        ({"a b": SECRET}, {}),
        ({"a": f"{SECRET}ü"}, {}),
        ({}, {"csrftoken": f"{SECRET}\n"}),
        ({}, {"csrf token": SECRET}),
        ({}, {"cookie": f"a={SECRET}\x00"}),
    ],
)
async def test_what_http_cannot_carry_is_refused_without_showing_it(make, cookies, headers):
    with pytest.raises(ConfigError) as caught:
        make(Served(), cookies=cookies, headers=headers)
    assert SECRET not in str(caught.value)
    session, _ = make(Served())
    with pytest.raises(ConfigError):
        session.renew(cookies, headers)


@pytest.mark.parametrize(
    "base", ["http://exchange.test", "ftp://127.0.0.1", "https://x/bapi", "https://u:p@x", "https://"]
)
async def test_a_wrong_base_url_is_refused(make, base):
    with pytest.raises(ConfigError) as caught:
        make(Served(), base=base)
    assert caught.value.where == "exchange.rest_base"


@pytest.mark.parametrize(
    ("base", "call"),
    [
        ("http://127.0.0.1:8701", ("127.0.0.1", 8701, False, False)),
        ("http://localhost", ("localhost", 80, False, False)),
        ("http://[::1]:8701/", ("::1", 8701, False, False)),
        ("https://www.exchange.test:8443", ("www.exchange.test", 8443, True, False)),
    ],
)
async def test_plain_http_goes_to_the_loopback_only(make, autojump_clock, base, call):
    session, dialer = make(Served(), base=base)
    assert (await session.request("GET", "/a")).status == 200
    assert dialer.calls == [call]


# -- over real sockets


async def test_a_session_over_tls_on_real_sockets(nursery, tmp_path):
    path = certificate(tmp_path)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(path)
    served = Served()
    port = await listen(nursery, served, serving)
    dialer = TcpDialer(client_tls(str(path)))
    session = HttpSession(f"https://localhost:{port}", dialer, AddressLimits(LOOPBACK).user(), cookies={"a": "b"})
    for _ in range(3):
        assert (await session.request("POST", "/a", body=b"{}")).status == 200
    assert served.header("host") == f"localhost:{port}"
    assert dialer.statistics().dialed == 1
    await session.aclose()
    untrusting = HttpSession(f"https://localhost:{port}", TcpDialer(client_tls()), AddressLimits(LOOPBACK).user())
    with pytest.raises(NotSent, match="certificate"):
        await untrusting.request("POST", "/a", body=b"{}")
    nursery.cancel_scope.cancel()


async def test_a_connection_that_the_peer_closed_while_idle_is_replaced_before_use(nursery):
    """Else the next placement would end without an answer."""
    closed = trio.Event()

    async def one_reply(stream):
        await read_request(stream)
        await stream.send_all(raw_reply())
        await stream.aclose()
        closed.set()

    port = await listen(nursery, one_reply)
    dialer = TcpDialer(client_tls())
    session = HttpSession(f"http://127.0.0.1:{port}", dialer, AddressLimits(LOOPBACK).user())
    for _ in range(3):
        assert (await session.request("GET", "/a")).status == 200
        await closed.wait()
        closed = trio.Event()
    assert dialer.statistics().dialed == 3
    await session.aclose()
    nursery.cancel_scope.cancel()
