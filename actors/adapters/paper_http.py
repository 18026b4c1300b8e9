"""One HTTP/1.1 connection of the paper exchange, over any byte stream.

Bytes are h11's affair; here they become api.Request and api.Response. Everything has a bound: head, body, query fields,
waiting. What is no HTTP gets a 400 (or what h11 suggests) and the connection is closed; a peer that goes away ends it.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from http.client import responses
from typing import TypeAlias

import h11
import trio

from actors.paper.api import Request, Response

Answer: TypeAlias = Callable[[Request], Awaitable[Response]]
"""Called once per request; has waited for `delay_ms` when it returns."""

HEAD_MAX = 32_768  # bytes of request line and headers: a browser's cookies fill half of that
BODY_MAX = 1_048_576
FIELDS_MAX = 100  # of a query
CHUNK = 65_536
IDLE_S_MAX = 300.0  # between two requests
REQUEST_S_MAX = 30.0  # from the first byte of a request to its last
DRAIN_S_MAX = 1.0  # a refused peer may still be writing; a reset would take our answer away from it


class _Refused(Exception):
    """The request cannot be served; the connection ends after saying so."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


async def converse(stream: trio.abc.Stream, answer: Answer, now_ms: Callable[[], int]) -> None:
    """Serves requests until the peer leaves, misbehaves or is idle; then closes the stream.

    now_ms: for the Date header, where the response has none.
    """
    conversation = _Conversation(stream, now_ms)
    try:
        while (request := await conversation.receive()) is not None:
            response = await answer(request)
            if response.lost or not await conversation.reply(response):
                return
    except (h11.RemoteProtocolError, _Refused) as error:
        status = error.status if isinstance(error, _Refused) else error.error_status_hint
        await conversation.refuse(Response(status=status, body=str(error).encode()))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the peer is gone; whatever it asked for has been done
    finally:
        await trio.aclose_forcefully(stream)


class _Conversation:
    def __init__(self, stream: trio.abc.Stream, now_ms: Callable[[], int]) -> None:
        self._stream = stream
        self._now_ms = now_ms
        self._state = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX)
        self._head_only = False  # the request is a HEAD: its reply has no body

    async def receive(self) -> Request | None:
        """The next request; None: the peer closed the connection, or let it lie idle."""
        head: h11.Event | None = None
        with trio.move_on_after(IDLE_S_MAX):
            head = await self._event()
        if not isinstance(head, h11.Request):
            return None
        if head.method == b"CONNECT":  # accepting it would make this a tunnel
            raise _Refused(405, "no proxy")
        self._head_only = head.method == b"HEAD"
        body = bytearray()
        with trio.move_on_after(REQUEST_S_MAX) as scope:
            while isinstance(part := await self._event(), h11.Data):
                body += part.data
                if len(body) > BODY_MAX:
                    raise _Refused(413, f"body longer than {BODY_MAX} bytes")
        if scope.cancelled_caught:
            raise _Refused(408, f"request not complete within {REQUEST_S_MAX:g} s")
        return _request(head, bytes(body))

    async def _event(self) -> h11.Event:
        while True:
            event = self._state.next_event()
            if isinstance(event, h11.Event):
                return event
            assert event is h11.NEED_DATA, event  # not PAUSED: every reply is complete before the next request is read
            if self._state.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._state.receive_data(bytes(await self._stream.receive_some(CHUNK)))

    async def reply(self, response: Response) -> bool:
        """Sends the response. Returns: whether another request may follow."""
        headers = [*response.headers, ("content-length", str(len(response.body)))]
        if "date" not in {name.lower() for name, _ in response.headers}:
            headers.append(("date", formatdate(self._now_ms() / 1000, usegmt=True)))
        reason = responses.get(response.status, "").encode()
        events: list[h11.Event] = [h11.Response(status_code=response.status, headers=headers, reason=reason)]
        if not self._head_only:
            events.append(h11.Data(data=response.body))
        await self._send(*events, h11.EndOfMessage())
        if self._state.our_state is not h11.DONE or self._state.their_state is not h11.DONE:
            return False
        self._state.start_next_cycle()
        return True

    async def refuse(self, response: Response) -> None:
        if self._state.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        try:
            with trio.move_on_after(DRAIN_S_MAX):
                await self.reply(response)
                while await self._stream.receive_some(CHUNK):
                    pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it did not wait for the answer

    async def _send(self, *events: h11.Event) -> None:
        await self._stream.send_all(b"".join(self._state.send(event) or b"" for event in events))


def _request(head: h11.Request, body: bytes) -> Request:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers}
    cookies = "; ".join(value.decode("latin-1") for name, value in head.headers if name == b"cookie")
    try:
        target = urllib.parse.urlsplit(head.target.decode("ascii"))
        query = dict(urllib.parse.parse_qsl(target.query, keep_blank_values=True, max_num_fields=FIELDS_MAX))
    except ValueError as error:
        raise _Refused(400, f"unreadable target: {error}") from error
    return Request(
        method=head.method.decode("ascii"),
        path=urllib.parse.unquote(target.path),
        query=query,
        headers=headers,
        cookies=parse_cookies(cookies),
        body=body,
    )


def parse_cookies(header: str) -> dict[str, str]:
    """ "a=1; b=2" as a mapping; parts without "=" are left out, of equal names the first counts."""
    cookies: dict[str, str] = {}
    for part in header.split(";"):
        name, found, value = part.strip().partition("=")
        if found and name:
            cookies.setdefault(name, value.strip('"'))
    return cookies
