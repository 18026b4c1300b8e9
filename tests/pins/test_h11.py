"""What h11's errors say: bytes of the message, which may be secrets. Hence http._text goes by the class alone."""

from __future__ import annotations

import h11
import pytest


def test_local_errors_may_quote_what_we_wanted_to_send():
    with pytest.raises(h11.LocalProtocolError) as caught:
        h11.Request(method="GET", target="/", headers=[("host", "x"), ("cookie", "s3cr3t\n")])
    assert "s3cr3t" in str(caught.value)


def test_remote_errors_may_quote_what_the_peer_sent():
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(b"HTTP/1.1 200 OK\r\nset-cookie: s3cr3t\x00\r\n\r\n")
    with pytest.raises(h11.RemoteProtocolError) as caught:
        connection.next_event()
    assert "s3cr3t" in str(caught.value)


def test_a_reply_that_ends_early_is_a_remote_error():
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{")
    assert isinstance(connection.next_event(), h11.Response)
    assert isinstance(connection.next_event(), h11.Data)
    connection.receive_data(b"")
    with pytest.raises(h11.RemoteProtocolError):
        connection.next_event()
