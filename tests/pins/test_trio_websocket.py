"""What trio_websocket's wrap_* functions do and leave out; actors/adapters/websocket.py adds what is missing."""

from __future__ import annotations

import h11
import pytest
import trio
import trio.testing
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
    wrap_server_stream,
)


@pytest.fixture
def ends():
    return trio.testing.memory_stream_pair()


async def connected(nursery, ends, **options):
    """(client, server), both open."""
    made = {}

    async def serve():
        request = await wrap_server_stream(nursery, ends[1])
        made["server"] = await request.accept()

    nursery.start_soon(serve)
    client = await wrap_client_stream(nursery, ends[0], "host", "/", **options)
    await trio.testing.wait_all_tasks_blocked()
    return client, made["server"]


async def rejected(ends, data):
    """What the nursery of the reader ends with when the peer answers the handshake with `data`."""

    async def shake_hands():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wrap_client_stream, nursery, ends[0], "host", "/")
            await ends[1].receive_some()
            await ends[1].send_all(data)

    with pytest.raises(BaseExceptionGroup) as caught:
        await shake_hands()
    (error,) = caught.value.exceptions
    return error


@pytest.mark.parametrize("answer", [None, b"", b"HTTP/1.1 101 Sw"])
async def test_the_opening_handshake_has_no_deadline_and_misses_the_end_of_the_stream(
    nursery, ends, answer, autojump_clock
):
    async def peer():
        await ends[1].receive_some()
        if answer is not None:
            await ends[1].send_all(answer)
            await ends[1].aclose()

    nursery.start_soon(peer)
    with trio.move_on_after(100_000) as scope:
        await wrap_client_stream(nursery, ends[0], "host", "/")
    assert scope.cancelled_caught
    nursery.cancel_scope.cancel()


async def test_the_closing_handshake_has_no_deadline(nursery, ends, autojump_clock, monkeypatch):
    async def ignore(socket, event):
        await trio.lowlevel.checkpoint()

    monkeypatch.setattr(WebSocketConnection, "_handle_close_connection_event", ignore)
    client, _ = await connected(nursery, ends)
    with trio.move_on_after(100_000) as scope:
        await client.aclose()
    assert scope.cancelled_caught
    nursery.cancel_scope.cancel()


async def test_a_refusal_is_raised_in_the_reader_s_nursery_with_status_headers_and_body(ends, autojump_clock):
    error = await rejected(ends, b"HTTP/1.1 429 X\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nslow")
    assert isinstance(error, ConnectionRejected)
    assert (error.status_code, dict(error.headers)[b"retry-after"], error.body) == (429, b"7", b"slow")


async def test_garbage_instead_of_a_handshake_comes_out_as_h11_s_local_error(ends, autojump_clock):
    """The library tries to answer it as a server would: not an error of its own or of wsproto's."""
    assert isinstance(await rejected(ends, b"\x00\x01garbage\r\n\r\n"), h11.LocalProtocolError)


async def test_pings_go_unanswered_while_the_message_queue_is_full(nursery, ends, autojump_clock):
    _, server = await connected(nursery, ends, message_queue_size=1)
    for _ in range(3):
        await server.send_message("x")
    with trio.move_on_after(3600) as scope:
        await server.ping()
    assert scope.cancelled_caught
    nursery.cancel_scope.cancel()


async def test_there_is_no_keepalive(nursery, ends, autojump_clock):
    client, _ = await connected(nursery, ends)
    with trio.move_on_after(100_000) as scope:
        await client.get_message()
    assert scope.cancelled_caught
    assert client._pings == {}
    nursery.cancel_scope.cancel()


async def test_a_pong_answers_earlier_pings_too(nursery, ends, autojump_clock, monkeypatch):
    answer = WebSocketConnection._handle_ping_event

    async def answer_the_third(socket, event):
        await trio.lowlevel.checkpoint()
        if event.payload == b"\x03":
            await answer(socket, event)

    monkeypatch.setattr(WebSocketConnection, "_handle_ping_event", answer_the_third)
    client, _ = await connected(nursery, ends)
    async with trio.open_nursery() as pings:
        for number in (1, 2):
            pings.start_soon(client.ping, bytes([number]))
            await trio.testing.wait_all_tasks_blocked()
        assert len(client._pings) == 2
        await client.ping(b"\x03")  # and this nursery ends
    nursery.cancel_scope.cancel()


async def test_queued_messages_come_before_the_close_and_its_code(nursery, ends, autojump_clock):
    client, server = await connected(nursery, ends, message_queue_size=8)
    await server.send_message("1")
    await server.send_message(b"2")
    await server.aclose(4000, "bye!")
    await trio.testing.wait_all_tasks_blocked()
    assert [await client.get_message(), await client.get_message()] == ["1", b"2"]
    with pytest.raises(ConnectionClosed) as caught:
        await client.get_message()
    assert (caught.value.reason.code, caught.value.reason.reason) == (4000, "bye!")


async def test_an_end_without_close_is_1006(nursery, ends, autojump_clock):
    client, _ = await connected(nursery, ends)
    await ends[1].aclose()
    with pytest.raises(ConnectionClosed) as caught:
        await client.get_message()
    assert caught.value.reason.code == 1006


async def test_the_size_limit_is_inclusive_and_ends_with_1009(nursery, ends, autojump_clock):
    client, server = await connected(nursery, ends, max_message_size=10)
    await server.send_message("x" * 10)
    assert await client.get_message() == "x" * 10
    await server.send_message("x" * 11)
    with pytest.raises(ConnectionClosed) as caught:
        await client.get_message()
    assert caught.value.reason.code == 1009
    nursery.cancel_scope.cancel()
