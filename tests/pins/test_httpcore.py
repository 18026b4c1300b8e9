"""What httpcore and httpx do with a backend of ours, and why the adapter sets what it sets."""

from __future__ import annotations

import logging
import ssl

import httpcore
import httpx
import pytest
import trio
import trio.testing
from httpcore._backends.trio import TrioStream

from tests.adapters.wires import raw_reply


class Recorded(httpcore.AsyncNetworkStream):
    """Answers each written request; notes every call that httpcore makes."""

    def __init__(self, calls, reply=None):
        self.calls = calls
        self.reply = reply or raw_reply()
        self.to_read = b""

    async def read(self, max_bytes, timeout=None):  # noqa: ASYNC109 - httpcore's signature
        await trio.lowlevel.checkpoint()
        self.calls.append("read")
        data, self.to_read = self.to_read, b""
        return data

    async def write(self, buffer, timeout=None):  # noqa: ASYNC109
        await trio.lowlevel.checkpoint()
        self.calls.append("write")
        if isinstance(self.reply, Exception):
            raise self.reply
        if buffer.startswith((b"GET", b"POST")):
            self.to_read = self.reply

    async def aclose(self):
        await trio.lowlevel.checkpoint()
        self.calls.append("aclose")

    async def start_tls(self, ssl_context, server_hostname=None, timeout=None):  # noqa: ASYNC109
        await trio.lowlevel.checkpoint()
        self.calls.append(("start_tls", server_hostname))
        return self

    def get_extra_info(self, info):
        self.calls.append(info)


class Backend(httpcore.AsyncNetworkBackend):
    def __init__(self, reply=None):
        self.calls = []
        self.reply = reply

    async def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):  # noqa: ASYNC109
        await trio.lowlevel.checkpoint()
        self.calls.append(("connect_tcp", host, port))
        return Recorded(self.calls, self.reply)


def pool_of(backend, **options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpcore.AsyncConnectionPool(ssl_context=context, network_backend=backend, **options)


async def test_the_backend_sees_connect_then_tls_then_requests():
    backend = Backend()
    async with pool_of(backend, keepalive_expiry=None) as pool:
        await pool.request("GET", "https://exchange.test/a")
        await pool.request("GET", "https://exchange.test/b")
    assert backend.calls[:3] == [("connect_tcp", "exchange.test", 443), ("start_tls", "exchange.test"), "ssl_object"]
    assert backend.calls.count(("connect_tcp", "exchange.test", 443)) == 1
    assert "is_readable" in backend.calls  # asked before an idle connection is used again
    assert backend.calls[-1] == "aclose"


async def test_the_trace_says_when_sending_begins_before_anything_is_written():
    """The second witness of http.HttpSession: without this event nothing left."""
    backend, names = Backend(), []

    async def trace(name, info):
        await trio.lowlevel.checkpoint()
        names.append((name, "write" in backend.calls))

    async with pool_of(backend) as pool:
        await pool.request("GET", "https://exchange.test/a", extensions={"trace": trace})
    assert ("connection.connect_tcp.started", False) in names
    assert ("http11.send_request_headers.started", False) in names
    assert ("http11.send_request_headers.complete", True) in names


async def test_write_failures_are_swallowed_and_the_reply_awaited_all_the_same():
    """Hence a broken write shows as RemoteProtocolError, and neither says whether the exchange got the request."""
    backend = Backend(httpcore.WriteError("broken"))
    async with pool_of(backend) as pool:
        with pytest.raises(httpcore.RemoteProtocolError):
            await pool.request("GET", "http://127.0.0.1/a")
    assert "read" in backend.calls


async def test_keepalive_expiry_reads_the_real_clock(autojump_clock):
    """Hence None, and an idle policy of ours in trio's time."""
    backend = Backend()
    async with pool_of(backend, keepalive_expiry=5.0) as pool:
        await pool.request("GET", "http://127.0.0.1/a")
        await trio.sleep(3600)
        await pool.request("GET", "http://127.0.0.1/a")
    assert backend.calls.count(("connect_tcp", "127.0.0.1", 80)) == 1


async def test_a_connection_that_says_readable_while_idle_is_replaced():
    backend = Backend()
    async with pool_of(backend) as pool:
        await pool.request("GET", "http://127.0.0.1/a")
        pool.connections[0]._connection._network_stream.get_extra_info = lambda info: info == "is_readable"
        await pool.request("GET", "http://127.0.0.1/a")
    assert backend.calls.count(("connect_tcp", "127.0.0.1", 80)) == 2


async def test_httpcore_s_own_trio_stream_insists_on_a_socket():
    ours, _ = trio.testing.memory_stream_pair()
    with pytest.raises(AssertionError):
        TrioStream(ours).get_extra_info("is_readable")


async def test_an_exception_that_is_not_httpcore_s_passes_through_and_is_forgotten():
    """The dialer's NotSent comes out as itself, and the pool connects anew the next time."""

    class Ours(Exception):
        pass

    class Refusing(Backend):
        async def connect_tcp(self, *args, **kw):
            await trio.lowlevel.checkpoint()
            raise Ours

    async with pool_of(Refusing()) as pool:
        with pytest.raises(Ours):
            await pool.request("GET", "http://127.0.0.1/a")
        assert pool.connections == []


async def test_httpx_clients_learn_cookies():
    """Hence the transport takes Set-Cookie out of replies."""
    transport = httpx.MockTransport(lambda request: httpx.Response(200, headers={"set-cookie": "a=b"}))
    async with httpx.AsyncClient(transport=transport) as client:
        await client.get("http://127.0.0.1/")
        assert client.cookies["a"] == "b"


async def test_httpx_and_httpcore_log_requests_and_reply_headers(caplog):
    """Hence their loggers' levels are set: headers of replies are nobody's business."""
    backend = Backend(raw_reply(headers=[("Set-Cookie", "s3cr3t")]))
    caplog.set_level(logging.DEBUG, logger="httpcore")
    async with pool_of(backend) as pool:
        await pool.request("GET", "http://127.0.0.1/a")
    assert "s3cr3t" in caplog.text


async def test_mock_transports_ignore_time_outs(autojump_clock):
    """Hence tests of time-outs go over streams."""

    async def slow(request):
        await trio.sleep(30)
        return httpx.Response(200)

    async with httpx.AsyncClient(transport=httpx.MockTransport(slow), timeout=5) as client:
        assert (await client.get("http://127.0.0.1/")).status_code == 200
