"""Dialing over the loopback: every failure is NotSent, TLS is never downgraded, web sockets are paced."""

from __future__ import annotations

import socket
import ssl

import pytest
import trio
import trio.testing

from actors.adapters import dialer
from actors.adapters.dialer import Endpoint, TcpDialer, endpoint, is_loopback, is_readable
from actors.errors import ConfigError, NotSent
from tests.adapters.wires import TrackedStream, certificate, listen


async def echo(stream):
    async with stream:
        async for data in stream:
            await stream.send_all(data)


@pytest.fixture
def plain():
    return TcpDialer(dialer.client_tls())


async def test_a_plain_stream_connects_with_tcp_nodelay(nursery, plain):
    port = await listen(nursery, echo)
    stream = await plain.dial("127.0.0.1", port, tls=False)
    async with stream:
        assert stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        await stream.send_all(b"ping")
        assert await stream.receive_some() == b"ping"
    assert plain.statistics() == dialer.DialStatistics(dialed=1, failed=0, pacing=0)
    nursery.cancel_scope.cancel()


async def test_f1_a_refused_connect_is_not_sent(plain):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound but not listening: refuses
        port = held.getsockname()[1]
        with pytest.raises(NotSent, match="refused") as caught:
            await plain.dial("127.0.0.1", port, tls=False)
    assert caught.value.where == f"127.0.0.1:{port}"
    assert plain.statistics().failed == 1


async def test_f1_an_unknown_name_is_not_sent(plain, monkeypatch):
    async def unknown(*_args, **_kw):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(trio.socket, "getaddrinfo", unknown)
    with pytest.raises(NotSent, match="not known"):
        await plain.dial("nowhere.invalid", 443, tls=True)


async def test_f1_a_name_that_dns_cannot_carry_is_not_sent(plain):
    with pytest.raises(NotSent):
        await plain.dial("x" * 70 + ".invalid", 443, tls=True)


async def test_f20_tls_is_checked_against_host_and_trust_and_sends_sni(nursery, tmp_path):
    path, names = certificate(tmp_path), []
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(path)
    serving.sni_callback = lambda _socket, name, _context: names.append(name)
    port = await listen(nursery, echo, serving)
    trusting = TcpDialer(dialer.client_tls(str(path)))
    async with await trusting.dial("localhost", port, tls=True) as stream:
        assert not is_readable(stream)
        await stream.send_all(b"ping")
        assert await stream.receive_some() == b"ping"
    assert names == ["localhost"]
    with pytest.raises(NotSent, match="certificate not accepted"):  # the name does not match
        await trusting.dial("127.0.0.1", port, tls=True)
    with pytest.raises(NotSent, match="certificate not accepted"):  # nobody we trust has signed it
        await TcpDialer(dialer.client_tls()).dial("localhost", port, tls=True)
    nursery.cancel_scope.cancel()


async def test_f20_an_expired_certificate_is_not_sent(nursery, tmp_path):
    path = certificate(tmp_path, days=-1)
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    serving.load_cert_chain(path)
    port = await listen(nursery, echo, serving)
    with pytest.raises(NotSent, match="expired"):
        await TcpDialer(dialer.client_tls(str(path))).dial("localhost", port, tls=True)
    nursery.cancel_scope.cancel()


async def test_f20_tls_to_a_plain_peer_is_never_downgraded(nursery, plain):
    async def hello(stream):
        async with stream:
            await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    port = await listen(nursery, hello)
    with pytest.raises(NotSent, match="TLS failed"):
        await plain.dial("127.0.0.1", port, tls=True)
    nursery.cancel_scope.cancel()


async def test_f2_a_mute_tls_peer_is_not_sent_at_the_deadline(nursery):
    closed = trio.Event()

    async def mute(stream):
        async with stream:
            async for _ in stream:
                pass
        closed.set()

    port = await listen(nursery, mute)
    with pytest.raises(NotSent, match=r"within 0\.05 s"):
        await TcpDialer(dialer.client_tls(), connect_s_max=0.05).dial("127.0.0.1", port, tls=True)
    with trio.fail_after(5):
        await closed.wait()  # our end was closed, not forgotten
    nursery.cancel_scope.cancel()


async def test_web_sockets_are_paced_visibly_and_other_connects_are_not(nursery, autojump_clock, monkeypatch):
    async def connected(host, port):
        await trio.lowlevel.checkpoint()
        return trio.testing.memory_stream_pair()[0]

    monkeypatch.setattr(trio, "open_tcp_stream", connected)
    paced, times = TcpDialer(dialer.client_tls(), websockets_max=3, websockets_window_s=300), []

    async def connect():
        await paced.dial("127.0.0.1", 1, tls=False, websocket=True)
        times.append(trio.current_time() - begun_s)

    begun_s = trio.current_time()
    for _ in range(7):
        nursery.start_soon(connect)
        await trio.testing.wait_all_tasks_blocked()
    assert paced.statistics().pacing == 4
    await paced.dial("127.0.0.1", 1, tls=False)  # not a web socket: at once
    assert times == [0, 0, 0]
    await trio.sleep(1000)
    assert times == [0, 0, 0, 300, 300, 300, 600]
    assert paced.statistics() == dialer.DialStatistics(dialed=8, failed=0, pacing=0)


async def test_a_plain_socket_is_readable_once_its_peer_has_closed_it(nursery, plain):
    gone = trio.Event()

    async def leaves(stream):
        await stream.receive_some()
        await stream.aclose()
        gone.set()

    port = await listen(nursery, leaves)
    async with await plain.dial("127.0.0.1", port, tls=False) as stream:
        assert not is_readable(stream)
        await stream.send_all(b"go")
        await gone.wait()
        with trio.fail_after(5):
            await trio.lowlevel.wait_readable(stream.socket)
        assert is_readable(stream)
    nursery.cancel_scope.cancel()


def test_other_streams_may_tell_whether_they_are_readable():
    class Telling(TrackedStream):
        def is_readable(self):
            return True

    memory, _ = trio.testing.memory_stream_pair()
    assert is_readable(Telling(memory))
    assert not is_readable(memory)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("wss://nbstream.test/w3w/stream", Endpoint(host="nbstream.test", port=443, tls=True, target="/w3w/stream")),
        ("wss://Nbstream.test:9443/a?b=c", Endpoint(host="nbstream.test", port=9443, tls=True, target="/a?b=c")),
        (
            "ws://127.0.0.1:8702/w3w/wsa/stream",
            Endpoint(host="127.0.0.1", port=8702, tls=False, target="/w3w/wsa/stream"),
        ),
        ("ws://[::1]:8702", Endpoint(host="::1", port=8702, tls=False, target="/")),
        ("ws://localhost/x", Endpoint(host="localhost", port=80, tls=False, target="/x")),
    ],
)
def test_urls_are_taken_apart(url, expected):
    assert endpoint(url, plain="ws", secure="wss", where="exchange.ws_user") == expected


@pytest.mark.parametrize(
    "url",
    ["ws://exchange.test/a", "http://x", "wss://", "wss://u@x/", "wss://x/#f", "wss://x:99999/", "wss://[::1", "x", ""],
)
def test_impossible_urls_name_their_key(url):
    with pytest.raises(ConfigError) as caught:
        endpoint(url, plain="ws", secure="wss", where="exchange.ws_user")
    assert caught.value.where == "exchange.ws_user"


@pytest.mark.parametrize(
    ("at", "authority"),
    [
        (Endpoint(host="a", port=443, tls=True), "a"),
        (Endpoint(host="a", port=80, tls=True), "a:80"),
        (Endpoint(host="::1", port=80, tls=False), "[::1]"),
        (Endpoint(host="::1", port=8080, tls=False), "[::1]:8080"),
    ],
)
def test_the_authority_leaves_the_scheme_s_own_port_out(at, authority):
    assert at.authority == authority


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("10.0.0.1", False), ("x.y", False)]
)
def test_loopback_hosts(host, loopback):
    assert is_loopback(host) is loopback
